/** The machines of a cluster, to be read, drawn, tested, or run in an actor system of your own by `.provide()`. */
export * from './child.ts'
export * from './cluster.ts'
export * from './monitor.ts'
export * from './protocol.ts'
export * from './pusher.ts'
export * from './scheduler.ts'
export * from './sentinel.ts'
export * from './worker.ts'
