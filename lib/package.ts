/**
 * What a broker carries for one run of a task: a signed header and the encoded arguments, as the text
 * `<signature>\n<header JSON>\n<args>`. The signature covers all that follows it, with a key of the queue's own.
 */

import type { Package, Priority } from './brokers/broker.ts'
import { SignatureError } from './errors.ts'
import { isName, isTaskId } from './names.ts'
import { SIGNATURE_LENGTH, type Signer } from './signing.ts'

const PURPOSE = 'qcluster.task'
const SIGNED_FROM = SIGNATURE_LENGTH + 1

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
  /** By what that grows with each attempt, what it never grows beyond, and the share of it that is left to chance. */
  readonly retryFactor?: number
  readonly retryCap?: number
  readonly retryJitter?: number
  /** Seconds from `enqueuedAt` after which no attempt starts. */
  readonly expires?: number
  /** False: a success is not saved. */
  readonly save?: boolean
  /** `normal` when absent. */
  readonly priority?: Priority
  /** True: a failure is final, and no dead letter. Overrides the cluster's. */
  readonly ackFailure?: boolean
  /** Seconds that its outcome is kept, whatever the cluster says of others; 0: as those that say nothing. */
  readonly cached?: number
  /** The task that is told its record, by name. */
  readonly hook?: string
  readonly chain?: ChainHeader
  readonly iter?: IterHeader
  /** The task whose outcome it follows from. A crash may have it enqueued twice. */
  readonly follows?: string
  /** Why it cannot be run. */
  readonly fault?: string
  /** The address at the broker where its enqueuer hears of its outcomes. */
  readonly replyTo?: string
  /** It has a key that is to be free when it is over. */
  readonly unique?: true
}

/** What a task says of the run that it is, and of its place among others; the rest is the same for all its kind. */
type Own = 'id' | 'run' | 'attempt' | 'name' | 'enqueuedAt' | 'chain' | 'iter' | 'follows'

/** A link of a chain that is not a task yet. */
export interface Link extends Omit<TaskHeader, Own> {
  /** The human name of its task, instead of four words. */
  readonly name?: string
  /** The encoded arguments. */
  readonly args: string
  /** True: what the link before returned comes before its arguments. */
  readonly isPiped?: boolean
}

/** The chain that a task is a link of, as it is left to go on. */
export interface ChainHeader {
  /** 32 hex digits, of which the ids of its links are made. */
  readonly id: string
  /** Which link the task is: 0, 1, … */
  readonly index: number
  /** The links that follow. */
  readonly rest: readonly Link[]
  /** True: a failure does not end it. */
  readonly goesOn?: boolean
  /** The task that is told the record of the last link that ran. */
  readonly hook?: string
}

/** The iter that a task is a piece of. */
export interface IterHeader {
  /** The id of the task that all pieces become; those of `asyncIter` have it for their group. */
  readonly id: string
  /** How many pieces it has. */
  readonly count: number
  /** When it was enqueued. */
  readonly enqueuedAt: number
  /** The human name, group, hook and time to live of what the pieces become. */
  readonly name: string
  readonly group?: string
  readonly hook?: string
  readonly cached?: number
}

/** A package that was opened: its header and its arguments, still encoded. */
export interface OpenedPackage {
  readonly header: TaskHeader
  readonly args: string
}

/** Packs and signs one run of a task for `queue`. `args` is a text of `lib/tasks/codec.ts`. */
export function sealPackage(header: TaskHeader, args: string, queue: string, signer: Signer): Package {
  const signed = `${JSON.stringify(header)}\n${args}`
  const body = `${signer.sign(PURPOSE, queue, signed)}\n${signed}`
  const { id: taskId, run, attempt, priority } = header
  return { taskId, run, attempt, body, ...(priority !== undefined && { priority }) }
}

/**
 * Opens a package that came from `queue`. Nothing in it is looked at before its signature has been checked.
 *
 * @throws {SignatureError} when it is not signed, signed with another key or for another queue, cut short, not what its
 *   envelope says, or when its header is none.
 */
