/** The part of a store that remembers which tasks were cancelled, for whoever is to run them. */

/** A task by its id, or all of a group that were enqueued until now. */
export type CancelTarget = { readonly taskId: string } | { readonly group: string }

/** What was cancelled, and when: milliseconds since the epoch. */
export type Cancellation = CancelTarget & { readonly at: number }

/** All methods reject with a {@link StoreError} when the store cannot be reached. */
export interface Cancellations {
  /** Remembers these, for longer than any task can be delayed. */
  add(cancellations: readonly Cancellation[]): Promise<void>
  /** All that are remembered. */
  list(): Promise<Cancellation[]>
  /** These tasks are over. */
  forget(taskIds: readonly string[]): Promise<void>
}

/** Milliseconds for which a cancellation is remembered: more than a year, which is the longest delay. */
export const REMEMBERED = 400 * 24 * 3_600_000

/** A target as it is kept: an id has no line feed in it. */
export const keyOfTarget = (target: CancelTarget): string =>
  'taskId' in target ? target.taskId : `group\n${target.group}`

/** The reverse. */
export const targetOfKey = (key: string): CancelTarget =>
  key.startsWith('group\n') ? { group: key.slice('group\n'.length) } : { taskId: key }
