import { type Command, Option } from 'commander'
import { ScheduleError } from '../errors.ts'
import { SCHEDULE_TYPES } from '../tasks/rhythm.ts'
import { Schedule, type ScheduleSettings, schedule } from '../tasks/schedule.ts'
import { addFlags, type Flags } from './flags.ts'
import { type Columns, plain, tableLines } from './table.ts'
import { argumentOf, countOf, jsonOf, timeOf, wholeNumber, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster schedules add report report.send sales --cron '30 9 * * 1-5' --time-zone Europe/Amsterdam
  qcluster schedules add sweep files.sweep --minutes 15 --overlap skip
  qcluster schedules preview report --count 3
  qcluster schedules list --json`

/** `qcluster schedules`: tasks that are enqueued when their time comes. */
export function addSchedules(program: Command): void {
  const parent = program.command('schedules').description('Look after schedules.')
  const verb = (name: string, description: string, act: (flags: Flags) => Promise<void>) =>
    finish(parent.command(name).description(description)).action((flags: Flags) =>
      withClient(flags, () => act(flags)),
    )
  verb('list', 'List the schedules of the queue by their next time.', list)
  addAdd(parent)
  onOne(parent, 'pause', 'Make no more tasks of it.', async (one, flags) => print([await one.pause()], flags))
  onOne(parent, 'resume', 'Go on after a pause, or after a failure.', async (one, flags) =>
    print([await one.resume()], flags),
  )
  onOne(parent, 'run', 'Make a task of it now, beside its times; prints the id.', run)
  onOne(parent, 'remove', 'Forget it.', remove)
  onOne(parent, 'preview', 'Print its next times.', previewed).option(
    '--count <number>',
    'How many.',
    countOf,
    5,
  )
}

function addAdd(parent: Command): void {
  const command = parent
    .command('add')
    .description('Make a schedule.')
    .argument('<name>', 'what it is to be called')
    .argument('<task>', 'the name of the task')
    .argument('[arguments...]', 'JSON where it parses, else text')
    .addOption(new Option('--type <type>', 'How often it is due.').choices(SCHEDULE_TYPES))
    .option('--minutes <number>', 'The minutes between two times.', wholeNumber)
    .option('--cron <pattern>', 'A pattern: five fields, or six with seconds before them.')
    .option('--time-zone <name>', 'Whose clocks count, such as Europe/Amsterdam.')
    .option('--next-run <time>', 'Its first time, as ISO 8601; now when absent.', timeOf)
    .option('--repeats <number>', 'How many times; -1: without end.', wholeNumber)
    .option('--intended-date-kwarg <property>', 'What of the last argument gets the time of the slot.')
    .addOption(
      new Option('--overlap <policy>', 'While the task before is not over.').choices([
        'allow',
        'skip',
        'queue',
      ]),
    )
    .addOption(new Option('--misfire <policy>', 'What is made up for.').choices(['all', 'once', 'skip']))
    .option('--misfire-limit <number>', 'How many are made up for, or queue, at the most.', wholeNumber)
  finish(command).action((name: string, task: string, args: string[], flags: Flags) =>
    withClient(flags, async () =>
      print([await schedule(task, args.map(argumentOf), { name, ...settingsOf(flags) })], flags),
    ),
  )
}

function onOne(
  parent: Command,
  name: string,
  description: string,
  act: (one: Schedule, flags: Flags) => Promise<void>,
): Command {
  const command = parent.command(name).description(description).argument('<schedule>', 'its name or id')
  return finish(command).action((idOrName: string, flags: Flags) =>
    withClient(flags, async () => act(await existing(idOrName), flags)),
  )
}

function finish(command: Command): Command {
  return addFlags(command.option('--json', 'Print JSON.')).addHelpText('after', EXAMPLES)
}

async function existing(idOrName: string): Promise<Schedule> {
  const found = await Schedule.find(idOrName)
  if (found) return found
  throw new ScheduleError(
    `There is no schedule "${idOrName}" in this queue: see \`qcluster schedules list\`, or name another queue with --name.`,
  )
}

async function list(flags: Flags): Promise<void> {
  print(await Schedule.list(), flags)
}

async function run(one: Schedule, { json }: Flags): Promise<void> {
  const { id, name } = await one.run()
  console.log(json ? jsonOf({ id, name }) : id)
}

async function remove(one: Schedule, flags: Flags): Promise<void> {
  await one.delete()
  print([one], flags)
}

async function previewed(one: Schedule, { count, json }: Flags): Promise<void> {
  const times = await one.preview(count as number)
  const lines = times.map((time) => time.toISOString()).join('\n')
  console.log(json ? jsonOf(times) : lines || 'It has no more times.')
}

const SETTINGS = [
  ...['type', 'minutes', 'cron', 'timeZone', 'nextRun', 'repeats', 'intendedDateKwarg'],
  ...['overlap', 'misfire', 'misfireLimit'],
]

function settingsOf(flags: Flags): ScheduleSettings {
  const given = SETTINGS.filter((name) => flags[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, flags[name]]))
}

const COLUMNS: Columns<Schedule> = {
  Name: ({ name }) => plain(name),
  Task: ({ func }) => plain(func),
  When: whenOf,
  State: ({ state }) => state,
  Repeats: ({ repeats }) => (repeats < 0 ? 'always' : repeats),
  'Next run': ({ nextRun }) => nextRun?.toISOString() ?? '',
  'Last task': ({ lastTask }) => lastTask ?? '',
  Error: ({ error }) => plain(error ?? ''),
}

function print(schedules: readonly Schedule[], { json }: Flags): void {
  if (json) console.log(jsonOf(schedules))
  else if (schedules.length === 0) console.log('No schedule in this queue.')
  else console.log(tableLines(COLUMNS, schedules).join('\n'))
}

function whenOf({ type, minutes, cron, timeZone }: Schedule): string {
  const detail = cron ?? (type === 'minutes' ? `every ${minutes} min` : type)
  return plain(['once', 'minutes', 'hourly'].includes(type) ? detail : `${detail} (${timeZone})`)
}
