import type { Command } from 'commander'
import { close, configure } from '../client.ts'
import { type Answer, control } from '../control.ts'
import { ConfigError, EXIT } from '../errors.ts'
import { addFlags, configOf, type Flags } from './flags.ts'

const EXAMPLES = `
Examples:
  qcluster control ping --all
  qcluster control ping --cluster 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed --json`

/** `qcluster control`: orders to clusters, and what they answer. */
export function addControl(program: Command): void {
  const parent = program.command('control').description('Give orders to the clusters at this broker.')
  addOrder(parent, 'ping', 'Ask whether they are there.')
}

function addOrder(parent: Command, order: string, description: string): void {
  const command = parent
    .command(order)
    .description(description)
    .option('--cluster <id>', 'The cluster that is meant, by its id.')
    .option('--all', 'Every cluster at this broker.')
    .option('--json', 'Print JSON.')
  addFlags(command)
    .addHelpText('after', EXAMPLES)
    .action((flags: ControlFlags) => give(order, flags))
}

interface ControlFlags extends Flags {
  readonly cluster?: string
  readonly all?: boolean
  readonly json?: boolean
}

async function give(order: string, flags: ControlFlags): Promise<void> {
  if ((flags.cluster === undefined) === !flags.all)
    throw new ConfigError('Expected either --cluster <id> or --all; `qcluster info --ids` lists the ids.')
  configure((await configOf(flags)).settings)
  const answers = await control(order, flags.cluster === undefined ? {} : { cluster: flags.cluster })
  await close()
  console.log(flags.json ? JSON.stringify(answers, undefined, 2) : wordsOf(answers))
  if (answers.length === 0 || answers.some(({ error }) => error)) process.exitCode = EXIT.interrupted
}

function wordsOf(answers: readonly Answer[]): string {
  if (answers.length === 0) return 'No cluster answered.'
  return answers.map((answer) => `${answer.name} ${answer.clusterId}  ${outcomeOf(answer)}`).join('\n')
}

function outcomeOf({ error, result }: Answer): string {
  if (error) return `refused: ${error.message}`
  if (typeof result !== 'object' || result === null) return String(result ?? 'done')
  return Object.entries(result)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}
