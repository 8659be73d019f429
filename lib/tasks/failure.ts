import type { ErrorRecord } from '../errors.ts'

/** A failure as it is stored: an error's data as JSON, whatever was thrown. */
export function encodeError({ name, message, stack }: ErrorRecord): string {
  return JSON.stringify({ name, message, ...(stack !== undefined && { stack }) })
}
