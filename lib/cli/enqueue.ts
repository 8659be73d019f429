import { type Command, Option } from 'commander'
import { EXIT } from '../errors.ts'
import { asyncTask, type EnqueueOptions } from '../tasks/enqueue.ts'
import type { Task } from '../tasks/results.ts'
import { addFlags, type Flags, PLACE } from './flags.ts'
import {
  addWaitFlags,
  argumentOf,
  jsonOf,
  secondsOf,
  someNumber,
  textOf,
  timeOf,
  waitOf,
  wholeNumber,
  withClient,
} from './values.ts'

const EXAMPLES = `
Examples:
  qcluster enqueue math.add 1 2 --wait
  qcluster enqueue mail.send '{"to": "ann@example.org"}' --delay 60 --max-attempts 5
  qcluster enqueue report.make sales --unique-key sales --hook mail.report --json

There is no flag for the links of a chain: put one together in code (asyncChain), or enqueue a task that does.`

/** `qcluster enqueue`: one task from a terminal. */
export function addEnqueue(program: Command): void {
  const command = program
    .command('enqueue')
    .description('Enqueue a task; prints its id, or with --wait what it returned.')
    .argument('<task>', 'its name')
    .argument('[arguments...]', 'JSON where it parses, else text')
  for (const flag of TASK_FLAGS) command.addOption(flag)
  command.option('--json', 'Print id and name as JSON, or with --wait the whole record.')
  addFlags(addWaitFlags(command)).addHelpText('after', EXAMPLES).action(enqueue)
}

const TASK_FLAGS: readonly Option[] = [
  new Option('--group <name>', 'A label to find tasks by.'),
  new Option('--task-name <name>', 'Its human name instead of four words.'),
  new Option('--delay <seconds>', 'Start it so much later.').argParser(secondsOf),
  new Option('--run-at <time>', 'Start it then, as ISO 8601.').argParser(timeOf),
  new Option('--expires <seconds>', 'Do not start it any more after that.').argParser(secondsOf),
  new Option('--priority <priority>', 'Before all that is not high, or not.').choices(['high', 'normal']),
  new Option('--unique', 'Only if none of its kind, with these arguments, waits or runs.'),
  new Option('--unique-key <text>', 'The same for all tasks of its kind with this key.'),
  new Option('--unique-within <seconds>', 'And for so long, even when it is over.').argParser(secondsOf),
  new Option('--timeout <seconds>', 'How long a run may take.').argParser(secondsOf),
  new Option('--max-attempts <number>', 'Attempts before it is given up; 0: endless.').argParser(wholeNumber),
  new Option('--retry <seconds>', 'The time before the next attempt.').argParser(secondsOf),
  new Option('--retry-factor <number>', 'By what that grows with each further one.').argParser(someNumber),
  new Option('--retry-cap <seconds>', 'The most that it grows to.').argParser(secondsOf),
  new Option('--retry-jitter <share>', 'What share of it is left to chance: 0 to 1.').argParser(someNumber),
  new Option('--ack-failure', 'Give it up at its first failure, and make no dead letter of it.'),
  new Option('--hook <task>', 'A task that is told its record in the end.'),
  new Option('--cached <seconds>', 'How long its outcome is kept, whatever saveLimit says.').argParser(
    secondsOf,
  ),
  new Option('--iter-count <number>', 'So many tasks of its group become one.').argParser(wholeNumber),
  new Option('--iter-cached <seconds>', 'How long that one is kept, whatever saveLimit says.').argParser(
    secondsOf,
  ),
  new Option('--save', 'Save its success also where saveLimit is -1.'),
  new Option('--no-save', 'Do not save its success.'),
  new Option('--sync', 'Run it here and now, without a cluster.'),
]

async function enqueue(task: string, args: string[], flags: Flags): Promise<void> {
  await withClient(placeIn(flags), async () => {
    const enqueued = await asyncTask(task, args.map(argumentOf), optionsOf(flags))
    if (flags.json) await printJson(enqueued, flags)
    else console.log(flags.wait === undefined ? enqueued.id : textOf(await enqueued.result(waitOf(flags))))
  })
}

async function printJson(task: Task, flags: Flags): Promise<void> {
  const { id, name, isNew } = task
  if (flags.wait === undefined) return console.log(jsonOf({ id, name, isNew }))
  const record = await task.fetch(waitOf(flags))
  console.log(jsonOf(record ?? null))
  if (!record?.success) process.exitCode = EXIT.incomplete
}

/** Some flags of a task are called like options of a cluster. */
function placeIn(flags: Flags): Flags {
  return Object.fromEntries([...PLACE, 'configFile'].map((name) => [name, flags[name]]))
}

function optionsOf(flags: Flags): EnqueueOptions {
  const { unique, uniqueKey: key, uniqueWithin: within } = flags
  const given = TASK_FLAGS.map((flag) => flag.attributeName())
    .filter((name) => flags[name] !== undefined && !name.startsWith('unique'))
    .map((name) => [name, flags[name]])
  const isUnique = (unique ?? key ?? within) !== undefined
  const rule = { ...(key !== undefined && { key }), ...(within !== undefined && { within }) }
  return { ...Object.fromEntries(given), ...(isUnique && { unique: rule }) }
}
