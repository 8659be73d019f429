import { type Command, Option } from 'commander'
import { defaultClient } from '../client.ts'
import { ConfigError, EXIT, ResultTimeoutError } from '../errors.ts'
import { escapeControls } from '../logger.ts'
import { isTaskId } from '../names.ts'
import { OUTCOME_STATES, type OutcomeFilter, type OutcomeState } from '../stores/store.ts'
import { cancelGroup, cancelTask } from '../tasks/cancel.ts'
import { isEmpty } from '../tasks/enqueue.ts'
import { retryTask } from '../tasks/rerun.ts'
import { deleteTask, locate, type Sighting, type TaskRecord, toRecord } from '../tasks/results.ts'
import type { CurrentRun } from '../tasks/runs.ts'
import { addFlags, type Flags } from './flags.ts'
import { type Columns, tableLines } from './table.ts'
import { countOf, jsonOf, textOf, withClient } from './values.ts'

const LIST_EXAMPLES = `
Examples:
  qcluster tasks list --state failure --limit 5
  qcluster tasks list --group scan --json`

const SHOW_EXAMPLES = `
Examples:
  qcluster tasks show 0199f3c2a7d47b3c8f0e5d1c2b3a4f5e
  qcluster tasks show "nightly report" --json

A task that waits is \`queued\`. No broker looks for one by its id, so an id that nobody knows seems to wait as long as
anything waits in the queue. The exit code is 1 when it cannot be waiting either, and for a name that neither an outcome nor a
running task has.`

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
  qcluster tasks delete "nightly report"

The exit code is 1 when it could not be done to one of them: stderr says to which and why. It is done to all others.`

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
  if (group === undefined) return eachOf(tasks, flags, 'cancelled', cancelOne)
  if (tasks.length > 0)
    throw new ConfigError('Expected ids of tasks or --group, got both: cancel the one after the other.')
  await cancelGroup(group)
  console.log(json ? jsonOf({ cancelled: { group } }) : `cancelled the group ${group}`)
}

async function cancelOne(task: string): Promise<boolean> {
  const outcome = await defaultClient().outcome(task)
  if (outcome?.final) throw new ConfigError(`The task "${task}" has ended: ${toRecord(outcome).state}.`)
  await cancelTask(task)
  return true
}

/** A task that it cannot be done to does not keep the others from it. */
async function eachOf(
  tasks: readonly string[],
  { json }: Flags,
  word: string,
  act: (task: string) => Promise<boolean>,
): Promise<void> {
  demandSome(tasks)
  const done: string[] = []
  const failed: { readonly task: string; readonly reason: string }[] = []
  try {
    for (const task of tasks) {
      const reason = await faultOf(task, act)
      if (reason === undefined) done.push(task)
      else failed.push({ task, reason })
    }
  } finally {
    console.log(json ? jsonOf({ [word]: done, failed }) : `${word} ${done.length}`)
    for (const { reason } of failed) console.error(escapeControls(reason))
  }
  if (failed.length > 0) process.exitCode = EXIT.incomplete
}

/** Why it cannot be done to this task. Throws what ails the others too. */
async function faultOf(task: string, act: (task: string) => Promise<boolean>): Promise<string | undefined> {
  try {
    return (await act(task))
      ? undefined
      : `Nothing is saved of the task "${task}": it waits or runs, was never enqueued here, or was forgotten (saveLimit).`
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
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
    .addOption(new Option('--state <state>', 'Those in this state.').choices(OUTCOME_STATES))
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
    const { state, run, record } = await sightingOf(idOrName)
    if (flags.json) console.log(jsonOf({ id: idOrName, ...record, state, ...(run && { current: run }) }))
    else console.log(sheetsOf(idOrName, run, record).join('\n\n'))
  })
}

/** What nobody knows may be what waits, as long as anything does. */
async function sightingOf(idOrName: string): Promise<Sighting> {
  const seen = await locate(idOrName)
  if (seen.run || seen.record) return seen
  if (!isTaskId(idOrName)) throw nameless(idOrName)
  if (!(await defaultClient().atBroker(isEmpty))) return seen
  // It may have ended between the two looks.
  const again = await locate(idOrName)
  if (again.run || again.record) return again
  throw unknown(idOrName)
}

function sheetsOf(id: string, run: CurrentRun | undefined, record: TaskRecord | undefined): string[] {
  const queued = rowsOf([
    ['id', id],
    ['state', 'queued'],
  ])
  return run || record ? [...(run ? [runSheetOf(run)] : []), ...(record ? [sheetOf(record)] : [])] : [queued]
}

function filterOf({ group, func, state, limit }: Flags): OutcomeFilter {
  return {
    ...(typeof group === 'string' && { group }),
    ...(typeof func === 'string' && { func }),
    ...(state !== undefined && { state: state as OutcomeState, success: state === 'success' }),
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
    `The task "${idOrName}" is unknown: it has no outcome and no worker runs it, so it was never enqueued here, is in another queue (--name), or was forgotten (saveLimit).`,
  )
}

function nameless(name: string): ResultTimeoutError {
  return new ResultTimeoutError(
    `No task named "${name}" has an outcome or runs; one that waits is found by its id only.`,
  )
}
