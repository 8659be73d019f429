import { type Command, InvalidArgumentError } from 'commander'
import { type Answer, type ControlOptions, control } from '../control.ts'
import { ConfigError, type ErrorRecord, EXIT } from '../errors.ts'
import { escapeControls } from '../logger.ts'
import { addFlags, type Flags } from './flags.ts'
import { jsonOf, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster control ping --all
  qcluster control pause --all
  qcluster control scale 8 --cluster 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed
  qcluster control stop --all --json`

/** `qcluster control`: orders to clusters, and what they answer. */
export function addControl(program: Command): void {
  const parent = program.command('control').description('Give orders to the clusters at this broker.')
  add(parent, 'ping', 'Ask clusters whether they are there.')
  add(parent, 'pause', 'Let no task come in; what was taken is finished.')
  add(parent, 'resume', 'Let tasks come in again.')
  add(parent, 'scale', 'Have so many workers from now on.', STARTING).argument(
    '<workers>',
    'how many: 1 or more',
    numberOf,
  )
  add(parent, 'reload', 'Replace the workers one by one, each by one that loads the tasks anew.', STARTING)
  add(parent, 'stop', 'Stop in order: the answer comes at once, the end when tasks have finished.')
}

/** Seconds to wait for an answer to an order at which processes start. */
const STARTING = 60

function add(parent: Command, order: string, description: string, wait = 5): Command {
  const command = parent
    .command(order)
    .description(description)
    .option('--cluster <id>', 'The cluster that is meant, by its id.')
    .option('--all', 'Every cluster at this broker, whatever queue it serves.')
    .option('--wait <seconds>', 'How long to wait for answers.', secondsOf, wait)
    .option('--json', 'Print JSON.')
  return addFlags(command)
    .addHelpText('after', EXAMPLES)
    .action((...given: unknown[]) => {
      const [flags, ...args] = given.slice(0, -1).toReversed()
      return give(order, args, flags as Flags)
    })
}

async function give(order: string, args: readonly unknown[], flags: Flags): Promise<void> {
  const to = targetOf(flags)
  await withClient(flags, async () => {
    const answers = await control(order, { ...to, args, patience: (flags.wait as number) * 1000 })
    print(answers, flags)
    if (answers.length === 0 || answers.some(({ error }) => error)) process.exitCode = EXIT.incomplete
  })
}

function targetOf({ cluster, all }: Flags): Pick<ControlOptions, 'cluster'> {
  if ((cluster === undefined) === !all)
    throw new ConfigError('Expected either --cluster <id> or --all; `qcluster info --ids` lists the ids.')
  return cluster === undefined ? {} : { cluster: cluster as string }
}

function print(answers: readonly Answer[], { json }: Flags): void {
  if (json) console.log(jsonOf(answers))
  else if (answers.length === 0) console.error('No cluster answered.')
  else for (const answer of answers) console.log(escapeControls(lineOf(answer)))
}

function lineOf({ name, clusterId, error, result }: Answer): string {
  return `${name} ${clusterId}  ${error ? reasonOf(error) : wordsOf(result)}`
}

function reasonOf({ code, message }: ErrorRecord): string {
  return code === 'QCLUSTER_NO_ANSWER' ? message : `refused: ${message}`
}

function wordsOf(result: unknown): string {
  if (typeof result !== 'object' || result === null) return String(result ?? 'done')
  return Object.entries(result)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

function numberOf(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number)) return number
  throw new InvalidArgumentError('It must be a number.')
}

function secondsOf(text: string): number {
  const seconds = numberOf(text)
  if (seconds > 0) return seconds
  throw new InvalidArgumentError('It must be a number of seconds above 0.')
}
