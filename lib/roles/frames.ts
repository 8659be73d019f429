/** The data plane's messages: what pusher, workers and monitor say to each other over their sockets. */

import type { Notice } from '../brokers/broker.ts'
import type { TaskHeader } from '../package.ts'
import type { Cancellation } from '../stores/cancellations.ts'
import type { Fate } from '../stores/store.ts'

/** Names one run of one task: `<task id>/<run>`. The only key for adoption and dedupe. */
export type RunKey = string

export const runKey = (taskId: string, run: number): RunKey => `${taskId}/${run}`

export const keyOf = ({ id, run }: TaskHeader): RunKey => runKey(id, run)

/** A run on its way to a worker. */
export interface Job {
  readonly header: TaskHeader
  readonly args: string
  /** Known to take so little that others may wait behind it. */
  readonly tiny: boolean
}

/** A task that follows from an outcome; it is signed where it is enqueued. */
export interface Follower {
  readonly header: TaskHeader
  readonly args: string
}

/** What becomes of a run; `requeue` is no decision about it, only a return. */
export interface Verdict {
  readonly key: RunKey
  readonly fate: Fate | 'requeue'
  /** Milliseconds before a retry. */
  readonly delay?: number
  readonly reason?: string
  /** Enqueued before the run is settled. */
  readonly follow?: readonly Follower[]
}

/** An outcome as a worker knows it, before its fate is decided. What the header says is not said again: two thirds of it. */
export interface Ended {
  readonly header: TaskHeader
  readonly args: string
  readonly success: boolean
  /** What it returned, or why it failed, encoded. */
  readonly result: string
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly stoppedAt: number
  /** True when a stop cut the run short, or it never started: it is requeued and spends no attempt. */
  readonly interrupted?: boolean
  /** What the failure itself or its task says of another attempt: none, or milliseconds until then. */
  readonly again?: false | number
  /** Nobody wants it any more, so it did not run, or not to its end: it is acknowledged, and spends no attempt. */
  readonly withdrawn?: Withdrawal
}

/** Why a task is not wanted any more. */
export type Withdrawal = 'expired' | 'cancelled'

/** Characters of arguments and results after which a frame is full: far below what one may have, however they are quoted. */
const FULL_FRAME = 1_000_000

/** Cuts what is sent together into frames: many small ones share one, and each large one has its own. */
export function inFrames<T extends { readonly args: string; readonly result?: string }>(
  items: readonly T[],
): T[][] {
  const frames: T[][] = []
  let room = 0
  for (const item of items) {
    const size = item.args.length + (item.result?.length ?? 0)
    if (frames.length === 0 || size > room) {
      frames.push([])
      room = FULL_FRAME
    }
    frames.at(-1)?.push(item)
    room -= size
  }
  return frames
}

export type WorkerToPusher =
  | { readonly kind: 'hello'; readonly worker: string; readonly holds: readonly RunKey[] }
  | {
      readonly kind: 'finished'
      /** Milliseconds that each took. */
      readonly runs: readonly { readonly key: RunKey; readonly took: number }[]
    }
  /** Not started, and free to go to others: what ran before them took longer than was expected. */
  | { readonly kind: 'returned'; readonly keys: readonly RunKey[] }
  /** Send nothing more. */
  | { readonly kind: 'leaving' }

export type PusherToWorker =
  | { readonly kind: 'jobs'; readonly jobs: readonly Job[] }
  /** Nothing more will come. */
  | { readonly kind: 'farewell' }
  | AllCancelled

/** All that is cancelled as far as is known; in place of what was said before. */
interface AllCancelled {
  readonly kind: 'cancelled'
  readonly cancellations: readonly Cancellation[]
}

export type WorkerToMonitor =
  | { readonly kind: 'hello'; readonly worker: string; readonly pid: number }
  | { readonly kind: 'ended'; readonly outcomes: readonly Ended[] }
  /** It was told to stop: without a pusher it waits for nobody but the monitor. */
  | { readonly kind: 'leaving' }

export type MonitorToWorker = { readonly kind: 'released'; readonly keys: readonly RunKey[] }

export type MonitorToPusher =
  | { readonly kind: 'hello'; readonly unsettled: readonly Verdict[] }
  | { readonly kind: 'verdicts'; readonly verdicts: readonly Verdict[] }
  /** For those who wait for what was saved. */
  | { readonly kind: 'notices'; readonly notices: readonly Notice[] }
  /** Answers to `lookup`: these runs have no outcome anywhere. */
  | { readonly kind: 'unknown'; readonly keys: readonly RunKey[] }
  /** All that this dead worker was running has its verdict: what it had left may be handed on. */
  | { readonly kind: 'drained'; readonly worker: string }
  | AllCancelled

export type PusherToMonitor =
  | { readonly kind: 'settled'; readonly keys: readonly RunKey[] }
  /** A worker's connection has ended with these runs unfinished. */
  | { readonly kind: 'left'; readonly worker: string; readonly jobs: readonly Job[] }
  /** Handed out or sent more than once: have these been decided? */
  | { readonly kind: 'lookup'; readonly headers: readonly TaskHeader[] }
  /** Handed out too often without an outcome. */
  | { readonly kind: 'unfinished'; readonly jobs: readonly Job[] }
  /** Cancelled before they were started. */
  | { readonly kind: 'withdrawn'; readonly jobs: readonly Job[] }
