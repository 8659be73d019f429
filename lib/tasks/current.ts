import { AsyncLocalStorage } from 'node:async_hooks'
import { NoCurrentTaskError, type TaskAbortedError } from '../errors.ts'
import type { TaskHeader } from '../package.ts'

/** The run that calls {@link currentTask}: what it is, until when it may go on, and how it is told to end. */
export interface TaskContext extends Pick<TaskHeader, 'id' | 'name' | 'func' | 'run' | 'attempt'> {
  /** When it has to have ended: milliseconds since the epoch; null: it may take as long as it needs. */
  readonly deadline: number | null
  /** Aborted when the run has to end. Hand it to whatever takes one: `fetch`, timers, streams, child processes. */
  readonly signal: TaskSignal
  /**
   * Says how far it is: a share of 1, and some words (88 bytes are kept). The cluster's stat shows it, and with that
   * `task.progress()`; both look now and then, so it may be said as often as it changes. A function of its own:
   * `const { progress } = currentTask()` works.
   */
  readonly progress: (share: number, message?: string) => void
}

/** An abort signal whose reason is one of ours; its `why` says which: `timeout`, `cancelled` or `shutdown`. */
export interface TaskSignal extends AbortSignal {
  /** Why the run has to end; undefined as long as it may go on. */
  readonly reason: TaskAbortedError | undefined
}

/**
 * The run that this code belongs to, however deep in calls, promises and timers it is.
 *
 * @throws {NoCurrentTaskError} outside a run, also where a task's function is called like any function
 *
 * @example
 * export const report = defineTask({ name: 'report', timeout: 60 }, async (url: string) => {
 *   const { signal, attempt } = currentTask()
 *   return (await fetch(url, { signal, headers: { 'x-attempt': String(attempt) } })).json()
 * })
 */
export function currentTask(): TaskContext {
  const current = runs.getStore()
  if (current) return current
  throw new NoCurrentTaskError()
}

/** Whether the code that asks belongs to a run. */
export function isInTask(): boolean {
  return runs.getStore() !== undefined
}

/** A run under way, at the side of whoever runs it. */
export class Execution implements TaskContext {
  readonly id: string
  readonly name: string
  readonly func: string
  readonly run: number
  readonly attempt: number
  readonly deadline: number | null
  readonly #header: TaskHeader
  readonly #show: (progress: number, message: string) => void
  #controller: AbortController | undefined
  #reason: TaskAbortedError | undefined

  /** @param show is told how far it is */
  constructor(
    header: TaskHeader,
    deadline: number | null,
    show: (progress: number, message: string) => void = () => {},
  ) {
    this.#show = show
    const { id, name, func, run, attempt } = header
    this.#header = header
    this.id = id
    this.name = name
    this.func = func
    this.run = run
    this.attempt = attempt
    this.deadline = deadline
  }

  get progress(): TaskContext['progress'] {
    return (share, message) => this.#tellProgress(share, message)
  }

  #tellProgress(share: number, message = ''): void {
    // A slip in what is only shown is no reason for a task to fail.
    if (Number.isFinite(share)) this.#show(Math.min(1, Math.max(0, share)), String(message))
  }

  get header(): TaskHeader {
    return this.#header
  }

  /** Made when it is first asked for: a controller costs as much as all else that is done for a tiny run. */
  get signal(): TaskSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.#reason) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** Why it was told to end: the first reason counts. */
  get abortedBy(): TaskAbortedError | undefined {
    return this.#reason
  }

  /** Tells the code to end. */
  abort(reason: TaskAbortedError): void {
    if (this.#reason) return
    this.#reason = reason
    this.#controller?.abort(reason)
  }

  /** Calls a function as a part of this run. */
  call<T>(fn: (...args: unknown[]) => T, args: readonly unknown[]): T {
    return runs.run(this, fn, ...args)
  }
}

/** Two copies of this package in one worker know the same run: its own, and the one that a task module imports. */
const RUNS: unique symbol = Symbol.for('qcluster.runs')
const shared = globalThis as { [RUNS]?: AsyncLocalStorage<TaskContext> }
shared[RUNS] ??= new AsyncLocalStorage<TaskContext>()
const runs = shared[RUNS]
