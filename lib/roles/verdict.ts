/** What becomes of a run: decided once, when its outcome is known, and told again whenever somebody asks. */
import type { TaskHeader } from '../package.ts'
import type { Decision } from '../stores/store.ts'
import { type Ended, keyOf, type Verdict } from './frames.ts'

/** What holds for a task that says nothing of its own. */
export interface Defaults {
  readonly maxAttempts: number
  /** Milliseconds before the next attempt. */
  readonly retry: number
  /** Whether a failure is final, and no dead letter. */
  readonly ackFailures?: boolean
}

/** Saved → acknowledge; failed with attempts left → retry; cut short or never started → requeue; else a dead letter. */
export function verdictOn(ended: Ended, defaults: Defaults): Verdict {
  const { success, interrupted, withdrawn, again, header } = ended
  const { attempt } = header
  const key = keyOf(header)
  if (interrupted) return { key, fate: 'requeue' }
  if (success || withdrawn) return { key, fate: 'ack' }
  if (header.ackFailure ?? defaults.ackFailures) return { key, fate: 'ack' }
  if (again === false) return { key, fate: 'deadLetter', reason: 'not to be tried again' }
  const most = header.maxAttempts ?? defaults.maxAttempts
  if (most > 0 && attempt >= most)
    return { key, fate: 'deadLetter', reason: `failed ${attempt} of ${most} attempts` }
  return {
    key,
    fate: 'retry',
    delay: again ?? backOff(header, attempt, defaults),
    reason: `attempt ${attempt} failed`,
  }
}

/** The verdict that the store remembers of a run; a later run or a success means that it was carried out long ago. */
export function verdictInStore(
  header: TaskHeader,
  decision: Decision | undefined,
  defaults: Defaults,
): Verdict | undefined {
  if (!decision || decision.run < header.run) return undefined
  const key = keyOf(header)
  if (decision.success || decision.run > header.run) return { key, fate: 'ack' }
  const reason = 'its outcome was saved before'
  if (decision.fate !== 'retry') return { key, fate: decision.fate, reason }
  return { key, fate: 'retry', delay: backOff(header, header.attempt, defaults), reason }
}

/** Milliseconds between an attempt that failed and the next one. */
export function backOff(
  header: TaskHeader,
  attempt: number,
  defaults: Defaults,
  chance = Math.random(),
): number {
  const { retryFactor = 1, retryJitter = 0 } = header
  const first = header.retry === undefined ? defaults.retry : header.retry * 1000
  // Where nobody gave a cap, what is longer from the start was meant to be.
  const most = header.retryCap === undefined ? Math.max(first, LONGEST_GROWTH) : header.retryCap * 1000
  // Bounded, for nothing times infinity is no number.
  const growth = Math.min(retryFactor ** (attempt - 1), Number.MAX_VALUE)
  const grown = Math.min(most, first * growth)
  return Math.round(grown * (1 - retryJitter * chance))
}

/** Milliseconds. */
const LONGEST_GROWTH = 3_600_000
