import { defaultClient } from '../client.ts'
import { StoreError } from '../errors.ts'
import { Stat } from '../stat.ts'
import type { OutcomeCounts } from '../stores/store.ts'
import { type Columns, clock, tableLines } from './table.ts'

/** What is seen of the clusters at a broker, and what waits in one of its queues. */
export interface View {
  readonly broker: string
  readonly queue: string
  readonly queued: number
  readonly locked: number
  /** Outcomes in the store; null where it cannot be reached, which must not hide the clusters. */
  readonly saved: OutcomeCounts | null
  readonly clusters: readonly Stat[]
}

/** Looks at everything by way of the default client. */
export async function lookAround(queue: string): Promise<View> {
  const clusters = await Stat.getAll()
  const saved = await savedOutcomes()
  return defaultClient().atBroker(async (broker) => ({
    broker: await broker.info(),
    queue,
    queued: await broker.queueSize(queue),
    locked: await broker.lockSize(queue),
    saved,
    clusters,
  }))
}

async function savedOutcomes(): Promise<OutcomeCounts | null> {
  try {
    return await defaultClient().atStore((store) => store.counts())
  } catch (error) {
    if (error instanceof StoreError) return null
    throw error
  }
}

/** A view as data, with the totals that {@link clustersAsText} shows. */
export function clustersAsData({ clusters, ...view }: View): object {
  return { ...view, ...totalsOf(clusters), clusters }
}

/** The same for people: the rows of the reference's `qinfo`, the columns of its `qmonitor`, and every process. */
export function clustersAsText({ broker, queue, queued, locked, saved, clusters }: View): string {
  const { workers, restarts } = totalsOf(clusters)
  const { successes = '?', failures = '?' } = saved ?? {}
  const totals = [
    `Clusters ${clusters.length}  Workers ${workers}  Restarts ${restarts}`,
    `Queued ${queued}(${locked})  Successes ${successes}  Failures ${failures}`,
  ].join('  ')
  const running =
    clusters.length === 0
      ? ['No clusters appear to be running.']
      : [
          tableLines(CLUSTER_COLUMNS, clusters).join('\n'),
          tableLines(PROCESS_COLUMNS, clusters.flatMap(processesOf)).join('\n'),
        ]
  return [`-- ${queue} on ${broker} --`, totals, ...running].join('\n\n')
}

function totalsOf(clusters: readonly Stat[]): { readonly workers: number; readonly restarts: number } {
  return {
    workers: clusters.reduce((total, { workers }) => total + workers.length, 0),
    restarts: clusters.reduce((total, { reincarnations }) => total + reincarnations, 0),
  }
}

const CLUSTER_COLUMNS: Columns<Stat> = {
  Host: ({ host }) => host,
  Id: ({ clusterId }) => clusterId.slice(-8),
  Name: ({ name }) => name,
  Queue: ({ queue }) => queue,
  State: ({ status }) => status,
  Pool: ({ workers, workerCount }) => `${workers.length}/${workerCount}`,
  TQ: ({ taskQueueSize }) => taskQueueSize,
  RQ: ({ doneQueueSize }) => doneQueueSize,
  RC: ({ reincarnations }) => reincarnations,
  Done: ({ counters }) => counters.succeeded ?? 0,
  Failed: ({ counters }) => counters.failed ?? 0,
  Up: ({ uptime }) => clock(uptime),
}

type ProcessRow = Stat['processes'][number] & Pick<Stat, 'clusterId' | 'at'>

function processesOf({ clusterId, at, processes }: Stat): ProcessRow[] {
  return processes.map((one) => ({ ...one, clusterId, at }))
}

const PROCESS_COLUMNS: Columns<ProcessRow> = {
  Id: ({ clusterId }) => clusterId.slice(-8),
  Process: ({ id }) => id,
  Pid: ({ pid }) => pid ?? '-',
  State: stateWords,
  MB: ({ rss }) => (rss === null ? '-' : Math.round(rss / 2 ** 20)),
  'CPU %': ({ cpu }) => (cpu === null ? '-' : (cpu * 100).toFixed(1)),
  Task: ({ tasks, at }) => tasks.map((task) => taskWords(task, at)).join(', '),
}

/** Where its machine is, and whether it is blocked. */
export function stateWords({ state, blocked }: Stat['processes'][number]): string {
  return blocked ? `${state}, blocked` : state
}

/** What a process runs, since when, and how far it says it is. @param at when that was seen */
export function taskWords(
  { name, func, startedAt, progress, message = '' }: Stat['processes'][number]['tasks'][number],
  at: number,
): string {
  const share = progress === undefined ? '' : `, ${Math.floor(progress * 100)} % ${message}`.trimEnd()
  return `${name} '${func}' for ${clock((at - startedAt) / 1000)}${share}`
}
