import { type Command, InvalidArgumentError, Option } from 'commander'
import { defaultClient } from '../client.ts'
import { ConfigError, ResultTimeoutError } from '../errors.ts'
import { escapeControls } from '../logger.ts'
import type { OutcomeFilter } from '../stores/store.ts'
import { cancelGroup, cancelTask } from '../tasks/cancel.ts'
import { retryTask } from '../tasks/rerun.ts'
import { deleteTask, locate, type TaskRecord, toRecord } from '../tasks/results.ts'
import type { CurrentRun } from '../tasks/runs.ts'
import { addFlags, type Flags } from './flags.ts'
import { type Columns, tableLines } from './table.ts'
import { jsonOf, textOf, withClient } from './values.ts'

const LIST_EXAMPLES = `
Examples:
  qcluster tasks list --state failure --limit 5
  qcluster tasks list --group scan --json`

const SHOW_EXAMPLES = `
Examples:
  qcluster tasks show 0199f3c2a7d47b3c8f0e5d1c2b3a4f5e
  qcluster tasks show "nightly report" --json

A task that waits has nothing to show: no broker looks a message up by its id. Then the exit code is 1, and \`qcluster queue
size\` tells how many wait.`

/** `qcluster tasks`: what is saved of tasks. */
export function addTasks(program: Command): void {
  const parent = program
    .command('tasks')
    .description('Look at tasks and their outcomes, and change what becomes of them.')
  addList(parent)
  addShow(parent)
  addDeed(parent, 'retry', 'Enqueue a task once more that has failed for good, under its id.', retry)
  addDeed(
    parent,
    'cancel',
    'Cancel a task by its id, whether it waits or runs; or with --group all of one.',
    cancel,
  ).option('--group <name>', 'All tasks of this group that are enqueued by now.')
  addDeed(parent, 'delete', 'Forget what is saved of a task. It is not stopped by that.', forget)
}

const DEED_EXAMPLES = `
Examples:
  qcluster tasks retry 0199f3c2a7d47b3c8f0e5d1c2b3a4f5e
  qcluster tasks cancel 0199f3c2a7d47b3c8f0e5d1c2b3a4f5e
  qcluster tasks cancel --group scan
  qcluster tasks delete "nightly report"`

type Deed = (tasks: readonly string[], flags: Flags) => Promise<void>

function addDeed(parent: Command, name: string, description: string, act: Deed): Command {
  const command = parent
    .command(name)
    .description(description)
    .argument('[tasks...]', 'their ids; where it only looks into the store also names')
    .option('--json', 'As JSON.')
  return addFlags(command)
    .addHelpText('after', DEED_EXAMPLES)
    .action((tasks: readonly string[], flags: Flags) => withClient(flags, () => act(tasks, flags)))
}

const retry: Deed = (tasks, flags) => eachOf(tasks, flags, 'enqueued', (task) => retryTask(task))

const forget: Deed = (tasks, flags) => eachOf(tasks, flags, 'deleted', (task) => deleteTask(task))

const cancel: Deed = async (tasks, flags) => {
  const { group, json } = flags as { group?: string; json?: boolean }
  if (group === undefined) demandSome(tasks)
  if (group !== undefined) await cancelGroup(group)
  if (tasks.length > 0) await cancelTask(tasks)
  console.log(json ? jsonOf({ cancelled: tasks, ...(group !== undefined && { group }) }) : 'cancelled')
}

async function eachOf(
  tasks: readonly string[],
  { json }: Flags,
  word: string,
  act: (task: string) => Promise<boolean>,
): Promise<void> {
  demandSome(tasks)
  for (const task of tasks) if (!(await act(task))) throw unknown(task)
  console.log(json ? jsonOf({ [word]: tasks }) : `${word} ${tasks.length}`)
}

function demandSome(tasks: readonly string[]): void {
  if (tasks.length === 0)
    throw new ConfigError('Expected the id of a task, got none; `qcluster tasks list` shows them.')
}

function addList(parent: Command): void {
  const command = parent
    .command('list')
    .description('List tasks that have an outcome, the newest first.')
    .option('--group <name>', 'Those of this group.')
    .option('--func <name>', 'Those that ran this function.')
    .addOption(new Option('--state <state>', 'Those in this state.').choices(['success', 'failure']))
    .option('--limit <count>', 'The most to list.', countOf, 20)
    .option('--json', 'As JSON.')
  addFlags(command).addHelpText('after', LIST_EXAMPLES).action(list)
}

