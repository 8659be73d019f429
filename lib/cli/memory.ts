import type { Command } from 'commander'
import { Stat } from '../stat.ts'
import { addFlags, type Flags } from './flags.ts'
import { type Page, present } from './screen.ts'
import { type Columns, plain, tableLines } from './table.ts'
import { withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster memory
  qcluster memory --workers --run-once`

/**
 * `qcluster memory`: what the processes of every cluster occupy, by their own word, so also on other hosts.
 * @see https://django-q2.readthedocs.io/en/master/monitor.html
 */
export function addMemory(program: Command): void {
  const command = program
    .command('memory')
    .description('Watch the memory of the clusters at this broker and of their hosts; q quits.')
    .option('--workers', 'Each worker on its own, too.')
    .option('--run-once', 'Show it once, as text; so it is without a terminal, too.')
    .option('--json', 'Show it once, as JSON.')
  addFlags(command).addHelpText('after', EXAMPLES).action(memory)
}

/** `--workers` is a switch here, and no option of the table. */
function memory({ workers, ...flags }: Flags): Promise<void> {
  const lowest = new Map<string, Low>()
  return withClient(flags, () =>
    present(
      {
        look: async () => remember(await Stat.getAll(), lowest),
        json: (clusters) => clusters.map(dataOf),
        pages: [(clusters, room) => page(clusters, [...lowest.values()], workers === true, room)],
      },
      flags,
    ),
  )
}

/** The least memory that a host had since this began to look. */
interface Low {
  readonly host: string
  readonly share: number
  readonly at: number
}

function remember(clusters: Stat[], lowest: Map<string, Low>): Stat[] {
  for (const { host, memory, at } of clusters) {
    const share = memory.available / memory.total
    if (share < (lowest.get(host)?.share ?? Number.POSITIVE_INFINITY)) lowest.set(host, { host, share, at })
  }
  return clusters
}

function page(clusters: readonly Stat[], lows: readonly Low[], workers: boolean, room: number): Page {
  if (clusters.length === 0) return { lines: ['No clusters appear to be running.'], bar: '' }
  const lines = tableLines(COLUMNS, clusters, room)
  return {
    lines: workers ? [...lines, '', ...tableLines(workerColumns(clusters), clusters, room)] : lines,
    bar: lows
      .map(({ host, share, at }) => plain(`${host}: lowest ${percent(share)} at ${timeOf(at)}`))
      .join('  '),
  }
}

function dataOf({ clusterId, host, memory, processes }: Stat): object {
  return { clusterId, host, memory, processes: processes.map(({ id, pid, rss }) => ({ id, pid, rss })) }
}

const COLUMNS: Columns<Stat> = {
  Host: ({ host }) => host,
  Id: ({ clusterId }) => clusterId.slice(-8),
  'Available (%)': ({ memory }) => percent(memory.available / memory.total),
  'Available (MB)': ({ memory }) => megabytes(memory.available),
  'Total (MB)': ({ memory }) => megabytes(memory.total),
  'Sentinel (MB)': (stat) => sizeOf(stat, 'sentinel'),
  'Monitor (MB)': (stat) => sizeOf(stat, 'monitor'),
  'Workers (MB)': (stat) => sizeOf(stat, 'worker'),
}

/** As many columns as the largest pool has workers. */
function workerColumns(clusters: readonly Stat[]): Columns<Stat> {
  const most = Math.max(...clusters.map((stat) => workersOf(stat).length))
  const sizes = Array.from({ length: most }, (_, n) => [
    `Worker #${n + 1} (MB)`,
    (stat: Stat) => sizesOf(workersOf(stat).slice(n, n + 1)),
  ])
  return { Id: ({ clusterId }) => clusterId.slice(-8), ...Object.fromEntries(sizes) }
}

type Process = Stat['processes'][number]

const workersOf = ({ processes }: Stat): Process[] => processes.filter(({ role }) => role === 'worker')

function sizeOf({ processes }: Stat, role: Process['role']): string {
  return sizesOf(processes.filter((one) => one.role === role))
}

/** Nothing where no process has told yet: 0 would be a lie. */
function sizesOf(processes: readonly Process[]): string {
  const known = processes.flatMap(({ rss }) => rss ?? [])
  return known.length === 0 ? '-' : megabytes(known.reduce((sum, rss) => sum + rss, 0))
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

const timeOf = (at: number): string => new Date(at).toLocaleTimeString('en-GB')
