/** A cluster as a user starts it: `qcluster start` of the built package, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { endLater } from './resources.ts'

const QCLUSTER = join(import.meta.dirname, '..', 'dist', 'lib', 'cli', 'bin.js')
const TASKS = join(import.meta.dirname, 'tasks.ts')
/** Milliseconds for a stop; then it is killed. */
const PATIENCE = 30_000

export interface StartOptions {
  readonly workers: number
  /** Flags of `qcluster start`, such as those that name the broker. */
  readonly flags: readonly string[]
  readonly logLevel: 'warn' | 'info'
  /** Where the log goes; without it the log is read here. */
  readonly logFile?: string
  /** The URL of a module that each of its processes imports first. */
  readonly imported?: string
}

/** A cluster that was started, and what its log has said of it. */
export class StartedCluster {
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #end = endLater(() => this.#leave())
  readonly #began = performance.now()
  readonly #running = Promise.withResolvers<number>()
  readonly #lines: string[] = []

  constructor({ workers, flags, logLevel, logFile, imported }: StartOptions) {
    const log = logFile === undefined ? 'pipe' : openSync(logFile, 'w')
    this.#process = spawn(
      process.execPath,
      [QCLUSTER, 'start', '--workers', String(workers), '--tasks', TASKS, ...flags],
      { env: environmentOf(logLevel, imported), stdio: ['ignore', 'inherit', log] },
    )
    this.#exited = once(this.#process, 'exit')
    if (typeof log === 'number') closeSync(log)
    else createInterface(this.#process.stderr as NonNullable<ChildProcess['stderr']>).on('line', this.#read)
    void this.#exited.then(() => this.#running.reject(this.#endedEarly()))
    this.#running.promise.catch(() => {})
  }

  /** Milliseconds from the command to its line `running.`. Only where the log is read here, at level info. */
  get running(): Promise<number> {
    return this.#running.promise
  }

  get pid(): number {
    return this.#process.pid as number
  }

  /** The worker processes, by what the log said of them. */
  get workers(): number[] {
    return this.#lines.flatMap((line) => /ready for work at (\d+)/.exec(line)?.[1] ?? []).map(Number)
  }

  /** Stops it as Ctrl-C does, and returns the milliseconds until all of it has ended. */
  async stop(): Promise<number> {
    const began = performance.now()
    await this.#end()
    return performance.now() - began
  }

  readonly #read = (line: string): void => {
    this.#lines.push(line)
    if (line.endsWith(' running.')) this.#running.resolve(performance.now() - this.#began)
  }

  async #leave(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill('SIGTERM')
    const killer = setTimeout(() => this.#process.kill('SIGKILL'), PATIENCE)
    await this.#exited
    clearTimeout(killer)
  }

  #endedEarly(): Error {
    return new Error(`The cluster ended before it was running. Its log:\n${this.#lines.join('\n')}`)
  }
}

function environmentOf(level: string, imported: string | undefined): NodeJS.ProcessEnv {
  const options = imported === undefined ? {} : { NODE_OPTIONS: `--import ${imported}` }
  return { ...process.env, LOG_LEVEL: level, ...options }
}
