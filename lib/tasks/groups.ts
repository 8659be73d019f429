/**
 * Tasks that share a label.
 * @see https://django-q2.readthedocs.io/en/master/group.html
 */
import { type Client, defaultClient } from '../client.ts'
import { ConfigError, ResultTimeoutError, type TaskFailedError } from '../errors.ts'
import { checkName, show } from './define.ts'
import { checkWait, type LookupOptions, type TaskRecord, toError, toRecord } from './results.ts'

/** For how many of a group's tasks to wait, how long, and which of them are meant. */
export interface GroupOptions extends LookupOptions {
  /** Wait until at least so many tasks of the group have an outcome, a success or a failure. */
  readonly count?: number
  /** Milliseconds. Left out: as long as it takes when there is a `count`, else not at all. */
  readonly wait?: number
  /** Whether failures are told too. */
  readonly failures?: boolean
}

/**
 * What the tasks of a group returned, the newest first. Failed ones are left out; with `failures: true` each is a
 * {@link TaskFailedError} among the results.
 *
 * @throws {ResultTimeoutError} when fewer than `count` had an outcome within `wait`
 * @throws {StoreError} when the store cannot be reached
 *
 * @example
 * for (const path of paths) await asyncTask(scan, [path], { group: 'scan' })
 * const results = await resultGroup('scan', { count: paths.length, wait: 60_000 })
 */
export async function resultGroup<T = unknown>(
  group: string,
  options: GroupOptions & { readonly failures: true },
): Promise<(T | TaskFailedError)[]>
export async function resultGroup<T = unknown>(group: string, options?: GroupOptions): Promise<T[]>
export async function resultGroup<T = unknown>(
  group: string,
  options: GroupOptions = {},
): Promise<(T | TaskFailedError)[]> {
  const isComplete = await settle(group, options)
  if (!isComplete) throw tooFew(group, options)
  const records = await recordsOf<T>(group, { failures: false, ...options })
  return records.map((record) => (record.success ? (record.result as T) : toError(record)))
}

/**
 * The records of a group's tasks, the newest first; `failures: false` leaves failed ones out. When the time is up it
 * gives what is there by then.
 * @throws {StoreError} when the store cannot be reached
 */
export async function fetchGroup<T = unknown>(
  group: string,
  options: GroupOptions = {},
): Promise<TaskRecord<T>[]> {
  await settle(group, options)
  return recordsOf<T>(group, options)
}

/**
 * How many tasks of a group have an outcome; with `failures: true` only those that failed.
 * @throws {StoreError} when the store cannot be reached
 */
export async function countGroup(
  group: string,
  { failures = false, client = defaultClient() }: Pick<GroupOptions, 'failures' | 'client'> = {},
): Promise<number> {
  checkGroup(group)
  const counts = await client.atStore((store) => store.countGroup(group))
  return failures ? counts.failures : counts.failures + counts.successes
}

/**
 * Takes a group's label off its tasks, or forgets their records too. Tasks of the group that are saved later get their
 * label all the same.
 * @returns how many tasks there were
 * @throws {StoreError} when the store cannot be reached
 */
export async function deleteGroup(
  group: string,
  { tasks = false, client = defaultClient() }: { readonly tasks?: boolean; readonly client?: Client } = {},
): Promise<number> {
  checkGroup(group)
  return client.atStore((store) => store.deleteGroup(group, tasks))
}

/** Waits as it is told to; false when the time was up before. */
async function settle(group: string, options: GroupOptions): Promise<boolean> {
  const { client = defaultClient(), count, final = false } = options
  const { wait = count === undefined ? 0 : Number.POSITIVE_INFINITY } = options
  checkGroup(group)
  checkWait(wait)
  if (count !== undefined) checkCount(count)
  if (count === undefined && wait === 0) return true
  return client.awaitGroup(group, count ?? 1, { wait, final })
}

async function recordsOf<T>(group: string, options: GroupOptions): Promise<TaskRecord<T>[]> {
  const { client = defaultClient(), failures = true, final = false } = options
  const filter = { group, ...(!failures && { success: true }) }
  const outcomes = await client.atStore((store) => store.list(filter))
  return outcomes.filter((outcome) => outcome.final || !final).map((outcome) => toRecord<T>(outcome))
}

function checkGroup(group: unknown): void {
  checkName('The name of a group', group)
}

function checkCount(count: unknown): void {
  if (Number.isSafeInteger(count) && (count as number) >= 0) return
  throw new ConfigError(
    `count must be a whole number of tasks, 0 or more, got ${show(count)}; correct or remove it.`,
  )
}

function tooFew(group: string, { count = 1, wait }: GroupOptions): ResultTimeoutError {
  return new ResultTimeoutError(
    `Fewer than ${count} tasks of the group "${group}" had an outcome within ${wait} ms, and the others may still finish; wait longer, or take what there is with fetchGroup().`,
  )
}
