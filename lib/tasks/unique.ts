/** Tasks that are to be the only ones of their kind, while they wait or run and for some time. */
import { createHash } from 'node:crypto'
import type { Client, Inlining, Submission } from '../client.ts'
import { BrokerError, ConfigError } from '../errors.ts'
import type { Holder, Reservation } from '../stores/uniques.ts'
import { show } from './define.ts'

/** What makes a task the only one of its kind. */
export interface UniqueRule {
  /** What tasks of one kind have in common, beside queue and function; their arguments when absent. */
  readonly key?: string
  /** Seconds from the enqueueing for which no other is let in, even when this one is over. */
  readonly within?: number
}

/**
 * Lets a rule pass.
 * @throws {ConfigError} when it is none
 */
export function checkUnique(what: string, rule: unknown): void {
  if (typeof rule === 'boolean') return
  const { key, within = 0, ...others } = (typeof rule === 'object' && rule ? rule : { rule }) as UniqueRule
  const isKey = key === undefined || (typeof key === 'string' && key.length > 0)
  if (isKey && Number.isFinite(within) && within >= 0 && Object.keys(others).length === 0) return
  throw new ConfigError(
    `${what} must be true, or an object with key (a text) and within (seconds), got ${show(rule)}; correct or remove it.`,
  )
}

/**
 * Hands those submissions to the broker that no other task stands in the way of. Reserved before and confirmed after, so
 * that whoever dies in between blocks nobody for long.
 * @returns for each the task that there is now: itself, or the one that was there before
 */
export async function enqueueUnique(
  client: Client,
  submissions: readonly Submission[],
  rule: UniqueRule,
  inlining?: Inlining,
): Promise<Holder[]> {
  const { name, enqueueTimeout } = await client.settings()
  const wanted = submissions.map((one) => reservationOf(one, one.queue ?? name, rule))
  const patience = enqueueTimeout * 1000 + MARGIN
  const holders = await client.atStore(({ uniques }) => uniques.reserve(wanted, patience))
  const fresh = submissions.filter(({ header }, i) => holders[i]?.taskId === header.id)
  const ids = fresh.map(({ header }) => header.id)
  try {
    await client.enqueue(fresh, inlining)
  } catch (error) {
    // A broker that has not confirmed may keep them all the same.
    if (!(error instanceof BrokerError))
      await client.atStore(({ uniques }) => uniques.withdraw(ids)).catch(() => {})
    throw error
  }
  await client.atStore(({ uniques }) => uniques.confirm(ids))
  return holders
}

/** Milliseconds that a confirmation may take longer than the enqueueing. */
const MARGIN = 20_000

function reservationOf({ header, args }: Submission, queue: string, rule: UniqueRule): Reservation {
  const { id: taskId, name, func } = header
  const kind = JSON.stringify([queue, func, rule.key === undefined, rule.key ?? args])
  const key = createHash('sha256').update(kind).digest('hex')
  return { key, queue, taskId, name, within: (rule.within ?? 0) * 1000 }
}
