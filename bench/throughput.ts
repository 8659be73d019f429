/** How many tasks a cluster does in a second when its queue is full. */
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, type Client } from 'qcluster'
import { StartedCluster } from './cluster.ts'
import { endLater } from './resources.ts'
import { noop } from './tasks.ts'

/** What has become of the tasks, by the word of the queue and of the results. */
export interface Progress {
  /** Whether nothing waits and nothing is handed out. */
  isAcknowledged(): Promise<boolean>
  /** How many successes are saved, and when the first of them started: milliseconds since the epoch. */
  saved(): Promise<{ readonly count: number; readonly first: number }>
  close(): void
}

export interface ThroughputDeployment {
  readonly flags: readonly string[]
  readonly logFile: string
  readonly makeClient: () => Client
  readonly watch: () => Progress
}

const TASKS = 100_000
const BATCH = 1_000
/** Makes the signed body about 256 bytes long. */
const PAYLOAD = 'x'.repeat(60)
/** Milliseconds between two looks. */
const LOOK = 20

/** Tasks a second, from the start of the first one to the acknowledgement of the last. */
export async function measureThroughput(
  { flags, logFile, makeClient, watch }: ThroughputDeployment,
  logLevel: 'warn' | 'info',
): Promise<number> {
  await fill(makeClient())
  const progress = watch()
  const close = endLater(() => progress.close())
  const cluster = new StartedCluster({ workers: 2, flags, logLevel, logFile })
  while (!(await progress.isAcknowledged())) await sleep(LOOK)
  const ended = Date.now()
  const { count, first } = await progress.saved()
  await cluster.stop()
  await close()
  if (count !== TASKS) throw new Error(`Expected ${TASKS} saved successes, got ${count}.`)
  return (TASKS / (ended - first)) * 1_000
}

async function fill(client: Client): Promise<void> {
  for (let enqueued = 0; enqueued < TASKS; enqueued += BATCH)
    await Promise.all(Array.from({ length: BATCH }, () => asyncTask(noop, [PAYLOAD], { client })))
  await client.close()
}
