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

/** Those of an hour in which 20 come a second. */
const TASKS = 20 * 3_600
/** Ended by their timeout, which is 1 s: they block for longer. */
const OVERRUN = 1_500
/** What is enqueued, by how many of a thousand tasks: first those that are to fail. */
const DOOMED: readonly Share[] = [
  [2, (client) => asyncTask(crash, [], { client })],
  [1, (client) => asyncTask(block, [OVERRUN], { client })],
  [50, (client) => asyncTask(fail, [], { client })],
]
const MIX: readonly Share[] = [
  ...DOOMED,
  [20, (client) => asyncTask(leak, [1_000_000], { client })],
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

type Share = readonly [number, (client: Client) => Promise<unknown>]
type Kind = keyof typeof GROWTH

/** A line of what each process says of itself every few seconds: see probe.mjs. */
interface Sample extends Readonly<Record<Kind, number>> {
  readonly role: string
  readonly pid: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** The rows of the suite: an hour's tasks, in so many minutes where the machine keeps up. */
export async function soak(minutes: number): Promise<Row[]> {
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
  const doomed = await feed(client, TASKS / (minutes * 60))
  const { succeeded, failed } = await outcomes(flags.at(-1) as string, TASKS)
  const ended = Date.now()
  await close()
  const stop = await cluster.stop()
  // The cluster itself and its sentinel, pusher, monitor and scheduler.
  const processes = WORKERS + 5
  const beside = { what: `${processes} × node -e 0, at once`, value: await bareStart(processes) }
  return [
    {
      what: `${TASKS.toLocaleString('en')} mixed tasks, in`,
      value: (ended - began) / 60_000,
      unit: 'minutes',
    },
    { what: '… ended as they should', value: succeeded + failed, unit: 'tasks', floor: { least: TASKS } },
    {
      what: '… of them failed, crashed or timed out',
      value: failed,
      unit: 'tasks',
      floor: { most: doomed },
      beside: { what: 'meant to', value: doomed },
    },
    ...workersOf(readSamples(samples)),
    ...ROLES.flatMap((role) => growthRows(role, readSamples(samples), began, ended)),
    { what: 'idle stop at the end', value: stop / 1_000, unit: 's', floor: { most: 1 }, beside },
  ]
}

/** Enqueues the mix, so many a second; returns how many are to fail. */
async function feed(client: Client, rate: number): Promise<number> {
  const random = randomOf(1)
  const began = performance.now()
  const pending = new Set<Promise<unknown>>()
  let doomed = 0
  for (let n = 0; n < TASKS; n += 1) {
    await sleep(Math.max(0, began + (n * 1_000) / rate - performance.now()))
    if (pending.size >= AT_A_TIME) await Promise.race(pending)
    const share = pick(random() * 1_000)
    if (DOOMED.includes(share)) doomed += 1
    const enqueued = share[1](client).finally(() => pending.delete(enqueued))
    pending.add(enqueued)
  }
  await Promise.all(pending)
  return doomed
}

function pick(chance: number): Share {
  let left = chance
  for (const share of MIX) {
    left -= share[0]
    if (left < 0) return share
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
