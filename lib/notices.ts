/**
 * What those who wait for results are told over the broker when outcomes have been saved. Who has said where it listens
 * gets the outcomes of its own tasks; everybody else hears that there are some, and looks into the store.
 */
import type { Notice } from './brokers/broker.ts'
import { openEnvelope, sealEnvelope, type Timed } from './envelope.ts'
import type { Signer } from './signing.ts'
import type { Outcome, SavedOutcome } from './stores/store.ts'

/** Where those listen who wait for tasks that others have enqueued, or for a group. */
export const EVERYBODY = 'everybody'

/** An outcome that was saved, and where its enqueuer listens, if it does. */
export interface Told {
  readonly outcome: Outcome
  readonly replyTo: string | undefined
  /** The iter that it is a piece of: nobody else tells that this has become whole. */
  readonly iter?: string | undefined
}

/** What a notice says. */
export interface Tidings extends Timed {
  /** Outcomes that need not be looked for. */
  readonly outcomes: readonly SavedOutcome[]
  /** Tasks that have a new outcome in the store. */
  readonly ids: readonly string[]
  /** Groups that such tasks belong to. */
  readonly groups: readonly string[]
}

/** Words and signs what is told of a batch: few notices, however many outcomes there are. */
export function sealNotices(saved: readonly Told[], signer: Signer): Notice[] {
  const replies = Map.groupBy(saved, ({ replyTo }) => replyTo ?? '')
  replies.delete('')
  return [...[...replies].flatMap(([to, told]) => toEnqueuer(to, told, signer)), toEverybody(saved, signer)]
}

/**
 * Opens a notice.
 * @throws {SignatureError} when it is not one of ours, or too old
 */
export function openNotice(body: string, signer: Signer): Tidings {
  return openEnvelope<Tidings>('notice', body, signer)
}

/** Characters of arguments and result from which an outcome is not sent along. */
const LARGE = 64 * 1024
/** Characters of outcomes in one notice; far below the longest message of any broker. */
const FULL = 1024 * 1024

function toEnqueuer(to: string, told: readonly Told[], signer: Signer): Notice[] {
  const outcomes = told.map(({ outcome }) => outcome)
  const [small, large] = [outcomes.filter(isSmall), outcomes.filter((outcome) => !isSmall(outcome))]
  const parts = inParts(small)
  const ids = large.map(({ taskId }) => taskId)
  const contents = [
    ...parts.map((part) => ({ outcomes: part.map(asSaved), ids: [] as string[] })),
    ...(ids.length > 0 ? [{ outcomes: [], ids }] : []),
  ]
  return contents.map((content) => seal(to, { ...content, groups: [] }, signer))
}

function toEverybody(saved: readonly Told[], signer: Signer): Notice {
  const ids = new Set<string>()
  const groups = new Set<string>()
  for (const { outcome, iter } of saved) {
    ids.add(outcome.taskId)
    if (iter !== undefined) ids.add(iter)
    if (outcome.group !== undefined) groups.add(outcome.group)
  }
  return seal(EVERYBODY, { outcomes: [], ids: [...ids], groups: [...groups] }, signer)
}

function seal(to: string, content: Omit<Tidings, 'at'>, signer: Signer): Notice {
  return { to, body: sealEnvelope('notice', { at: Date.now(), ...content } satisfies Tidings, signer) }
}

const sizeOf = ({ args, result }: Outcome): number => args.length + result.length
const isSmall = (outcome: Outcome): boolean => sizeOf(outcome) < LARGE

/** As the store gives it back. */
const asSaved = (outcome: Outcome): SavedOutcome => ({ ...outcome, final: outcome.fate !== 'retry' })

function inParts(outcomes: readonly Outcome[]): Outcome[][] {
  const parts: Outcome[][] = []
  let room = 0
  for (const outcome of outcomes) {
    if (parts.length === 0 || room < sizeOf(outcome)) {
      parts.push([])
      room = FULL
    }
    parts.at(-1)?.push(outcome)
    room -= sizeOf(outcome)
  }
  return parts
}
