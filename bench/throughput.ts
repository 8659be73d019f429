/** How many tasks a cluster does in a second when its queue is full. */
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, type Client } from 'qcluster'
import { StartedCluster } from './cluster.ts'
import { usageOf } from './life.ts'
import { endLater } from './resources.ts'
import type { Row } from './table.ts'
import { noop } from './tasks.ts'

/** What has become of the tasks, by the word of the queue and of the results. */
export interface Progress {
  /** Whether nothing waits and nothing is handed out; of a cluster that has stopped this must be certain. */
  isAcknowledged(): Promise<boolean>
  /** How many successes are saved. */
  saved(): number
  /** The same while it goes on, at little cost. */
  savedSoFar(): number
  close(): Promise<void>
}

export interface ThroughputDeployment {
  readonly flags: readonly string[]
  readonly logFile: string
  readonly imported?: string
  readonly makeClient: () => Client
  readonly watch: () => Promise<Progress>
}

/** Tasks a second. */
export interface Throughput {
  /** From the first call of `asyncTask` until all are kept by the broker; by a thousand callers at a time. */
  readonly enqueued: number
  /** From the moment when the cluster is warm to the acknowledgement of the last one. */
  readonly done: number
  /** What all processes of the cluster have used meanwhile: microseconds of a processor for each task. */
  readonly cpu: number
  /** The same of each role. */
  readonly cpuOf: ReadonlyMap<string, number>
  /** What they have all together at the end, in mebibytes; what processes share is counted for each. */
  readonly memory: number
}

export const TASKS = 300_000
/** Those of them that are not counted: until then processes start, and run code for the first time. */
export const WARM_UP = 100_000
const CALLERS = 1_000
/** Makes the signed body about 256 bytes long. */
const PAYLOAD = 'x'.repeat(60)
/** Milliseconds between two looks. */
const LOOK = 20

export async function measureThroughput(
  { flags, logFile, imported, makeClient, watch }: ThroughputDeployment,
  logLevel: 'warn' | 'info',
): Promise<Throughput> {
  const enqueued = await fill(makeClient())
  const progress = await watch()
  const close = endLater(() => progress.close())
  // Nothing is pruned while it is counted, however slow the machine is.
  const kept = [...flags, '--save-for', '3600']
  const from = imported === undefined ? {} : { imported }
  const cluster = new StartedCluster({ workers: 2, flags: kept, logLevel, logFile, ...from })
  while (progress.savedSoFar() < WARM_UP) await sleep(LOOK)
  const [warm, began, usedBefore] = [progress.savedSoFar(), performance.now(), usageOf(cluster.pid)]
  while (!(await progress.isAcknowledged())) await sleep(LOOK)
  const seconds = (performance.now() - began) / 1_000
  const used = usageOf(cluster.pid)
  await cluster.stop()
  if (!(await progress.isAcknowledged())) throw new Error('Some tasks were not acknowledged.')
  const saved = progress.saved()
  await close()
  if (saved !== TASKS) throw new Error(`Expected ${TASKS} saved successes, got ${saved}.`)
  const perTask = (secondsUsed: number) => (secondsUsed / (TASKS - warm)) * 1e6
  const since = (role: string) => (used.secondsOf.get(role) ?? 0) - (usedBefore.secondsOf.get(role) ?? 0)
  return {
    ...{ enqueued, done: (TASKS - warm) / seconds, memory: used.mebibytes },
    cpu: perTask(used.seconds - usedBefore.seconds),
    cpuOf: new Map([...used.secondsOf.keys()].map((role) => [role, perTask(since(role))])),
  }
}

/** Where the time goes: rows of the roles that have to do with each task. */
export function costRows({ cpuOf }: Throughput): Row[] {
  return ['pusher', 'worker', 'monitor'].map((role) => ({
    ...{ what: `… processor time a task, ${role}`, value: cpuOf.get(role) ?? 0, unit: 'µs' },
  }))
}

/** Does something for every task: a thousand callers at a time, each of which calls again when it is answered. */
export async function byCallers(call: () => Promise<unknown>): Promise<void> {
  let called = 0
  const caller = async () => {
    while (called++ < TASKS) await call()
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
}

async function fill(client: Client): Promise<number> {
  const began = performance.now()
  await byCallers(() => asyncTask(noop, [PAYLOAD], { client }))
  const milliseconds = performance.now() - began
  await client.close()
  return (TASKS / milliseconds) * 1_000
}
