import { type Client, defaultClient } from '../client.ts'
import { ConfigError, ResultTimeoutError, TaskFailedError } from '../errors.ts'
import type { TaskHeader } from '../package.ts'
import { type OutcomeState, type SavedOutcome, WITHDRAWN } from '../stores/store.ts'
import type { Holder } from '../stores/uniques.ts'
import { cancelTask } from './cancel.ts'
import { decode } from './codec.ts'
import { checkName, show } from './define.ts'
import type { FailureRecord } from './failure.ts'
import { type Progress, type ProgressOptions, progress } from './progress.ts'
import { type CurrentRun, currentRun } from './runs.ts'

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

/**
 * What is saved of a task: its best outcome so far, as plain data.
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#django_q.models.Task
 */
export interface TaskRecord<T = unknown> {
  /** 32 hex digits, the same for all attempts. */
  readonly id: string
  readonly name: string
  readonly func: string
  readonly args: readonly unknown[]
  readonly group?: string
  /** The queue that it came from. */
  readonly cluster: string
  readonly state: OutcomeState
  readonly success: boolean
  /** False when it failed and will be tried again. */
  readonly final: boolean
  /** What it returned; absent when it failed. */
  readonly result?: T
  /** What it threw; absent when it succeeded. */
  readonly error?: FailureRecord
  /** Which attempt this outcome is of: 1, 2, … */
  readonly attempt: number
  /** Which copy of the task this outcome is of; a replay counts on here, and begins its attempts anew. */
  readonly run: number
  readonly enqueuedAt: Date
  readonly startedAt: Date
  readonly stoppedAt: Date
  /** When it is forgotten; absent where the cluster's saveLimit says which are kept. */
  readonly expiresAt?: Date
  /** Seconds from the enqueueing to the end. */
  readonly timeTaken: number
}

/**
 * `running`: a worker shows it. `success`, `failure`, `expired` and `cancelled`: its record says so; also a failure that will be tried again, until
 * it runs. `queued`: neither. That is as much as can be known, for no broker looks for a task in its queue: one that was
 * purged, or whose success was not saved or is forgotten, looks the same.
 */
export type TaskState = 'queued' | 'running' | OutcomeState

/** All that can be known of a task. */
export interface Sighting<T = unknown> {
  readonly state: TaskState
  /** Where it runs. */
  readonly run?: CurrentRun
  /** Its best outcome so far. */
  readonly record?: TaskRecord<T>
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
  readonly #isNew: boolean

  /** @param holder the unique task that was there before, in place of this one */
  constructor(
    client: Client,
    { id, name, func, group }: Pick<TaskHeader, 'id' | 'name' | 'func' | 'group'>,
    holder: Holder = { taskId: id, name },
  ) {
    this.#client = client
    this.#isNew = holder.taskId === id
    this.id = holder.taskId
    this.name = holder.name
    this.func = func
    if (group !== undefined) this.group = group
  }

