/** What the stories play on: a folder with task modules, commands in terminals, and a look at the processes behind them. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sweepRuntimeDirectories } from '../../lib/directory.ts'
import { pause } from '../contracts/material.ts'

const ROOT = join(import.meta.dirname, '..', '..')
export const BIN = join(ROOT, 'dist', 'lib', 'cli', 'bin.js')

/** A command that runs, as in a terminal of its own. */
export interface Command {
  readonly process: ChildProcess
  /** What it and its children have written so far. */
  readonly log: () => string
  /** Resolves when the log has such a line, and rejects when the command ends before. */
  readonly line: (pattern: RegExp) => Promise<string>
  readonly exit: Promise<[number | null, string | null]>
}

/** Gives each spec a folder and commands to run in it, and leaves neither behind. */
export class Stage {
  folder = ''
  /** What the commands find in their environment. */
  environment: NodeJS.ProcessEnv = process.env
  #commands: Command[] = []

  /** Registers what is done before and after each spec of the suite that this is called in. */
  constructor(files: Readonly<Record<string, string>>) {
    beforeEach(async () => {
      this.#commands = []
      this.environment = process.env
      this.folder = await mkdtemp(join(tmpdir(), 'qcluster-story-'))
      await mkdir(join(this.folder, 'node_modules'))
      await symlink(ROOT, join(this.folder, 'node_modules', 'qcluster'))
      for (const [name, text] of Object.entries({ 'package.json': '{}', ...files }))
        await this.write(name, text)
    })
    afterEach(async () => {
      for (const { process: child } of this.#commands) killGroup(child.pid as number)
      await Promise.all(this.#commands.map(({ exit }) => exit))
      sweepRuntimeDirectories()
      await rm(this.folder, { recursive: true, force: true })
    })
  }

  get dataDir(): string {
    return join(this.folder, '.qcluster')
  }

  write(name: string, text: string | Buffer): Promise<void> {
    return writeFile(join(this.folder, name), text)
  }

  /** The lines of a file that tasks have written to; none while there is no file. */
  async lines(name: string): Promise<string[]> {
    if (!existsSync(join(this.folder, name))) return []
    return (await readFile(join(this.folder, name), 'utf8')).trim().split('\n')
  }

  /** Runs `qcluster` with these arguments. */
  qcluster(...args: string[]): Command {
    return this.run([BIN, ...args])
  }

  /** Runs a script that may import qcluster. */
  script(text: string, ...args: string[]): Command {
    return this.run(['--input-type=module', '--eval', text, ...args])
  }

  /** Runs Node with these arguments. */
  run(args: readonly string[], env = this.environment): Command {
    const child = spawn(process.execPath, args, {
      env,
      cwd: this.folder,
      // A group of its own: all of it is killed in the end, whatever has become of the command itself.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let text = ''
    let news = Promise.withResolvers<boolean>()
    const exit = once(child, 'close') as Command['exit']
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
        news.resolve(false)
        news = Promise.withResolvers()
      })
    const line = async (pattern: RegExp) => {
      while (!pattern.test(text)) {
        const isOver = await Promise.race([news.promise, exit.then(() => true)])
        if (isOver && !pattern.test(text)) throw new Error(`no ${pattern} in:\n${text}`)
      }
      return pattern.exec(text)?.[0] as string
    }
    const command = { process: child, line, exit, log: () => text }
    this.#commands.push(command)
    return command
  }
}

/** Everything of a cluster that descends from a process, the sentinel first. */
export function processesBelow(pid: number): number[] {
  const table = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
  const rows = table
    .trim()
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  const descend = (from: number): number[] =>
    rows
      .filter(([, parent, ...args]) => Number(parent) === from && isOurs(args.join(' ')))
      .flatMap(([child]) => [Number(child), ...descend(Number(child))])
  return descend(pid)
}

/** The processes of one role among them, as `ps` calls them. */
export function processesOf(role: string, pid: number): number[] {
  return processesBelow(pid).filter((one) => titleOf(one).startsWith(`qcluster ${role} `))
}

/** What `ps` shows; nothing where the process is gone. */
export function titleOf(pid: number): string {
  const { stdout } = spawnSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout.trim()
}

/** While it loads it has no title yet. */
const isOurs = (command: string): boolean => command.startsWith('qcluster ') || command.includes('main.js')

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Resolves when none of these processes is there any more. */
export async function ended(pids: readonly number[]): Promise<void> {
  while (pids.some(isAlive)) await pause()
}

/** Kills a command with all that it has forked, in one stroke. */
export function killGroup(pid: number): void {
  // Each worker leads a group of its own.
  for (const leader of [pid, ...processesBelow(pid)])
    try {
      process.kill(-leader, 'SIGKILL')
    } catch {
      // It leads none, or nobody of it is left.
    }
}
