import { inspect } from 'node:util'
import { type ErrorRecord, toErrorRecord } from '../errors.ts'

/** An error as plain data, with what caused it. */
export interface FailureRecord extends Pick<ErrorRecord, 'name' | 'message' | 'stack' | 'code'> {
  readonly cause?: FailureRecord
}

/** What is kept of anything that was thrown. */
export function toFailure(thrown: unknown, depth = 0): FailureRecord {
  if (!(thrown instanceof Error)) return { name: 'Error', message: textOf(thrown) }
  const { name, message, code } = toErrorRecord(thrown)
  // Its own: each cause has its own too.
  const { stack } = thrown
  return {
    name,
    message,
    ...(stack !== undefined && { stack }),
    ...(code !== undefined && { code }),
    // A chain of causes may be a ring.
    ...(thrown.cause !== undefined && depth < DEEPEST && { cause: toFailure(thrown.cause, depth + 1) }),
  }
}

/** A failure as it is stored: JSON, so that it can be read in the database too. */
export function encodeError(failure: FailureRecord): string {
  return JSON.stringify(failure)
}

/** Causes of causes that are kept. */
const DEEPEST = 8
const LONGEST_TEXT = 1_000

function textOf(thrown: unknown): string {
  const text =
    typeof thrown === 'string' ? thrown : inspect(thrown, { breakLength: Number.POSITIVE_INFINITY })
  return text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text
}
