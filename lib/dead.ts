/** Dead letters: tasks that were given up, or packages that were refused. A person looks at them here. */
import type { DeadLetter, DeadLetterFate } from './brokers/broker.ts'
import { type Client, defaultClient, type Identity } from './client.ts'
import { SignatureError } from './errors.ts'
import { type OpenedPackage, openPackage, sealPackage } from './package.ts'

/** Which dead letters are meant. */
export interface DeadSelection {
  /** Only those of this task: its function, or its human name. */
  readonly task?: string
  /** So many at most: the oldest, or of a list the newest. */
  readonly limit?: number
}

/** A dead letter for people. */
export interface DeadTask extends Pick<DeadLetter, 'taskId' | 'run' | 'reason' | 'diedAt'> {
  /** Null where the package was not signed by us: nothing in it is believed. */
  readonly func: string | null
  readonly name: string | null
}

/** The newest first. */
export function listDead({ limit = 100, ...selection }: DeadSelection, client = defaultClient()) {
  return client.atBroker(async (broker, identity) => {
    const { name } = identity.settings
    if (selection.task === undefined)
      return (await broker.deadLetters(name, limit)).map((letter) => describe(letter, identity))
    // Not all at once: there may be very many.
    const found: DeadTask[] = []
    await broker.reviewDeadLetters(name, (letter) => {
      const dead = describe(letter, identity)
      if (isMeant(dead, selection) && found.push(dead) > limit) found.shift()
      return 'keep'
    })
    return found.reverse()
  })
}

/**
 * Enqueues given up tasks once more under their ids: as their next run, with all their attempts. What was not signed by
 * us stays where it is.
 * @returns those that were, or with `dryRun` would be
 */
export function replayDead(selection: DeadSelection, dryRun = false, client = defaultClient()) {
  return review(
    selection,
    client,
    (letter, identity) => {
      const opened = opening(letter, identity)
      if (!opened) return 'keep'
      return { replay: resealed(opened, identity) }
    },
    dryRun,
  )
}

/**
 * Forgets dead letters.
 * @returns those that were, or with `dryRun` would be
 */
export function purgeDead(selection: DeadSelection, dryRun = false, client = defaultClient()) {
  return review(selection, client, () => 'remove', dryRun)
}

const EVERY = 2 ** 31 - 1

function review(
  { limit = EVERY, ...selection }: DeadSelection,
  client: Client,
  judge: (letter: DeadLetter, identity: Identity) => DeadLetterFate,
  dryRun: boolean,
): Promise<DeadTask[]> {
  return client.atBroker(async (broker, identity) => {
    const chosen: DeadTask[] = []
    await broker.reviewDeadLetters(identity.settings.name, (letter) => {
      const dead = describe(letter, identity)
      if (chosen.length >= limit || !isMeant(dead, selection)) return 'keep'
      const fate = judge(letter, identity)
      if (fate !== 'keep') chosen.push(dead)
      return dryRun ? 'keep' : fate
    })
    return chosen
  })
}

function isMeant({ func, name }: DeadTask, { task }: DeadSelection): boolean {
  return task === undefined || task === func || task === name
}

function describe(letter: DeadLetter, identity: Identity): DeadTask {
  const { taskId, run, reason, diedAt } = letter
  const { func = null, name = null } = opening(letter, identity)?.header ?? {}
  return { taskId, run, reason, diedAt, func, name }
}

function opening(letter: DeadLetter, { settings, signer }: Identity): OpenedPackage | undefined {
  try {
    return openPackage(letter, settings.name, signer)
  } catch (error) {
    if (error instanceof SignatureError) return undefined
    throw error
  }
}

function resealed({ header, args }: OpenedPackage, { settings, signer }: Identity) {
  return sealPackage({ ...header, run: header.run + 1, attempt: 1 }, args, settings.name, signer)
}