function addShow(parent: Command): void {
  const command = parent
    .command('show')
    .description('Show where a task is, and all that is saved of it.')
    .argument('<task>', 'its id, or its name: then the newest task of that name')
    .option('--json', 'As JSON.')
  addFlags(command).addHelpText('after', SHOW_EXAMPLES).action(show)
}

function list(flags: Flags): Promise<void> {
  return withClient(flags, async () => {
    const outcomes = await defaultClient().atStore((store) => store.list(filterOf(flags)))
    const records = outcomes.map((outcome) => toRecord(outcome))
    console.log(flags.json ? jsonOf(records) : tableOf(records))
  })
}

function show(idOrName: string, flags: Flags): Promise<void> {
  return withClient(flags, async () => {
    const { state, run, record } = await locate(idOrName)
    if (!run && !record) throw unknown(idOrName)
    if (flags.json) console.log(jsonOf({ ...record, state, ...(run && { current: run }) }))
    else console.log([...(run ? [runSheetOf(run)] : []), ...(record ? [sheetOf(record)] : [])].join('\n\n'))
  })
}

function filterOf({ group, func, state, limit }: Flags): OutcomeFilter {
  return {
    ...(typeof group === 'string' && { group }),
    ...(typeof func === 'string' && { func }),
    ...(state !== undefined && { success: state === 'success' }),
    limit: limit as number,
  }
}

const COLUMNS: Columns<TaskRecord> = {
  Id: ({ id }) => id,
  Name: ({ name }) => name,
  Func: ({ func }) => func,
  Group: ({ group = '' }) => group,
  State: stateOf,
  Attempt: ({ attempt }) => attempt,
  Stopped: ({ stoppedAt }) => stoppedAt.toISOString(),
  Seconds: ({ timeTaken }) => timeTaken.toFixed(3),
}

function tableOf(records: readonly TaskRecord[]): string {
  if (records.length === 0) return 'No task that has an outcome is like this.'
  return tableLines(COLUMNS, records).join('\n')
}

/** What runs now; what stands below it is of an attempt before. */
function runSheetOf({
  taskId,
  name,
  func,
  attempt,
  run,
  startedAt,
  clusterId,
  host,
  pid,
}: CurrentRun): string {
  return rowsOf([
    ['id', taskId],
    ['name', safe(name)],
    ['func', safe(func)],
    ['cluster', clusterId],
    ['worker', `${pid} on ${safe(host)}`],
    ['state', 'running'],
    ['attempt', `${attempt} (run ${run})`],
    ['started', new Date(startedAt).toISOString()],
  ])
}

function sheetOf({ id, name, func, args, group, cluster, attempt, run, ...rest }: TaskRecord): string {
  const { result, error, enqueuedAt, startedAt, stoppedAt, timeTaken } = rest
  const rows = [
    ...[
      ['id', id],
      ['name', name],
      ['func', func],
      ['args', textOf(args)],
    ],
    ...(group === undefined ? [] : [['group', group]]),
    ...[
      ['cluster', cluster],
      ['state', stateOf(rest)],
      ['attempt', `${attempt} (run ${run})`],
    ],
    ...[
      ['enqueued', enqueuedAt.toISOString()],
      ['started', startedAt.toISOString()],
    ],
    ...[
      ['stopped', stoppedAt.toISOString()],
      ['seconds', timeTaken.toFixed(3)],
    ],
    error ? ['error', safe(error.stack ?? error.message)] : ['result', safe(textOf(result))],
  ]
  return rowsOf(rows)
}

/** What a task made is a stranger's: it must not steer the terminal. */
function safe(text: string): string {
  return text.split('\n').map(escapeControls).join('\n')
}

function stateOf({ state, final }: Pick<TaskRecord, 'state' | 'final'>): string {
  return final ? state : `${state}, will be tried again`
}

function rowsOf(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const widths = (rows[0] ?? []).map((_, column) => width(column))
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}

function unknown(idOrName: string): ResultTimeoutError {
  return new ResultTimeoutError(
    `The task "${idOrName}" has no outcome, and no worker runs it: it waits, was never enqueued here, or was forgotten (saveLimit).`,
  )
}

function countOf(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0) return count
  throw new InvalidArgumentError('It must be a whole number above 0.')
}
