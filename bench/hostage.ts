/** Whether a few slow tasks hold up the many tiny ones, and how soon tasks that change are treated as what they are. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, asyncTasks, type Client } from 'qcluster'
import { randomOf } from '../spec/random.ts'
import { StartedCluster } from './cluster.ts'
import { deployment } from './embedded.ts'
import { openToRead } from './files.ts'
import { type Percentiles, percentilesOf } from './latency.ts'
import { medianOf } from './life.ts'
import { endLater } from './resources.ts'
import type { Row } from './table.ts'
import { block, noop, take, tiny } from './tasks.ts'

const WORKERS = 4
/** One task in so many blocks its worker, for so many milliseconds. */
const ONE_IN = 100
const BLOCKED = 200
/** Shares of the workers' time that are taken up by tasks. */
const LOADS = [0.2, 0.6]
const SECONDS = 10
/** Rounds of each kind, in turns: what else the machine does meets both. */
const ROUNDS = 2
/** What waiting behind a slow task may cost. */
const MOST = 1.2
/** Percent of the tiny tasks that may have waited behind a slow one, beside those of which it only seems so. */
const MOST_HELD = 0.1
/** Milliseconds within which a task starts that was in the same worker already when the one before ended. */
const AT_ONCE = 5

/** A tiny task: how long it waited, and whether it did so behind a slow one in the same worker. */
interface Waited {
  readonly time: number
  readonly isHeld: boolean
}

/** The rows of the suite. */
export async function hostage(): Promise<Row[]> {
  const rows: Row[] = []
  for (const load of LOADS) rows.push(...(await latenciesAt(load)))
  return [...rows, ...(await changes())]
}

/** How long tiny tasks wait at a share of the workers' time that is taken up, beside a window of 1. */
export async function latenciesAt(load: number): Promise<Row[]> {
  const [single, adaptive]: [Waited[][], Waited[][]] = [[], []]
  for (let round = 0; round < ROUNDS; round += 1) {
    single.push(await waitsAt(load, round, import.meta.resolve('./window-of-one.mjs')))
    adaptive.push(await waitsAt(load, round))
  }
  const [{ p50, p99 }, one] = [adaptive, single].map((all) =>
    percentilesOf(all.flat().map(({ time }) => time)),
  ) as [Percentiles, Percentiles]
  // Nobody waits behind another one there: they began just then for other reasons.
  const seemHeld = shareHeld(single.flat())
  const what = `1 % block ${BLOCKED} ms, ${load * 100} % load: a tiny task waits`
  const beside = (value: number) => ({ what: 'a window of 1', value })
  return [
    { what: `${what}, p50`, value: p50, unit: 'ms', beside: beside(one.p50) },
    {
      what: `${what}, p99`,
      value: p99,
      unit: 'ms',
      floor: { most: MOST * one.p99 },
      void: single.every(keepsUp) ? undefined : 'the window of 1 did not keep up with what came',
      beside: beside(one.p99),
    },
    {
      what: '… behind one that blocked the same worker',
      value: shareHeld(adaptive.flat()),
      unit: '% of them',
      floor: { most: MOST_HELD + seemHeld },
      beside: beside(seemHeld),
    },
  ]
}

function shareHeld(all: readonly Waited[]): number {
  return (100 * all.filter(({ isHeld }) => isHeld).length) / all.length
}

/** Whether they were as soon at work at the end as all the time; otherwise they wait for each other, and ever longer. */
function keepsUp(waits: readonly Waited[]): boolean {
  return medianOf(waits.slice(-waits.length / 10).map(({ time }) => time)) < BLOCKED
}

/** From the moment at which each tiny task was to be enqueued to its start: the same moments in each round. */
async function waitsAt(load: number, seed: number, imported?: string): Promise<Waited[]> {
  const { client, read, end } = await started(imported)
  const perSecond = (load * WORKERS * 1_000 * ONE_IN) / BLOCKED
  const began = performance.timeOrigin + performance.now()
  const pending: Promise<unknown>[] = []
  for (const [n, after] of moments(perSecond, seed).entries()) {
    const due = began + after
    const early = due - performance.timeOrigin - performance.now()
    if (early > 1) await sleep(early)
    const isBlock = n % ONE_IN === ONE_IN - 1
    pending.push(isBlock ? asyncTask(block, [BLOCKED], { client }) : asyncTask(tiny, [due], { client }))
  }
  await Promise.all(pending)
  const runs = await read<{ func: string; result: string }>(
    pending.length,
    `select func, result from tasks where func in ('bench.tiny', 'bench.block') order by started_at`,
  )
  await end()
  const told = <T>(func: string): T[] =>
    runs.filter((run) => run.func === func).map(({ result }) => JSON.parse(result) as T)
  const blocks = told<{ to: number; pid: number }>('bench.block')
  const tinies = told<{ due: number; from: number; pid: number }>('bench.tiny')
  const isOvertaken = (due: number, by: number) =>
    tinies.some((other) => other.due > due + AT_ONCE && other.from < by - AT_ONCE)
  // All wait in one line: whom a later one overtakes has left it, for a worker that was or became busy.
  const waits = tinies.map(({ due, from, pid }) => ({
    time: from - due,
    isHeld: blocks.some((one) => one.pid === pid && isAtOnce(from - one.to) && isOvertaken(due, one.to)),
  }))
  // What came first met workers that knew no task yet.
  return waits.slice(waits.length / 10)
}

