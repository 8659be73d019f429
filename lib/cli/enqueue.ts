import type { Command } from 'commander'
import { asyncTask, type EnqueueOptions } from '../tasks/enqueue.ts'
import { addFlags, type Flags } from './flags.ts'
import { addWaitFlags, argumentOf, textOf, waitOf, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster enqueue math.add 1 2 --wait
  qcluster enqueue mail.send '{"to": "ann@example.org"}'`

/** `qcluster enqueue`: one task from a terminal. */
export function addEnqueue(program: Command): void {
  const command = program
    .command('enqueue')
    .description('Enqueue a task; prints its id, or with --wait what it returned.')
    .argument('<task>', 'its name')
    .argument('[arguments...]', 'JSON where it parses, else text')
    .option('--group <name>', 'A label to find tasks by.')
    .option('--task-name <name>', 'Its human name instead of four words.')
  addFlags(addWaitFlags(command)).addHelpText('after', EXAMPLES).action(enqueue)
}

async function enqueue(task: string, args: string[], flags: Flags): Promise<void> {
  await withClient(flags, async () => {
    const enqueued = await asyncTask(task, args.map(argumentOf), optionsOf(flags))
    console.log(flags.wait === undefined ? enqueued.id : textOf(await enqueued.result(waitOf(flags))))
  })
}

function optionsOf({ group, taskName }: Flags): EnqueueOptions {
  return {
    ...(typeof group === 'string' && { group }),
    ...(typeof taskName === 'string' && { taskName }),
  }
}
