/** What a broker carries for one run of a task: a signed header and the encoded arguments. */

/** Everything about a run that decides its execution. Signed as a whole; a pusher reads this and never the arguments. */
export interface TaskHeader {
  /** 32 hex digits, unique and sortable by time (UUID v7). The same over all runs of a task. */
  readonly id: string
  /** Which copy of the task this is: 1, 2, …; each retry, replay and resubmit is run + 1. */
  readonly run: number
  /** Runs that ended in failure, timeout or crash, and this one. */
  readonly attempt: number
  /** The task's human name: four words, unless the caller chose one. */
  readonly name: string
  /** What to run: the name that the task was defined by. */
  readonly func: string
  /** When the caller enqueued it: milliseconds since the epoch. */
  readonly enqueuedAt: number
  readonly group?: string
  /** Seconds a run may take; overrides the cluster's. */
  readonly timeout?: number
  /** Attempts before a failing task is given up; overrides the cluster's. */
  readonly maxAttempts?: number
  /** Seconds before the next attempt; overrides the cluster's. */
  readonly retry?: number
  /** False: a success is not saved. */
  readonly save?: boolean
}

/** A package that was opened: its header and its arguments, still encoded. */
export interface OpenedPackage {
  readonly header: TaskHeader
  readonly args: string
}
