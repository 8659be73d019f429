import type { Command } from 'commander'
import { Cluster } from '../cluster.ts'
import { ProcessExitError, TaskLoadError } from '../errors.ts'
import { optionNames } from '../options.ts'
import { addFlags, configOf, type Flags } from './flags.ts'
import { addInspection, inspectionOf } from './inspect.ts'

const EXAMPLES = `
Examples:
  qcluster start
  qcluster start --workers 4 --tasks ./tasks/*.ts
  qcluster start --run-once
  qcluster start --inspect
  qcluster start --name long --timeout 3600 --log-format json`

/** `qcluster start`: a cluster in the foreground. */
export function addStart(program: Command): void {
  const command = program
    .command('start')
    .description('Start a cluster in the foreground; Ctrl-C or SIGTERM stops it.')
  addInspection(addFlags(command, START_FLAGS)).addHelpText('after', EXAMPLES).action(start)
}

/**
 * A secret on a command line is read by everybody who can list processes; signals are always handled here, and `sync` is of
 * producers.
 */
export const START_FLAGS = optionNames.filter(
  (name) => !['secretKey', 'altClusters', 'handleSignals', 'sync'].includes(name),
)

/**
 * The cluster that the flags of `start` want.
 * @throws {TaskLoadError} where no task module is named or found: it would take what others have enqueued and fail it all
 */
export async function clusterOf(flags: Flags): Promise<Cluster> {
  const { settings } = await configOf(flags, { handleSignals: true })
  if (settings.tasks.length > 0) return new Cluster(settings)
  throw new TaskLoadError(
    `Expected a task module, got none in ${process.cwd()}; call one tasks.ts, or name it with --tasks or in the config file.`,
  )
}

async function start(flags: Flags): Promise<void> {
  const cluster = await clusterOf(flags)
  await using _viewers = await inspectionOf(cluster.hub, flags)
  await run(cluster, flags)
}

/** Runs it to its end, which is the process's own. Why it could not start the log has said, unless there is none. */
export async function run(cluster: Cluster, flags: Flags): Promise<void> {
  try {
    await cluster.start()
    await cluster.ended()
  } catch (error) {
    const { settings } = await configOf(flags)
    if (!(error instanceof ProcessExitError) || settings.logLevel === 'silent') throw error
  }
  process.exitCode = cluster.exitCode
}
