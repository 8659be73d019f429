import type { Command } from 'commander'
import { Cluster } from '../cluster.ts'
import { optionNames } from '../options.ts'
import { addFlags, configOf, type Flags } from './flags.ts'

const EXAMPLES = `
Examples:
  qcluster start
  qcluster start --workers 4 --tasks ./tasks/*.ts
  qcluster start --run-once
  qcluster start --name long --timeout 3600 --log-format json`

/** `qcluster start`: a cluster in the foreground. */
export function addStart(program: Command): void {
  const command = program
    .command('start')
    .description('Start a cluster in the foreground; Ctrl-C or SIGTERM stops it.')
  addFlags(command, START_FLAGS).addHelpText('after', EXAMPLES).action(start)
}

/** A secret on a command line is read by everybody who can list processes, and signals are always handled here. */
export const START_FLAGS = optionNames.filter(
  (name) => !['secretKey', 'altClusters', 'handleSignals'].includes(name),
)

async function start(flags: Flags): Promise<void> {
  const { settings } = await configOf(flags, { handleSignals: true })
  const cluster = new Cluster(settings)
  await cluster.start()
  await cluster.ended()
  process.exitCode = cluster.exitCode
}
