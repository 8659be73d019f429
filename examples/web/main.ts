import { join } from 'node:path'
import { Cluster, close } from 'qcluster'
import { makeApp } from './app.ts'

// In one process for the example's sake. A server of its own needs no cluster, only the same broker.
const cluster = new Cluster({
  tasks: [join(import.meta.dirname, 'tasks.ts')],
  workers: 2,
  handleSignals: true,
})
await cluster.start()

const app = makeApp()
console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))

// Until SIGTERM or Ctrl-C: reports that are being written are finished, and whoever waits for them is told.
await cluster.ended()
await app.close()
await close()
process.exitCode = cluster.exitCode
