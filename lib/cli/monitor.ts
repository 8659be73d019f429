import type { Command } from 'commander'
import { defaultClient } from '../client.ts'
import type { ClusterStatus, Stat } from '../stat.ts'
import { clustersAsData, lookAround, stateWords, taskWords, type View } from './clusters.ts'
import { addFlags, type Flags } from './flags.ts'
import { type Page, present } from './screen.ts'
import { type Cell, type Columns, clock, plain, type Style, tableLines } from './table.ts'
import { withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster monitor
  qcluster monitor --machines
  qcluster monitor --run-once | grep Working`

/**
 * `qcluster monitor`: every cluster at the broker, wherever it runs.
 * @see https://django-q2.readthedocs.io/en/master/monitor.html
 */
export function addMonitor(program: Command): void {
  const command = program
    .command('monitor')
    .description(
      'Watch the clusters at this broker, drawn anew each second; Tab shows their machines, q quits.',
    )
    .option('--machines', 'Begin with the machines: every process of every cluster and the state it is in.')
    .option('--run-once', 'Show it once, as text; so it is without a terminal, too.')
    .option('--json', 'Show it once, as JSON.')
  addFlags(command).addHelpText('after', EXAMPLES).action(monitor)
}

function monitor(flags: Flags): Promise<void> {
  const pages = flags.machines ? [machines, clusters] : [clusters, machines]
  return withClient(flags, async () => {
    const { name } = await defaultClient().settings()
    await present({ look: () => lookAround(name), json: clustersAsData, pages }, flags)
  })
}

function clusters(view: View, room: number): Page {
  return { lines: linesOf(view, tableLines(COLUMNS, view.clusters, room)), bar: barOf(view) }
}

function machines(view: View): Page {
  return {
    lines: linesOf(
      view,
      view.clusters.flatMap((stat, n) => (n > 0 ? ['', ...treeOf(stat)] : treeOf(stat))),
    ),
    bar: barOf(view),
  }
}

function linesOf({ clusters }: View, lines: string[]): string[] {
  return clusters.length > 0 ? lines : ['No clusters appear to be running.']
}

function barOf({ broker, queue, queued, locked, saved }: View): string {
  const { successes = '?', failures = '?' } = saved ?? {}
  const waiting = locked > 0 ? `${queued}(${locked})` : queued
  // Where there is no room for all of it, the broker's words end it.
  return plain(`Queued ${waiting}  Success ${successes}  Failures ${failures}  ${queue} on ${broker}`)
}

/** The columns of the reference's `qmonitor`, in its colours. */
const COLUMNS: Columns<Stat> = {
  Host: ({ host }) => host,
  Id: ({ clusterId }) => clusterId.slice(-8),
  State: ({ status, blocked }) => styled(blocked ? `${status}, blocked` : status, STATUS_STYLES[status]),
  Pool: ({ workers, workerCount }) =>
    styled(`${workers.length}/${workerCount}`, workers.length < workerCount && 'yellow'),
  TQ: ({ taskQueueSize, queueLimit }) =>
    styled(taskQueueSize, taskQueueSize >= queueLimit ? 'green' : taskQueueSize > 0 && 'cyan'),
  RQ: ({ doneQueueSize }) => styled(doneQueueSize, doneQueueSize > 0 && 'cyan'),
  RC: ({ reincarnations }) => reincarnations,
  Up: ({ uptime }) => clock(uptime),
}

const STATUS_STYLES: Partial<Record<ClusterStatus, Style>> = {
  Starting: 'yellow',
  Working: 'green',
  Paused: 'cyan',
  Stopping: 'yellow',
  Stopped: 'red',
}

function styled(text: string | number, style: Style | false | undefined): Cell {
  return style ? [text, style] : text
}

/** A cluster's machines as a tree: whom the sentinel guards stands below it. */
function treeOf({ name, queue, host, status, processes, at }: Stat): string[] {
  const [sentinel, ...children] = processes
  const rows = [...(sentinel ? [{ ...sentinel, branch: '└─ ', at }] : []), ...branches(children, at)]
  return [plain(`${name} [${queue}] on ${host}: ${status}`), ...tableLines(TREE, rows).slice(1)]
}

type Branch = Stat['processes'][number] & { readonly branch: string; readonly at: number }

function branches(children: Stat['processes'], at: number): Branch[] {
  const last = children.length - 1
  return children.map((child, n) => ({ ...child, branch: n < last ? '   ├─ ' : '   └─ ', at }))
}

/** What a machine is at stands beside its state: a column of its own would stand where the longest state ends. */
const TREE: Columns<Branch> = {
  Process: ({ branch, id }) => `${branch}${id}`,
  Pid: ({ pid }) => pid ?? '',
  State: (one) => styled([placeOf(one), tasksOf(one)].filter(Boolean).join('  '), stateStyle(one)),
}

const placeOf = (one: Branch): string => stateWords(one).replaceAll('.', ' › ')

const tasksOf = ({ tasks, at }: Branch): string => tasks.map((task) => taskWords(task, at)).join(', ')

function stateStyle({ state, blocked }: Branch): Style | undefined {
  if (blocked || state === 'down' || state.startsWith('failed')) return 'red'
  if (state.startsWith('starting') || state.startsWith('stopping')) return 'yellow'
  return state === 'running.working' ? 'green' : undefined
}