  /** False where a unique task of this kind was there already: this is that one then. */
  get isNew(): boolean {
    return this.#isNew
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
  fetch(options: WaitOptions = {}): Promise<TaskRecord<T> | undefined> {
    return recordOf<T>(this.#client, this.id, options)
  }

  /**
   * Tells where the task is now: see {@link locate}.
   * @throws {BrokerError} when the broker cannot be reached
   * @throws {StoreError} when the store cannot be reached
   */
  async state(): Promise<TaskState> {
    return (await locate(this.id, { client: this.#client })).state
  }

  /**
   * Tells how far it is, each time that it says something new, until it has its last outcome: see {@link progress}.
   *
   * @example
   * for await (const { progress, message } of task.progress()) console.log(progress, message)
   */
  progress(options: Omit<ProgressOptions, 'client'> = {}): AsyncGenerator<Progress, void> {
    return progress(this.id, { ...options, client: this.#client })
  }

  /**
   * Cancels it, wherever it is: see {@link cancelTask}.
   * @throws {StoreError} when the store cannot be reached
   */
  cancel(): Promise<void> {
    return cancelTask(this.id, { client: this.#client })
  }

  /** Forgets the task's record: see {@link deleteTask}. */
  delete(): Promise<boolean> {
    return deleteTask(this.id, { client: this.#client })
  }
}

/**
 * Waits for what a task returned, whoever enqueued it: see {@link Task.result}.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#django_q.tasks.result
 */
export function result<T = unknown>(idOrName: string, options: LookupOptions = {}): Promise<T> {
  return resultOf<T>(options.client ?? defaultClient(), idOrName, `"${idOrName}"`, options)
}

/**
 * Looks for a task's record, whoever enqueued it: see {@link Task.fetch}.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#django_q.tasks.fetch
 */
export function fetch<T = unknown>(
  idOrName: string,
  options: LookupOptions = {},
): Promise<TaskRecord<T> | undefined> {
  return recordOf<T>(options.client ?? defaultClient(), idOrName, options)
}

/**
 * Looks where a task is. What workers run is as old as a cluster's last stat: a guard cycle.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @throws {BrokerError} when the broker cannot be reached
 * @throws {StoreError} when the store cannot be reached
 */
export async function locate<T = unknown>(
  idOrName: string,
  { client = defaultClient() }: Pick<LookupOptions, 'client'> = {},
): Promise<Sighting<T>> {
  // In this order: the outcome of a run that ends in between is seen, so it never seems to wait again.
  const run = await currentRun(idOrName, client)
  const record = await recordOf<T>(client, idOrName, {})
  if (record?.final) return { state: record.state, record }
  const state = run ? 'running' : (record?.state ?? 'queued')
  return { state, ...(run && { run }), ...(record && { record }) }
}

/**
 * Forgets a task's record. One that still waits or runs is not stopped by it, and its outcome will be saved.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @returns false when there was none
 * @throws {StoreError} when the store cannot be reached
 */
export async function deleteTask(
  idOrName: string,
  { client = defaultClient() }: Pick<LookupOptions, 'client'> = {},
): Promise<boolean> {
  const outcome = await outcomeOf(client, idOrName, {})
  if (outcome === undefined) return false
  return (await client.atStore((store) => store.delete([outcome.taskId]))) > 0
}

/**
 * Forgets a task's record before its time, where it is one that expires: see `cached`.
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @returns false when there was none
 * @throws {StoreError} when the store cannot be reached
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#django_q.tasks.delete_cached
 */
export async function deleteCached(
  idOrName: string,
  { client = defaultClient() }: Pick<LookupOptions, 'client'> = {},
): Promise<boolean> {
  const outcome = await outcomeOf(client, idOrName, {})
  if (outcome?.expiresAt === undefined) return false
  return (await client.atStore((store) => store.delete([outcome.taskId]))) > 0
}

/** Makes a record of what the store keeps. */
export function toRecord<T>(outcome: SavedOutcome): TaskRecord<T> {
  const { taskId, name, func, group, cluster, success, final, attempt, run } = outcome
  const value = decode(outcome.result)
  return {
    id: taskId,
    name,
    func,
    args: decode(outcome.args) as unknown[],
    ...(group !== undefined && { group }),
    cluster,
    state: success ? 'success' : stateOfFailure(value as FailureRecord),
    success,
    final,
    ...(success ? { result: value as T } : { error: value as FailureRecord }),
    attempt,
    run,
    enqueuedAt: new Date(outcome.enqueuedAt),
    startedAt: new Date(outcome.startedAt),
    stoppedAt: new Date(outcome.stoppedAt),
    ...(outcome.expiresAt !== undefined && { expiresAt: new Date(outcome.expiresAt) }),
    timeTaken: Math.max(0, outcome.stoppedAt - outcome.enqueuedAt) / 1000,
  }
}

function stateOfFailure({ code = '' }: FailureRecord): OutcomeState {
  return (WITHDRAWN as Readonly<Record<string, OutcomeState>>)[code] ?? 'failure'
}

/** Makes an error of a record that has one. */
export function toError({ id, attempt, error }: TaskRecord): TaskFailedError {
  const { message, stack } = error as FailureRecord
  return new TaskFailedError(message, {
    taskId: id,
    attempt,
    ...(stack !== undefined && { stack }),
    cause: error,
  })
}

/**
 * Lets a time to wait pass.
 * @throws {ConfigError} when it is none
 */
export function checkWait(wait: unknown): void {
  if (typeof wait === 'number' && wait >= 0) return
  throw new ConfigError(
    `wait must be milliseconds, 0 or more, got ${show(wait)}; Infinity waits as long as it takes.`,
  )
}

async function resultOf<T>(client: Client, key: string, label: string, options: WaitOptions): Promise<T> {
  const { wait = Number.POSITIVE_INFINITY } = options
  const record = await recordOf<T>(client, key, { ...options, wait })
  if (record === undefined) throw tooLate(label, wait)
  if (!record.success) throw toError(record)
  return record.result as T
}

async function recordOf<T>(
  client: Client,
  key: string,
  options: WaitOptions,
): Promise<TaskRecord<T> | undefined> {
  const outcome = await outcomeOf(client, key, options)
  return outcome && toRecord(outcome)
}

async function outcomeOf(
  client: Client,
  key: string,
  { wait = 0, final = false }: WaitOptions,
): Promise<SavedOutcome | undefined> {
  checkName('The id or name of a task', key)
  checkWait(wait)
  return client.outcome(key, { wait, final })
}

function tooLate(label: string, wait: number): ResultTimeoutError {
  return new ResultTimeoutError(
    `The task ${label} had no outcome within ${wait} ms and may still finish; wait longer, and see that a cluster serves its queue.`,
  )
}
