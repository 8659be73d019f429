/** Whether what guards the tasks stays as it is, whatever the tasks do, for as long as it is told. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, type Client } from 'qcluster'
import { randomOf } from '../spec/random.ts'
import { bareStart } from './bare.ts'
import { StartedCluster } from './cluster.ts'
import { deployment } from './embedded.ts'
import { openToRead } from './files.ts'
import { medianOf } from './life.ts'
import { endLater, makeFolder } from './resources.ts'
import type { Row } from './table.ts'
import { block, crash, fail, leak, noop, take } from './tasks.ts'

/** Tasks a second. */
const RATE = 100
/** Ended by their timeout, which is 1 s: they block for longer. */
const OVERRUN = 1_500
/** What is enqueued, by how many of a thousand tasks. */
const MIX: readonly (readonly [number, (client: Client) => Promise<unknown>])[] = [
  [2, (client) => asyncTask(crash, [], { client })],
  [1, (client) => asyncTask(block, [OVERRUN], { client })],
  [20, (client) => asyncTask(leak, [1_000_000], { client })],
  [50, (client) => asyncTask(fail, [], { client })],
  [50, (client) => asyncTask(block, [10], { client })],
  [50, (client) => asyncTask(take, [50], { client })],
  [827, (client) => asyncTask(noop, ['x'], { client })],
]
const FLAGS = [
  ...['--timeout', '1', '--timeout-grace', '0.2', '--max-attempts', '2', '--retry', '0.1'],
  ...['--recycle', '500', '--max-rss', '150000', '--save-limit', '0', '--max-restarts', '1000'],
]
/** Tasks that may be on their way to the queue at a time: on a busy machine one after the other is too slow. */
const AT_A_TIME = 50
/** Milliseconds without a new outcome after which no more is expected. */
const PATIENCE = 60_000
const WORKERS = 3
const ROLES = ['sentinel', 'pusher', 'monitor'] as const
/** What may be added between the second and the last quarter of the time: a share of it, and some. */
const GROWTH = {
  own: { unit: 'MiB of its own', share: 0.1, more: 0 },
  heap: { unit: 'MiB of living heap', share: 0.05, more: 0 },
  files: { unit: 'files', share: 0, more: 2 },
  timers: { unit: 'timers', share: 0, more: 2 },
} as const

type Kind = keyof typeof GROWTH

/** A line of what each process says of itself every few seconds: see probe.mjs. */
interface Sample extends Readonly<Record<Kind, number>> {
  readonly role: string
  readonly pid: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** The rows of the suite. */
export async function soak(minutes = 10): Promise<Row[]> {
  const { flags, makeClient } = deployment()
  const samples = join(makeFolder(), 'samples')
  const cluster = new StartedCluster({
    ...{ workers: WORKERS, flags: [...flags, ...FLAGS], logLevel: 'info' },
    imported: `${import.meta.resolve('./probe.mjs')}?${encodeURIComponent(samples)}`,
  })
  await cluster.running
  const began = Date.now()
  const client = makeClient()
  const close = endLater(() => client.close())
  const accepted = await feed(client, minutes * 60)
  const ended = Date.now()
  const { succeeded, failed } = await outcomes(flags.at(-1) as string, accepted)
  await close()
  const stop = await cluster.stop()
  // The cluster itself and its sentinel, pusher, monitor and scheduler.
  const processes = WORKERS + 5
  const beside = { what: `${processes} × node -e 0, at once`, value: await bareStart(processes) }
  return [
    { what: `${minutes} minutes of mixed tasks: accepted`, value: accepted, unit: 'tasks' },
    { what: `… of those of an hour at ${RATE} a second`, value: accepted / (36 * RATE), unit: '%' },
    { what: '… ended as they should', value: succeeded + failed, unit: 'tasks', floor: { least: accepted } },
    { what: '… of them failed, crashed or timed out', value: failed, unit: 'tasks' },
    ...workersOf(readSamples(samples)),
    ...ROLES.flatMap((role) => growthRows(role, readSamples(samples), began, ended)),
    { what: 'idle stop at the end', value: stop / 1_000, unit: 's', floor: { most: 1 }, beside },
  ]
}

/** Enqueues the mix for so many seconds; returns how many tasks were accepted. */
async function feed(client: Client, seconds: number): Promise<number> {
  const random = randomOf(1)
  const end = performance.now() + seconds * 1_000
  const pending = new Set<Promise<unknown>>()
  let accepted = 0
  for (let due = performance.now(); performance.now() < end; due += 1_000 / RATE) {
    await sleep(Math.max(0, due - performance.now()))
    if (pending.size >= AT_A_TIME) await Promise.race(pending)
    const enqueued = pick(random() * 1_000)(client).finally(() => pending.delete(enqueued))
    pending.add(enqueued)
    accepted += 1
  }
  await Promise.all(pending)
  return accepted
}

function pick(chance: number): (client: Client) => Promise<unknown> {
  let left = chance
  for (const [share, enqueue] of MIX) {
    left -= share
    if (left < 0) return enqueue
  }
  throw new Error('The shares of the mix do not add up to a thousand.')
}

/** Waits until so many tasks have their last outcome, or no more come. */
async function outcomes(dataDir: string, count: number) {
  using results = openToRead(join(dataDir, 'results.db'))
  const query = results.prepare(
    `select count(*) filter (where success) as succeeded, count(*) filter (where not success) as failed
     from tasks where success or fate <> 'retry'`,
  )
  let [ended, newsAt] = [0, performance.now()]
  for (;;) {
    const found = query.get() as { succeeded: number; failed: number }
    const isNews = found.succeeded + found.failed > ended
    if (isNews) [ended, newsAt] = [found.succeeded + found.failed, performance.now()]
    if (ended >= count || performance.now() > newsAt + PATIENCE) return found
    await sleep(200)
  }
}

function workersOf(samples: readonly Sample[]): Row[] {
  const pids = new Set(samples.filter(({ role }) => role === 'worker').map(({ pid }) => pid))
  return [{ what: '… worker processes seen', value: pids.size, unit: 'processes' }]
}

/** What a process has in the last quarter of the time, beside what it had in the second one. */
function growthRows(role: string, samples: readonly Sample[], began: number, ended: number): Row[] {
  const own = samples.filter((sample) => sample.role === role)
  const pids = new Set(own.map(({ pid }) => pid))
  if (pids.size !== 1) throw new Error(`Expected one ${role} all the time, got ${pids.size}.`)
  const quarter = (n: number) =>
    own.filter(({ at }) => Math.floor((4 * (at - began)) / (ended - began)) === n - 1)
  return (Object.keys(GROWTH) as Kind[]).map((kind) => {
    const medianIn = (n: number) => medianOf(quarter(n).map((one) => one[kind]))
    const { unit, share, more } = GROWTH[kind]
    const before = medianIn(2)
    const beside = { what: 'in the second quarter', value: before }
    return {
      what: `${role}, last quarter`,
      value: medianIn(4),
      unit,
      floor: { most: before * (1 + share) + more },
      beside,
    }
  })
}

function readSamples(path: string): Sample[] {
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Sample)
}
