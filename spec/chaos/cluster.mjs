/** A cluster that does what its parent tells it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster } from 'qcluster'

const cluster = new Cluster({ ...JSON.parse(process.argv[2]), handleSignals: true })
const orders = {
  pause: () => cluster.pause(),
  resume: () => cluster.resume(),
  scale: () => cluster.scale(3),
  reload: () => cluster.reload(),
  slaySentinel: () => process.kill(cluster.stat.sentinel, 'SIGKILL'),
  slayPusher: () => process.kill(cluster.stat.pusher, 'SIGKILL'),
  /** Once the pusher has pushed all: before, it waits for what becomes of the tasks that die with them. */
  slayWorkers: async () => {
    const isDraining = ({ role, state }) => role === 'pusher' && !/^stopping\.(settling|closing)/.test(state)
    while (cluster.stat.processes.some(isDraining)) await sleep(20)
    for (const pid of cluster.stat.workers) process.kill(pid, 'SIGKILL')
  },
  /** The sentinel, and the cluster that would start another one. */
  slayAbove: () => {
    process.kill(cluster.stat.sentinel, 'SIGKILL')
    process.kill(process.pid, 'SIGKILL')
  },
  stop: () => cluster.stop(),
  abort: () => cluster.abort(),
  kill: () => cluster.kill(),
  killTwice: () => {
    cluster.kill()
    cluster.kill()
  },
  /** The roles of the processes that are there and at work. */
  muster: () => process.send(cluster.stat.processes.filter(isAtWork).map(({ role }) => role)),
}

function isAtWork({ pid, state }) {
  try {
    return pid !== null && state.startsWith('running') && process.kill(pid, 0)
  } catch {
    return false
  }
}

process
  // Whether it can be done just now is not for whoever gives the orders to know.
  .on('message', (order) => void Promise.try(orders[order]).catch(() => {}))
  .on('disconnect', () => cluster.kill())
await cluster.start().catch((error) => console.error(error))
await cluster.ended()
process.exit(cluster.exitCode)
