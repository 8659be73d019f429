import { type Command, program } from 'commander'
import type { Options } from '../config.ts'
import { EXIT, toErrorRecord } from '../errors.ts'
import { asyncTask, Cluster, close, configure } from '../index.ts'

/** The command line. Logs go to stderr, results to stdout; the process ends with a documented exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  program.name('qcluster').description('A supervised task cluster for Node.js').exitOverride()
  addStart(program)
  addEnqueue(program)
  try {
    await program.parseAsync(argv)
  } catch (error) {
    process.exitCode = told(error)
  }
}

function addStart(parent: Command): void {
  withSettings(parent.command('start'))
    .description('Start a cluster in the foreground; Ctrl-C or SIGTERM stops it.')
    .option('-w, --workers <number>', 'worker processes', Number)
    .action(async (flags: Flags & { workers?: number }) => {
      const cluster = new Cluster({
        ...optionsOf(flags),
        ...(flags.workers !== undefined && { workers: flags.workers }),
        handleSignals: true,
      })
      await cluster.start()
      await cluster.ended()
      process.exitCode = cluster.exitCode
    })
}

function addEnqueue(parent: Command): void {
  withSettings(parent.command('enqueue'))
    .description('Enqueue a task.')
    .argument('<task>', 'its name')
    .argument('[arguments...]', 'JSON where it parses, else text')
    .option('--wait', 'wait for the result and print it')
    .addHelpText('after', '\nExample:\n  qcluster enqueue math.add 1 2 --wait')
    .action(async (task: string, args: string[], flags: Flags & { wait?: boolean }) => {
      configure(optionsOf(flags))
      const enqueued = await asyncTask(task, args.map(argumentOf))
      console.log(flags.wait ? textOf(await enqueued.result()) : enqueued.id)
      await close()
    })
}

interface Flags {
  readonly name?: string
  readonly dataDir?: string
  readonly tasks?: string[]
}

function withSettings(command: Command): Command {
  return command
    .option('-n, --name <queue>', 'the queue')
    .option('--data-dir <folder>', 'the folder of queue, results and key')
    .option('-t, --tasks <modules...>', 'modules that export the tasks')
}

function optionsOf({ name, dataDir, tasks }: Flags): Options {
  return {
    ...(name !== undefined && { name }),
    ...(dataDir !== undefined && { dataDir }),
    ...(tasks && { tasks }),
  }
}

function argumentOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
}

/** Commander has told its own errors already. */
function told(error: unknown): number {
  const { code, exitCode, message } = { exitCode: undefined, ...toErrorRecord(error) }
  if (code?.startsWith('commander.')) return exitCode === 0 ? EXIT.clean : EXIT.usage
  console.error(message)
  return exitCode ?? EXIT.interrupted
}