export function openPackage(sealed: Package, queue: string, signer: Signer): OpenedPackage {
  const { body } = sealed
  refuseUnsigned(sealed, queue)
  const signed = body.slice(SIGNED_FROM)
  if (!signer.verify(PURPOSE, queue, signed, body.slice(0, SIGNATURE_LENGTH)))
    throw foreign(sealed, queue, signed)

  const headerEnd = signed.indexOf('\n')
  const header = parseHeader(sealed, queue, signed.slice(0, headerEnd))
  refuseOtherEnvelope(sealed, queue, header)
  return { header, args: signed.slice(headerEnd + 1) }
}

/**
 * True when `value` has all that decides a run, of the right types, and names that can be shown: who has the key may still
 * write no line of our log. The rest of a signed header is trusted.
 */
export function isTaskHeader(value: unknown): value is TaskHeader {
  if (typeof value !== 'object' || value === null) return false
  const header = value as Partial<Record<keyof TaskHeader, unknown>>
  return (
    typeof header.id === 'string' &&
    isTaskId(header.id) &&
    isCount(header.run) &&
    isCount(header.attempt) &&
    isName(header.name) &&
    isName(header.func) &&
    (header.group === undefined || isName(header.group)) &&
    (header.replyTo === undefined || isAddress(header.replyTo)) &&
    Number.isFinite(header.enqueuedAt)
  )
}

/** Whether it is too late to start an attempt. */
export function isExpired({ enqueuedAt, expires }: TaskHeader, now: number): boolean {
  return expires !== undefined && now > enqueuedAt + expires * 1000
}

/** What any broker can route to. */
const isAddress = (value: unknown): boolean => typeof value === 'string' && /^[\w-]{1,64}$/.test(value)

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 1

function refuseUnsigned(sealed: Package, queue: string): void {
  const end = sealed.body.indexOf('\n')
  if (end === SIGNATURE_LENGTH) return
  const cut = end < 0 && sealed.body.length <= SIGNATURE_LENGTH && /^[\w-]*$/.test(sealed.body)
  throw cut ? truncated(sealed, queue) : notSigned(sealed, queue)
}

function parseHeader(sealed: Package, queue: string, text: string): TaskHeader {
  const header = parseJson(text)
  if (isTaskHeader(header)) return header
  throw refusal(
    sealed,
    queue,
    `is signed, but its header is not valid: expected id, run, attempt, name, func and enqueuedAt, got ${shorten(text)}`,
    'Run the same version of qcluster on both sides.',
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON is one way of not being a header; the caller says so.
    return undefined
  }
}

/** A broker routes and counts by the envelope, so one that differs from what was signed may not be acted on. */
function refuseOtherEnvelope(sealed: Package, queue: string, header: TaskHeader): void {
  if (sealed.taskId === header.id && sealed.run === header.run && sealed.attempt === header.attempt) return
  throw refusal(
    sealed,
    queue,
    `does not match its envelope: signed was task ${header.id} (run ${header.run}, attempt ${header.attempt})`,
    'Find out who writes to the queue.',
  )
}

function notSigned(sealed: Package, queue: string): SignatureError {
  return refusal(
    sealed,
    queue,
    `has no signature: expected ${SIGNATURE_LENGTH} characters and a line end, got ${shorten(sealed.body)}`,
    'Enqueue with qcluster, and let nothing else write to the queue.',
  )
}

function truncated(sealed: Package, queue: string): SignatureError {
  return refusal(
    sealed,
    queue,
    `is truncated: it ends after ${sealed.body.length} characters, before its header does`,
    'Enqueue the task again.',
  )
}

function foreign(sealed: Package, queue: string, signed: string): SignatureError {
  if (!signed.includes('\n')) return truncated(sealed, queue)
  return refusal(
    sealed,
    queue,
    'has a foreign signature: it was signed with another secret, for another queue, or changed on its way',
    'Give producers and clusters the same secretKey.',
  )
}

function refusal(sealed: Package, queue: string, problem: string, remedy: string): SignatureError {
  const { taskId, run, attempt } = sealed
  return new SignatureError(
    `The package of task ${taskId} (run ${run}, attempt ${attempt}) on queue "${queue}" ${problem}. ${remedy}`,
  )
}

/** The start of a text, for a message: a body may be large, and is a stranger's. */
function shorten(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
