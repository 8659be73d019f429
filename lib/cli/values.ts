/** Arguments, results and times as a command line has them. */

import { inspect } from 'node:util'
import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import { close, configure } from '../client.ts'
import { encode } from '../tasks/codec.ts'
import type { WaitOptions } from '../tasks/results.ts'
import { configOf, type Flags } from './flags.ts'

/** An argument: JSON where it parses, else the text itself. */
export function argumentOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: then it is the text itself.
    return text
  }
}

/** A value for people: a text as it is, JSON as JSON, and what JSON cannot say as Node shows it. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  const isPlain = JSON.stringify(value) === encode(value)
  return isPlain ? JSON.stringify(value) : inspect(value, { depth: null })
}

/** A value for programs. What JSON has no word for becomes what is nearest to it. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, nearestJson, 2)
}

/** Gives a command `--wait` and `--final`. */
export function addWaitFlags(command: Command): Command {
  return command
    .option('--wait [seconds]', 'Wait for the outcome; without a number as long as it takes.', secondsOf)
    .option('--final', 'Wait for the last outcome: not for a failure that will be tried again.')
}

/** What the flags of {@link addWaitFlags} say; without `--wait`: look once. */
export function waitOf({ wait, final }: Flags): Required<WaitOptions> {
  const seconds = wait === true ? Number.POSITIVE_INFINITY : ((wait as number | undefined) ?? 0)
  return { wait: seconds * 1000, final: final === true }
}

/** Does something with a default client as the flags say, and closes it. */
export async function withClient(flags: Flags, work: () => Promise<void>): Promise<void> {
  configure((await configOf(flags)).settings)
  try {
    await work()
  } finally {
    await close()
  }
}

/** Reads a flag's number of seconds. */
export function secondsOf(text: string): number {
  const seconds = Number(text)
  if (text.trim() !== '' && seconds >= 0) return seconds
  throw new InvalidArgumentError('It must be a number of seconds, 0 or more.')
}

/** Reads a flag's number; its range is known where it is used. */
export function someNumber(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number)) return number
  throw new InvalidArgumentError('It must be a number.')
}

/** Reads a flag's whole number. */
export function wholeNumber(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && Number.isSafeInteger(number)) return number
  throw new InvalidArgumentError('It must be a whole number.')
}

/** Reads how many a flag wants: at least one. */
export function countOf(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0) return count
  throw new InvalidArgumentError('It must be a whole number above 0.')
}

/** Reads a flag's time. */
export function timeOf(text: string): Date {
  const time = new Date(text)
  if (Number.isFinite(time.getTime())) return time
  throw new InvalidArgumentError('It must be a time such as 2026-12-24T18:00:00+01:00.')
}

function nearestJson(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Map || value instanceof Set) return [...value]
  if (value instanceof Error) return { name: value.name, message: value.message }
  return value
}