function isAtOnce(after: number): boolean {
  return after >= 0 && after < AT_ONCE
}

/** Milliseconds after the begin, at random, so many a second in the mean. */
function moments(perSecond: number, seed: number): number[] {
  const random = randomOf(seed)
  const found = [0]
  for (;;) {
    const next = (found.at(-1) as number) + (Math.log(1 / (1 - random())) * 1_000) / perSecond
    if (next >= SECONDS * 1_000) return found
    found.push(next)
  }
}

/** Tasks of one name: none takes time, then each does, then none again. */
const PHASES = [
  { ms: 0, count: 40_000 },
  { ms: 50, count: 240 },
  { ms: 0, count: 40_000 },
]
/** Milliseconds over which a rate is taken. */
const SPAN = 100
/** The share of the usual rate that counts as recovered. */
const RECOVERED = 0.8

/** Seconds from a change until the usual rate is there. */
export async function changes(): Promise<Row[]> {
  const { read, end } = await started(undefined, async (one) => {
    for (const { ms, count } of PHASES) await asyncTasks(take, Array(count).fill([ms]), { client: one })
  })
  const total = PHASES.reduce((sum, { count }) => sum + count, 0)
  const runs = await read<{ ms: number; at: number }>(
    total,
    `select json_extract(args, '$[0]') as ms, stopped_at as at from tasks where func = 'bench.take' order by at`,
  )
  await end()
  const slow = runs.filter(({ ms }) => ms > 0).map(({ at }) => at)
  const [from, to] = [slow[0] as number, slow.at(-1) as number]
  const fast = runs.filter(({ ms }) => ms === 0).map(({ at }) => at)
  const [before, after] = [fast.filter((at) => at < from), fast.filter((at) => at > to)]
  const full = (WORKERS * SPAN) / 50
  return [
    rowOf('50 ms', recoveryOf(slow, from, full)),
    rowOf('0 ms again', recoveryOf(after, to, medianOf(ratesOf(before)))),
  ]
}

function rowOf(what: string, seconds: number): Row {
  return {
    what: `tasks change to ${what}: until the usual rate`,
    value: seconds,
    unit: 's',
    floor: { most: 1 },
  }
}

/** Seconds from `change` to the first span in which enough ended. */
function recoveryOf(ends: readonly number[], change: number, usual: number): number {
  const rates = ratesOf(
    ends.filter((at) => at >= change),
    change,
  )
  return ((rates.findIndex((rate) => rate >= RECOVERED * usual) + 1) * SPAN) / 1_000
}

/** How many ended in each span. */
function ratesOf(ends: readonly number[], from = ends[0] as number): number[] {
  const rates: number[] = []
  for (const at of ends) {
    const span = Math.floor((at - from) / SPAN)
    rates[span] = (rates[span] ?? 0) + 1
  }
  return Array.from(rates, (rate) => rate ?? 0)
}

/** A cluster of its own, running; what is done before finds none yet. */
async function started(imported?: string, before: (client: Client) => Promise<void> = async () => {}) {
  const { flags, makeClient } = deployment()
  const dataDir = flags.at(-1) as string
  const client = makeClient()
  const close = endLater(() => client.close())
  await before(client)
  const cluster = new StartedCluster({
    ...{ workers: WORKERS, flags: [...flags, '--save-limit', '0'], logLevel: 'warn' },
    ...(imported !== undefined && { imported }),
  })
  await (await asyncTask(noop, [''], { client })).result()
  return {
    client,
    /** The rows of a query, once so many tasks have ended beside the first. */
    read: async <T>(count: number, query: string): Promise<T[]> => {
      using results = openToRead(join(dataDir, 'results.db'))
      const ended = results.prepare('select count(*) as count from tasks')
      while ((ended.get() as { count: number }).count <= count) await sleep(100)
      return results.prepare(query).all() as T[]
    },
    end: async () => {
      await close()
      await cluster.stop()
    },
  }
}
