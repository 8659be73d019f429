import { Command } from 'commander'
import { EXIT, EXIT_MEANINGS, toErrorRecord } from '../errors.ts'
import { escapeControls } from '../logger.ts'
import { version } from '../version.ts'
import { addCheck } from './check.ts'
import { addControl } from './control.ts'
import { addDead } from './dead.ts'
import { addDev } from './dev.ts'
import { addEnqueue } from './enqueue.ts'
import { addInfo } from './info.ts'
import { addInspect } from './inspect.ts'
import { addMemory } from './memory.ts'
import { addMonitor } from './monitor.ts'
import { addQueue } from './queue.ts'
import { addReplay } from './replay.ts'
import { addResult } from './result.ts'
import { addSchedules } from './schedules.ts'
import { addStart } from './start.ts'
import { addTasks } from './tasks.ts'

/** Every command, each in a file of its own, in the order of the help. */
const COMMANDS: readonly ((program: Command) => void)[] = [
  addStart,
  addDev,
  addEnqueue,
  addResult,
  addTasks,
  addSchedules,
  addQueue,
  addDead,
  addInfo,
  addMonitor,
  addMemory,
  addControl,
  addInspect,
  addReplay,
  addCheck,
]

const EXITS = `
Exit codes:
${Object.entries(EXIT)
  .map(([name, code]) => `  ${code}  ${EXIT_MEANINGS[name as keyof typeof EXIT]}`)
  .join('\n')}`

/** The command line. Logs go to stderr, results to stdout; the process ends with a documented exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await commandLine().parseAsync(argv)
  } catch (error) {
    process.exitCode = told(error)
  }
}

/** All commands with their flags, for whoever runs or documents them. */
export function commandLine(): Command {
  const program = new Command('qcluster')
    .description('A supervised task cluster for Node.js')
    .version(version(), '-V, --version', 'Print the version.')
    .exitOverride()
  program.addHelpText('after', EXITS)
  for (const add of COMMANDS) add(program)
  return program
}

/** Commander has told its own errors already. */
function told(error: unknown): number {
  const { code, exitCode, message } = { exitCode: undefined, ...toErrorRecord(error) }
  if (code?.startsWith('commander.')) return exitCode === 0 ? EXIT.clean : EXIT.usage
  console.error(message.split('\n').map(escapeControls).join('\n'))
  return exitCode ?? EXIT.incomplete
}
