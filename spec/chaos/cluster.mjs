/** A cluster that does what it is told on its standard input, a line an order. */
import { createInterface } from 'node:readline'
import { Cluster } from 'qcluster'

const cluster = new Cluster({ ...JSON.parse(process.argv[2]), handleSignals: true })
const orders = {
  pause: () => cluster.pause(),
  resume: () => cluster.resume(),
  scale: () => cluster.scale(3),
  reload: () => cluster.reload(),
  slay: () => process.kill(cluster.sentinel.pid, 'SIGKILL'),
  stop: () => cluster.stop(),
  abort: () => cluster.abort(),
  kill: () => cluster.kill(),
}

createInterface(process.stdin)
  // Whether it can be done just now is not for whoever gives the orders to know.
  .on('line', (order) => void Promise.try(orders[order]).catch(() => {}))
  .on('close', () => cluster.kill())
await cluster.start().catch((error) => console.error(error))
await cluster.ended()
process.exit(cluster.exitCode)
