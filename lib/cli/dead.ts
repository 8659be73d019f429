import type { Command } from 'commander'
import { type DeadSelection, type DeadTask, listDead, purgeDead, replayDead } from '../dead.ts'
import { escapeControls } from '../logger.ts'
import { addFlags, type Flags } from './flags.ts'
import { countOf, jsonOf, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster dead list --limit 10
  qcluster dead replay --task mail.send --dry-run
  qcluster dead purge --task mail.send --json`

/** `qcluster dead`: tasks that were given up. */
export function addDead(program: Command): void {
  const parent = program.command('dead').description('Look after tasks that were given up.')
  add(parent, 'list', 'List tasks that were given up, the newest first.', (_, selection) =>
    listDead(selection),
  )
  const dry = '--dry-run'
  add(
    parent,
    'replay',
    'Enqueue given-up tasks once more, the oldest first, with all their attempts.',
    ({ dryRun }, selection) => replayDead(selection, dryRun === true),
  ).option(dry, 'Only print which.')
  add(parent, 'purge', 'Forget given-up tasks, the oldest first.', ({ dryRun }, selection) =>
    purgeDead(selection, dryRun === true),
  ).option(dry, 'Only print which.')
}

function add(
  parent: Command,
  name: string,
  description: string,
  act: (flags: Flags, selection: DeadSelection) => Promise<DeadTask[]>,
): Command {
  const command = parent
    .command(name)
    .description(description)
    .option('--task <name>', 'Only those of this task: its function, or its human name.')
    .option('--limit <number>', 'So many at most.', countOf)
    .option('--json', 'Print JSON.')
  return addFlags(command)
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) =>
      withClient(flags, async () => print(await act(flags, flags as DeadSelection), flags)),
    )
}

function print(dead: readonly DeadTask[], { json }: Flags): void {
  if (json) console.log(jsonOf(dead.map((one) => ({ ...one, diedAt: new Date(one.diedAt) }))))
  else if (dead.length === 0) console.log('No task that was given up is like this.')
  else for (const one of dead) console.log(lineOf(one))
}

function lineOf({ taskId, run, reason, diedAt, func, name }: DeadTask): string {
  const task = func === null ? 'not signed by us' : `'${func}' (${name})`
  return escapeControls(`${new Date(diedAt).toISOString()}  ${taskId}  run ${run}  ${task} - ${reason}`)
}
