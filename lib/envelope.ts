/** What travels over the bus: a signed text, `<signature>\n<JSON>`. Each purpose has a key of its own. */
import { SignatureError } from './errors.ts'
import { SIGNATURE_LENGTH, type Signer } from './signing.ts'

/** Milliseconds by which two machines' clocks may differ, and which an envelope may be under way. */
export const FRESH = 30_000

/** What an envelope is for; none can be taken for one of another purpose. */
export type Purpose = 'stat' | 'order' | 'answer' | 'notice'

/** Something to sign, with the time when it was. */
export interface Timed {
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** Packs and signs. */
export function sealEnvelope(purpose: Purpose, content: Timed, signer: Signer): string {
  const text = JSON.stringify(content)
  return `${signer.sign(`qcluster.${purpose}`, '', text)}\n${text}`
}

/**
 * Opens what came over the bus. Nothing in it counts before its signature has been checked.
 * @throws {SignatureError} when it is not signed by one of our keys for this purpose, or is older or newer than
 *   {@link FRESH}
 */
export function openEnvelope<T extends Timed>(purpose: Purpose, envelope: string, signer: Signer): T {
  const text = envelope.slice(SIGNATURE_LENGTH + 1)
  const isOurs =
    envelope[SIGNATURE_LENGTH] === '\n' &&
    signer.verify(`qcluster.${purpose}`, '', text, envelope.slice(0, SIGNATURE_LENGTH))
  if (!isOurs)
    throw new SignatureError(
      `Expected ${A[purpose]} signed with our key, got one that is not: give both sides the same secretKey, or find out who sent it.`,
    )
  return refuseStale(purpose, JSON.parse(text) as T)
}

/**
 * What an envelope says that is not signed by us, for a warning; anybody may have written it.
 * @throws {SyntaxError} when it is no envelope
 */
export function readUnchecked<T extends Timed>(envelope: string): Partial<T> {
  return Object(JSON.parse(envelope.slice(SIGNATURE_LENGTH + 1)))
}

const A: Record<Purpose, string> = {
  stat: 'a stat',
  order: 'an order',
  answer: 'an answer',
  notice: 'a notice',
}

function refuseStale<T extends Timed>(purpose: Purpose, content: T): T {
  const age = Date.now() - content.at
  if (Math.abs(age) <= FRESH) return content
  throw new SignatureError(
    `Expected ${A[purpose]} of now, got one of ${new Date(content.at).toISOString()}: it was kept back and sent again, or the clocks of two machines are more than ${FRESH / 1000} seconds apart; set them right.`,
  )
}
