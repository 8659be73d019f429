/** What a failure itself, or its task's `retryIf`, says of another attempt. Asked in the worker, where it was thrown. */
import { DoNotRetryError, RetryError } from '../errors.ts'
import type { FailedAttempt, TaskDefinition } from './define.ts'

/** False: no other attempt; a number: so many milliseconds until it; undefined: as the limits of the task say. */
export type Again = false | number | undefined

/** What is said of another attempt. An error that says it itself is believed before `retryIf`. */
export function againAfter(
  error: unknown,
  definition: Pick<TaskDefinition, 'retryIf'> | undefined,
  failed: FailedAttempt,
): Again {
  if (isOf(error, DO_NOT_RETRY)) return false
  if (isOf(error, RETRY)) return millisecondsOf((error as RetryError).seconds)
  return definition?.retryIf && millisecondsOf(ask(definition.retryIf, error, failed))
}

const DO_NOT_RETRY = new DoNotRetryError('').code
const RETRY = new RetryError('', { seconds: 0 }).code

/** By its code, for it may be made by another copy of this package. */
function isOf(error: unknown, code: string): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === code
}

function ask(
  retryIf: NonNullable<TaskDefinition['retryIf']>,
  error: unknown,
  failed: FailedAttempt,
): boolean | number {
  try {
    return retryIf(error, failed)
  } catch {
    // It is about a failure already, and a task is better tried once too often than lost by a slip.
    return true
  }
}

/** True, and what is no time, leave it to the limits. */
function millisecondsOf(answer: unknown): Again {
  if (answer === false) return false
  return typeof answer === 'number' && answer >= 0 ? Math.round(answer * 1000) : undefined
}
