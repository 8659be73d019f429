import type { Command } from 'commander'
import { close, configure } from '../client.ts'
import { asyncTask } from '../tasks/enqueue.ts'
import { addFlags, configOf, type Flags } from './flags.ts'

const EXAMPLES = `
Examples:
  qcluster enqueue math.add 1 2 --wait
  qcluster enqueue mail.send '{"to": "ann@example.org"}'`

/** `qcluster enqueue`: one task from a terminal. */
export function addEnqueue(program: Command): void {
  const command = program
    .command('enqueue')
    .description('Enqueue a task; prints its id.')
    .argument('<task>', 'its name')
    .argument('[arguments...]', 'JSON where it parses, else text')
    .option('--wait', 'Wait for the result and print it instead.')
  addFlags(command).addHelpText('after', EXAMPLES).action(enqueue)
}

async function enqueue(task: string, args: string[], flags: Flags): Promise<void> {
  configure((await configOf(flags)).settings)
  const enqueued = await asyncTask(task, args.map(argumentOf))
  console.log(flags.wait ? textOf(await enqueued.result()) : enqueued.id)
  await close()
}

function argumentOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: then it is the text itself.
    return text
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
}
