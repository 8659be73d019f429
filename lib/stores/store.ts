/** The port to what has happened, and to what is planned: outcomes of tasks, and schedules. */
import type { Cancellations } from './cancellations.ts'
import type { Schedules } from './schedules.ts'
import type { Uniques } from './uniques.ts'

/** What the monitor decided for a run: the last word on its delivery. */
export type Fate = 'ack' | 'retry' | 'deadLetter'

/** How one run of a task ended. */
export interface Outcome {
  readonly taskId: string
  readonly run: number
  readonly attempt: number
  readonly name: string
  readonly func: string
  /** The encoded arguments. */
  readonly args: string
  readonly group?: string
  /** The queue that it came from. */
  readonly cluster: string
  /** Milliseconds since the epoch. */
  readonly enqueuedAt: number
  readonly startedAt: number
  readonly stoppedAt: number
  readonly success: boolean
  /** The encoded result, or the encoded failure (an ErrorRecord). */
  readonly result: string
  readonly fate: Fate
  /** When it is forgotten, whatever the {@link Retention} says: milliseconds since the epoch. */
  readonly expiresAt?: number
}

/** How a task ended: `expired` and `cancelled` ones did not run, or not to their end. Their `success` is false. */
export type OutcomeState = (typeof OUTCOME_STATES)[number]

export const OUTCOME_STATES = ['success', 'failure', 'expired', 'cancelled'] as const

/** By the codes of their failures, those of what is not wanted any more. */
export const WITHDRAWN = {
  QCLUSTER_TASK_EXPIRED: 'expired',
  QCLUSTER_TASK_CANCELLED: 'cancelled',
} as const satisfies Readonly<Record<string, OutcomeState>>

/** A task's best outcome so far. A success is never overwritten by a later failure. */
export interface SavedOutcome extends Outcome {
  /** False while the broker holds another attempt of it. */
  readonly final: boolean
}

/** What the store knows of a task's runs, enough to recognise a redelivery. */
export interface Decision {
  readonly taskId: string
  readonly run: number
  readonly success: boolean
  readonly fate: Fate
}

/** Which successes of a queue are kept for how long. Failures are always kept. */
export interface Retention {
  readonly queue: string
  /** The newest ones that are kept; 0: all. One that was deleted still counts until newer ones have pushed it out. */
  readonly limit: number
  /** Each group, name or func of the queue has the limit for itself; null: they share it. */
  readonly per: 'group' | 'name' | 'func' | null
  /** Milliseconds from its stop for which a success is kept whatever the limit. */
  readonly atLeast: number
}

/** Which outcomes to list. */
export interface OutcomeFilter {
  readonly group?: string
  readonly func?: string
  readonly success?: boolean
  readonly state?: OutcomeState
  /** The most to list; all when absent. */
  readonly limit?: number
}

/** How many outcomes there are. */
export interface OutcomeCounts {
  readonly successes: number
  /** Those that will be tried again too. */
  readonly failures: number
}

/** How many outcomes a group has. */
export interface GroupCounts extends OutcomeCounts {
  /** Of the failures, those that will be tried again. */
  readonly retrying: number
}

/** A store. All methods reject with a {@link StoreError} that says what was expected, what was got and what to do. */
export interface Store {
  readonly schedules: Schedules
  readonly uniques: Uniques
  readonly cancellations: Cancellations
  /** Opens the store, making or migrating what it needs. Safe to call again after a loss. */
  connect(): Promise<void>
  close(): Promise<void>
  ping(): Promise<void>
  /** One line for people, such as `SQLite 3.50.4`. */
  info(): Promise<string>
  /**
   * Saves outcomes, all or none, and wakes whoever waits for one of them. Saying one twice changes nothing.
   * Of several outcomes of one task the best is kept: any success before a failure, then the later run.
   * Rejects with an {@link OutcomeRefusedError}, and with no other, when it is one of them that can never be saved.
   * Forgets old successes beyond the {@link Retention} that the store was made with, at a cost that depends on how
   * many are saved and never on how many are kept. The last one of each schedule stays. An outcome that expires has no part
   * in that: it is forgotten at its time, and nobody sees it from then on.
   */
  save(outcomes: readonly Outcome[]): Promise<void>
  /** The records of these tasks, in no order; those without an outcome are left out. */
  fetch(taskIds: readonly string[]): Promise<SavedOutcome[]>
  /** The newest record with this human name. */
  fetchByName(name: string): Promise<SavedOutcome | undefined>
  /** Tasks in the reverse order of their first outcomes. */
  list(filter: OutcomeFilter): Promise<SavedOutcome[]>
  /** Which of these tasks have an outcome already. */
  decisions(taskIds: readonly string[]): Promise<Decision[]>
  /**
   * Calls `onSaved` with ids of tasks that have a new outcome, as soon as any process saves them. It may miss one
   * when a process dies, so whoever waits also looks now and then. Holds no referenced handle.
   */
  watch(onSaved: (taskIds: readonly string[]) => void): Promise<{ stop(): Promise<void> }>
  /** Successes and failures saved. */
  counts(): Promise<OutcomeCounts>
  /** The same of one group. */
  countGroup(group: string): Promise<GroupCounts>
  /** Forgets these tasks; returns how many it knew. */
  delete(taskIds: readonly string[]): Promise<number>
  /** Takes the group's label off its tasks, or forgets them with it; returns how many there were. */
  deleteGroup(group: string, withTasks: boolean): Promise<number>
}

/** Names what shares a limit: the queue, or a group, name or func of it. None of them has a line feed in it. */
export function bucketOf({ cluster, group, name, func }: Outcome, { per }: Retention): string {
  const owner = per === null ? '' : { group: group ?? '', name, func }[per]
  return `${cluster}\n${owner}`
}
