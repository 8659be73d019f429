/** What a schedule has in mind, and what follows from it at a given time: decisions without a clock. */
import { ScheduleError } from '../errors.ts'
import type { TaskHeader } from '../package.ts'
import { passedOver, type Rhythm, SCHEDULE_TYPES, type Slot, type Timing } from './rhythm.ts'
import type { UniqueRule } from './unique.ts'

/** What becomes of a slot whose schedule's former task is not over: it runs beside it, is left out, or waits for it. */
export type Overlap = 'allow' | 'skip' | 'queue'

/** What becomes of slots that passed while no cluster was there: all are made up for, the newest one is, or none is. */
export type Misfire = 'all' | 'once' | 'skip'

/** All that a schedule is, as its store keeps it. */
export interface Plan extends Timing {
  /** What each of its tasks says, beside its id and when it was made. */
  readonly header: Omit<TaskHeader, 'id' | 'name' | 'enqueuedAt'>
  /** The human name of its tasks, instead of four words for each. */
  readonly taskName?: string
  /** What makes each of its tasks the only one of its kind. */
  readonly unique?: UniqueRule
  /** The encoded arguments. */
  readonly args: string
  /** The property of the last argument that gets the time of the slot. */
  readonly intendedDateKwarg?: string
  /** The next slot; null when there is none. */
  readonly next: Slot | null
  /** So many more; -1: without end. */
  readonly repeats: number
  readonly overlap: Overlap
  readonly misfire: Misfire
  /** How many slots at the most are made up for, or wait for the one before. */
  readonly misfireLimit: number
  readonly isPaused: boolean
  /** Counts the changes of it: a slot that comes again after one is another. */
  readonly revision: number
}

/** A slot no later than this is met, whatever the misfire policy says. Milliseconds; a restart takes less. */
export const LATE = 10_000

/** What is known of the tasks that a schedule has made. */
export interface Progress {
  /** The last one is not over. */
  readonly isBusy: boolean
  /** How many wait for the one before. */
  readonly waiting: number
}

/** What is to be done for a schedule that is due. */
export interface Decision {
  /** The slots to make tasks for, the oldest first: milliseconds since the epoch. */
  readonly slots: readonly number[]
  /** Each waits for the end of the one before, the first for the task that runs. */
  readonly isInTurn: boolean
  /** How many slots are let go of. */
  readonly dropped: number
  /** The plan from now on. */
  readonly plan: Plan
}

/** What is to be done at `now`. */
export function decide(plan: Plan, rhythm: Rhythm, now: number, progress: Progress): Decision {
  const { slots, older, next } = passedOver(rhythm, plan.next, now, plan.misfireLimit)
  const wanted = withinRepeats(plan, notMissed(plan, slots, now))
  const kept = notOverlapping(plan, wanted, progress)
  return {
    slots: kept.map(({ at }) => at),
    isInTurn: plan.overlap === 'queue',
    dropped: older + slots.length - kept.length,
    plan: { ...plan, next, repeats: plan.repeats < 0 ? plan.repeats : plan.repeats - kept.length },
  }
}

/** When a plan wants to be looked at; null: never. */
export function dueOf({ isPaused, repeats, next }: Plan): number | null {
  return isPaused || repeats === 0 ? null : (next?.at ?? null)
}

/** Whether nothing is left to keep: it was for one time, and that has come. */
export function isSpent({ type, next, repeats }: Plan): boolean {
  return type === 'once' && next === null && repeats < 0
}

/** Goes on after a pause: with the next slot that has not passed, for nobody misses those of the pause. */
export function resumed(plan: Plan, rhythm: Rhythm, now: number): Plan {
  const passed = passedOver(rhythm, plan.next, now, 1)
  return { ...plan, isPaused: false, next: passed.next ?? plan.next }
}

/**
 * A plan as it was kept.
 * @throws {ScheduleError} when it is none, such as one that was changed by hand
 */
export function parsePlan(text: string): Plan {
  const plan = parsed(text) as Partial<Plan> | undefined
  const isPlan =
    SCHEDULE_TYPES.some((type) => type === plan?.type) &&
    typeof plan?.header?.func === 'string' &&
    typeof plan.args === 'string' &&
    (plan.next === null || Number.isFinite(plan.next?.at))
  if (isPlan) return plan as Plan
  throw new ScheduleError(
    'What is kept of it cannot be read: it was changed by hand, or by another version. Remove it, and make it anew.',
  )
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON is one way of being no plan; the caller says so.
    return undefined
  }
}

function notMissed({ misfire }: Plan, slots: readonly Slot[], now: number): readonly Slot[] {
  if (misfire === 'all') return slots
  const newest = slots.slice(-1)
  return misfire === 'once' ? newest : newest.filter(({ at }) => now - at <= LATE)
}

function withinRepeats({ repeats }: Plan, slots: readonly Slot[]): readonly Slot[] {
  return repeats < 0 ? slots : slots.slice(0, repeats)
}

function notOverlapping(
  { overlap, misfireLimit }: Plan,
  slots: readonly Slot[],
  { isBusy, waiting }: Progress,
): readonly Slot[] {
  if (overlap === 'allow') return slots
  if (overlap === 'skip') return isBusy ? [] : slots.slice(-1)
  return slots.slice(0, Math.max(0, misfireLimit - waiting))
}
