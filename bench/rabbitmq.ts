/** RabbitMQ as broker, results in a SQLite file: server, cluster and producers on this machine. */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Channel, connect } from 'amqplib'
import { asyncTask, Client } from 'qcluster'
import { bareConfirms, bareConsume, bareRoundTrips } from './bare-rabbitmq.ts'
import { readNewest, readSaved } from './files.ts'
import { latencyRows } from './latency.ts'
import { endLater, makeFolder } from './resources.ts'
import type { Row } from './table.ts'
import { noop } from './tasks.ts'
import { costRows, measureThroughput, type Progress, TASKS } from './throughput.ts'

const SERVICES = join(import.meta.dirname, '..', 'tools', 'services', 'main.ts')

/** The rows of the RabbitMQ suite. */
export async function rabbitmq(): Promise<Row[]> {
  const url = await startServer()
  return [...(await throughput(url)), ...(await latency(url))]
}

async function throughput(url: string): Promise<Row[]> {
  const measured = await deployment(url)
  const { queue } = measured
  const publish = { what: "amqplib's pipelined confirms", value: await bareConfirms(url, queue) }
  const consume = { what: 'amqplib consume and ack', value: await bareConsume(url, queue) }
  // The server puts back what it had not yet acknowledged when the channel was closed.
  await measured.channel.purgeQueue(queue)
  const atWarn = await measureThroughput(measured, 'warn')
  const { done: atInfo } = await measureThroughput(await deployment(url), 'info')
  const what = 'no-op tasks, prefilled quorum queue, 2 workers'
  return [
    {
      ...{ what: 'asyncTask, confirmed, 1,000 callers', value: atWarn.enqueued, unit: 'tasks/s' },
      ...{ floor: { least: 0.75 * publish.value }, beside: publish },
    },
    { what, value: atWarn.done, unit: 'tasks/s', floor: { least: consume.value / 2 }, beside: consume },
    ...costRows(atWarn),
    { what: 'the same, LOG_LEVEL=info to a file', value: atInfo, unit: 'tasks/s', beside: consume },
  ]
}

async function latency(url: string): Promise<Row[]> {
  const measured = await deployment(url)
  const measure = () => bareRoundTrips(url, measured.queue)
  return latencyRows(measured, { what: 'amqplib there and back', isPartOfIt: true, measure })
}

/** Takes the server that the environment names, or one that runs here, or starts one that ends with the bench. */
async function startServer(): Promise<string> {
  const holder = spawn(process.execPath, [SERVICES, 'rabbitmq'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // A Ctrl-C is for us alone: the server is to outlive what is measured with it.
    detached: true,
  })
  const exited = once(holder, 'exit')
  endLater(async () => {
    holder.stdin.end()
    await exited
  })
  for await (const url of createInterface(holder.stdout)) return url
  throw new Error('There is no RabbitMQ to measure; why is said above.')
}

/** A queue and a data folder of its own, and what a suite needs to know of them. */
async function deployment(url: string) {
  const [name, dataDir] = [`bench-${randomUUID()}`, makeFolder()]
  const queue = `qcluster.queue.${name}`
  const makeClient = () => new Client({ name, broker: url, dataDir })
  const channel = await openChannel(url)
  endLater(() => Promise.all([queue, `qcluster.dead.${name}`].map((one) => channel.deleteQueue(one))))
  await declare(makeClient())
  await channel.purgeQueue(queue)
  return {
    ...{ queue, channel, makeClient },
    flags: ['--broker', url, '--name', name, '--data-dir', dataDir],
    watch: async () => watchQueue(channel, queue, dataDir),
    logFile: join(dataDir, 'bench.log'),
  }
}

/** Queues are made by whoever needs them first. */
async function declare(client: Client): Promise<void> {
  await asyncTask(noop, [''], { client })
  await client.close()
}

async function openChannel(url: string): Promise<Channel> {
  const connection = await connect(url)
  // Whoever uses it is told; on Ctrl-C the server may be gone before we are.
  connection.on('error', () => {})
  endLater(() => connection.close())
  return connection.createChannel()
}

/**
 * The server counts what waits, not what is handed out: as long as the cluster runs, what is saved is taken for
 * acknowledged; once it has stopped, what was not is back in the queue.
 */
function watchQueue(channel: Channel, queue: string, dataDir: string): Progress {
  return {
    isAcknowledged: async () =>
      (await channel.checkQueue(queue)).messageCount === 0 && readSaved(dataDir) === TASKS,
    saved: () => readSaved(dataDir),
    savedSoFar: () => readNewest(dataDir),
    close: async () => {},
  }
}
