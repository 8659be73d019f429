/** How long it takes on an idle cluster until a caller has the result of what it has enqueued. */
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, type Client } from 'qcluster'
import { bareRoundTrips } from './bare.ts'
import { StartedCluster } from './cluster.ts'
import { endLater } from './resources.ts'
import type { Row } from './table.ts'
import { noop } from './tasks.ts'

export interface LatencyDeployment {
  readonly flags: readonly string[]
  readonly makeClient: () => Client
}

export interface Percentiles {
  readonly p50: number
  readonly p99: number
}

const ROUNDS = 1_000
/** One after the other: a cluster that has worked for some seconds, not one whose every function runs for the first time. */
const WARM_UP = 5_000
/** Milliseconds between two tasks, so that each finds the cluster idle. */
const PAUSE = 5

/** Something that goes there and back without us, measured beside. */
export interface Bare {
  readonly what: string
  /** Ours goes that way too: the floor counts from there. */
  readonly isPartOfIt?: boolean
  readonly measure: () => Promise<Percentiles>
}

const FORKED: Bare = { what: 'process.send there and back', measure: bareRoundTrips }

/** The rows of any deployment. */
export async function latencyRows(deployment: LatencyDeployment, without = FORKED): Promise<Row[]> {
  const { p50, p99 } = await measureLatency(deployment)
  const bare = await without.measure()
  const what = 'enqueue → result, idle cluster'
  const row = (percentile: keyof Percentiles, value: number, most: number) => ({
    ...{ what: `${what}, ${percentile}`, value, unit: 'ms' },
    floor: { most: most + (without.isPartOfIt ? bare[percentile] : 0) },
    beside: { what: without.what, value: bare[percentile] },
  })
  return [row('p50', p50, 1.5), row('p99', p99, 8)]
}

/** Milliseconds from the call of `asyncTask` to the result. */
async function measureLatency({ flags, makeClient }: LatencyDeployment): Promise<Percentiles> {
  const cluster = new StartedCluster({ workers: 2, flags, logLevel: 'warn' })
  const client = makeClient()
  const close = endLater(() => client.close())
  const times = await timesOf(async () => {
    const task = await asyncTask(noop, ['x'], { client })
    await task.result({ wait: 30_000 })
  })
  await close()
  await cluster.stop()
  return percentilesOf(times)
}

/** Milliseconds of each round, after some to warm up. */
export async function timesOf(round: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = []
  for (let n = 0; n < WARM_UP; n += 1) await round()
  for (let n = 0; n < ROUNDS; n += 1) {
    await sleep(PAUSE)
    const began = performance.now()
    await round()
    times.push(performance.now() - began)
  }
  return times
}

export function percentilesOf(times: readonly number[]): Percentiles {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] as number
  return { p50: at(0.5), p99: at(0.99) }
}
