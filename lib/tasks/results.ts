import { type Client, defaultClient, type OutcomeOptions } from '../client.ts'
import { ConfigError, type ErrorRecord, ResultTimeoutError, TaskFailedError } from '../errors.ts'
import type { TaskHeader } from '../package.ts'
import type { SavedOutcome } from '../stores/store.ts'
import { decode } from './codec.ts'
import { show } from './define.ts'

/** How long to wait, and for which outcome. */
export interface WaitOptions {
  /** Milliseconds. Left out: `result` waits as long as it takes, and `fetch` does not wait. 0: look once. */
  readonly wait?: number
  /**
   * True: wait for the last outcome. Else the first one that was saved answers, also a failure that will be tried again.
   */
  readonly final?: boolean
}

/** How long to wait, and whom to ask. */
export interface LookupOptions extends WaitOptions {
  /** Instead of the default client. */
  readonly client?: Client
}

/** A task that was enqueued. */
export class Task<T = unknown> {
  /** 32 hex digits, the same for all attempts. */
  readonly id: string
  /** The human name: four words, unless `taskName` was given. */
  readonly name: string
  /** What runs: the name that the task was defined by. */
  readonly func: string
  readonly group?: string
  readonly #client: Client

  constructor(client: Client, { id, name, func, group }: Pick<TaskHeader, 'id' | 'name' | 'func' | 'group'>) {
    this.#client = client
    this.id = id
    this.name = name
    this.func = func
    if (group !== undefined) this.group = group
  }

  /**
   * Waits for what the task returned, which may be undefined.
   * @throws {TaskFailedError} when it failed; its `cause` is the error as plain data
   * @throws {ResultTimeoutError} when there was no outcome within `wait`
   * @throws {StoreError} when the store cannot be reached
   */
  result(options: WaitOptions = {}): Promise<T> {
    return resultOf<T>(this.#client, this.id, `"${this.name}" (${this.id})`, options)
  }

  /**
   * Looks for the task's record, and waits for it when `wait` says so.
   * @returns undefined when there was none in time
   * @throws {StoreError} when the store cannot be reached
   */
  fetch(options: WaitOptions = {}): Promise<SavedOutcome | undefined> {
    return recordOf(this.#client, this.id, options)
  }
}

/**
 * Waits for what a task returned, whoever enqueued it: see {@link Task.result}.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 */
export function result<T = unknown>(idOrName: string, options: LookupOptions = {}): Promise<T> {
  return resultOf<T>(options.client ?? defaultClient(), idOrName, `"${idOrName}"`, options)
}

/**
 * Looks for a task's record, whoever enqueued it: see {@link Task.fetch}.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 */
export function fetch(idOrName: string, options: LookupOptions = {}): Promise<SavedOutcome | undefined> {
  return recordOf(options.client ?? defaultClient(), idOrName, options)
}

async function resultOf<T>(client: Client, key: string, label: string, options: WaitOptions): Promise<T> {
  const { wait = Number.POSITIVE_INFINITY } = options
  const record = await recordOf(client, key, { ...options, wait })
  if (record === undefined) throw tooLate(label, wait)
  const value = decode(record.result)
  if (!record.success) throw failed(record, value as ErrorRecord)
  return value as T
}

async function recordOf(
  client: Client,
  key: string,
  { wait = 0, final = false }: OutcomeOptions,
): Promise<SavedOutcome | undefined> {
  if (typeof wait === 'number' && wait >= 0) return client.outcome(key, { wait, final })
  throw new ConfigError(
    `wait must be milliseconds, 0 or more, got ${show(wait)}; leave it out of result() to wait as long as it takes.`,
  )
}

function tooLate(label: string, wait: number): ResultTimeoutError {
  return new ResultTimeoutError(
    `The task ${label} had no outcome within ${wait} ms and may still finish; wait longer, and see that a cluster serves its queue.`,
  )
}

function failed({ taskId, attempt }: SavedOutcome, error: ErrorRecord): TaskFailedError {
  const { message, stack } = error
  return new TaskFailedError(message, {
    taskId,
    attempt,
    ...(stack !== undefined && { stack }),
    cause: error,
  })
}
