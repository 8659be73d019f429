import { stripVTControlCharacters } from 'node:util'
import { defaultClient } from '../client.ts'
import { StoreError } from '../errors.ts'
import { Stat } from '../stat.ts'
import type { OutcomeCounts } from '../stores/store.ts'

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
      : [table(CLUSTER_COLUMNS, clusters), table(PROCESS_COLUMNS, clusters.flatMap(processesOf))]
  return [`-- ${queue} on ${broker} --`, totals, ...running].join('\n\n')
}

function totalsOf(clusters: readonly Stat[]): { readonly workers: number; readonly restarts: number } {
  return {
    workers: clusters.reduce((total, { workers }) => total + workers.length, 0),
    restarts: clusters.reduce((total, { reincarnations }) => total + reincarnations, 0),
  }
}

/** Head → what the column shows of a row. */
type Columns<Row> = Readonly<Record<string, (row: Row) => string | number>>

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
  State: ({ state }) => state,
  MB: ({ rss }) => (rss === null ? '-' : Math.round(rss / 2 ** 20)),
  'CPU %': ({ cpu }) => (cpu === null ? '-' : (cpu * 100).toFixed(1)),
  Task: ({ tasks, at }) => tasks.map((task) => taskWords(task, at)).join(', '),
}

function taskWords({ name, func, startedAt }: ProcessRow['tasks'][number], at: number): string {
  return `${name} '${func}' for ${clock((at - startedAt) / 1000)}`
}

/** Seconds as `h:mm:ss`. */
function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (value: number) => `${value % 60}`.padStart(2, '0')
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60))}:${two(whole)}`
}

function table<Row>(columns: Columns<Row>, rows: readonly Row[]): string {
  const shows = Object.values(columns)
  const lines = [Object.keys(columns), ...rows.map((row) => shows.map((show) => plain(show(row))))]
  const widths = shows.map((_, column) => Math.max(...lines.map((line) => (line[column] as string).length)))
  return lines.map((line) => aligned(line, widths)).join('\n')
}

function aligned(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => cell.padEnd(widths[column] as number))
    .join('  ')
    .trimEnd()
}

/** Names of tasks, queues and hosts are not ours: none may move the cursor or begin a line. */
function plain(text: string | number): string {
  return stripVTControlCharacters(String(text)).replace(/\p{C}/gu, '?')
}
