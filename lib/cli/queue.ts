import type { Command } from 'commander'
import { defaultClient } from '../client.ts'
import { ConfigError } from '../errors.ts'
import { purgeQueue } from '../tasks/purge.ts'
import { addFlags, type Flags } from './flags.ts'
import { jsonOf, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster queue size
  qcluster queue size --name mail --json
  qcluster queue purge --name mail --yes`

/** `qcluster queue`: what waits in a queue. */
export function addQueue(program: Command): void {
  const parent = program.command('queue').description('Look after a queue.')
  add(
    parent,
    'size',
    'Print how many tasks wait, those of later included; with --json those taken, too.',
    size,
  )
  add(parent, 'purge', 'Forget every task that waits. What was taken goes on.', purge).option(
    '--yes',
    'Do it: nothing brings them back.',
  )
}

function add(
  parent: Command,
  name: string,
  description: string,
  act: (flags: Flags) => Promise<void>,
): Command {
  const command = parent.command(name).description(description).option('--json', 'Print JSON.')
  return addFlags(command)
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) => withClient(flags, () => act(flags)))
}

async function size(flags: Flags): Promise<void> {
  await defaultClient().atBroker(async (broker, { settings: { name } }) => {
    const waiting = await broker.queueSize(name)
    console.log(flags.json ? jsonOf({ queue: name, waiting, taken: await broker.lockSize(name) }) : waiting)
  })
}

async function purge(flags: Flags): Promise<void> {
  await defaultClient().atBroker(async (broker, { settings: { name } }) => {
    if (!flags.yes) {
      const waiting = await broker.queueSize(name)
      throw new ConfigError(
        `Expected --yes to forget what waits in the queue "${name}" (tasks: ${waiting}), got none.`,
      )
    }
    const purged = await purgeQueue()
    console.log(flags.json ? jsonOf({ queue: name, purged }) : purged)
  })
}
