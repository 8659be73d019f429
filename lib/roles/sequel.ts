/**
 * What follows from an outcome: the hook that is told of it, the next link of its chain, the task that the pieces of an
 * iter become. All of it is made before the outcome is settled, under ids that are derived from it: whoever dies in between
 * leaves a delivery by which another one makes the same again.
 */
import type { Settings } from '../config.ts'
import { OutcomeRefusedError, SerializationError } from '../errors.ts'
import { followerId, taskName } from '../names.ts'
import type { IterHeader, TaskHeader } from '../package.ts'
import type { Outcome, SavedOutcome, Store } from '../stores/store.ts'
import { decode, encode, pack } from '../tasks/codec.ts'
import { encodeError, type FailureRecord } from '../tasks/failure.ts'
import { toRecord } from '../tasks/results.ts'
import { type Follower, keyOf, type RunKey } from './frames.ts'

export interface SequelOptions {
  readonly store: Pick<Store, 'save' | 'fetch' | 'countGroup' | 'list' | 'delete'>
  /** What arguments and results are packed by. */
  readonly packing: Pick<Settings, 'compress' | 'maxPayload'>
  /** Seconds that the outcome of an iter is kept when it does not say so; 0, the default: as all others. */
  readonly cached?: number
}

/** The last outcome of a task, and what its package said of what follows. */
export interface Concluded {
  readonly header: TaskHeader
  readonly outcome: Outcome
}

/** Whether anything may follow from a task. */
export function hasSequel({ hook, chain, iter }: TaskHeader): boolean {
  return hook !== undefined || chain !== undefined || iter !== undefined
}

/** Makes what follows from outcomes. */
export class Sequels {
  readonly #options: SequelOptions

  constructor(options: SequelOptions) {
    this.#options = options
  }

  /** The tasks that follow from each of these outcomes, which are saved. What iters have become is saved by this. */
  async of(concluded: readonly Concluded[]): Promise<Map<RunKey, Follower[]>> {
    const followers = new Map(concluded.map((one) => [keyOf(one.header), this.#followers(one)]))
    const iters = new Map(concluded.flatMap((one) => (one.header.iter ? [[one.header.iter.id, one]] : [])))
    for (const one of iters.values()) followers.get(keyOf(one.header))?.push(...(await this.#whole(one)))
    return followers
  }

  /** The outcomes of these tasks that the store keeps. */
  async recall(headers: readonly TaskHeader[]): Promise<Map<string, SavedOutcome>> {
    if (headers.length === 0) return new Map()
    const ids = headers.flatMap(({ id, iter }) => (iter ? [id, iter.id] : [id]))
    const found = await this.#options.store.fetch(ids)
    return new Map(found.map((outcome) => [outcome.taskId, outcome]))
  }

  #followers(one: Concluded): Follower[] {
    const { hook } = one.header
    return [...(hook === undefined ? [] : [this.#hook(hook, one.outcome)]), ...this.#next(one)]
  }

  /** A hook is a task of its own; what it is told may be too large to be sent, and is left out then. */
  #hook(func: string, outcome: Outcome, ...what: readonly string[]): Follower {
    const id = followerId(outcome.taskId, 'hook', outcome.run, ...what)
    const record = toRecord({ ...outcome, final: true })
    const args = this.#pack([record]) ?? this.#pack([withoutValues(record)]) ?? '[]'
    return { header: headerOf(id, func, outcome), args }
  }

  /** The next link of the chain, or the hook of one that is over. */
  #next({ header: { chain }, outcome }: Concluded): Follower[] {
    if (!chain) return []
    const [link, ...rest] = chain.rest
    const isOver = !link || (!outcome.success && (!chain.goesOn || link.isPiped))
    if (isOver) return chain.hook === undefined ? [] : [this.#hook(chain.hook, outcome, 'chain')]
    const { args, isPiped, name, ...own } = link
    const index = chain.index + 1
    const id = followerId(chain.id, 'link', index)
    const piped = isPiped ? this.#pack([decode(outcome.result), ...(decode(args) as unknown[])]) : args
    return [
      {
        header: {
          ...headerOf(id, own.func, outcome),
          ...own,
          ...(name !== undefined && { name }),
          ...(piped === undefined && { fault: TOO_LARGE, maxAttempts: 1 }),
          chain: { ...chain, index, rest },
        },
        args: piped ?? args,
      },
    ]
  }

  /** Undefined where it would take more than a package may. */
  #pack(args: readonly unknown[]): string | undefined {
    try {
      return pack(encode(args, 'args'), 'What follows', this.#options.packing)
    } catch (error) {
      if (error instanceof SerializationError) return undefined
      throw error
    }
  }

  /** What an iter has become, once its last piece is there; then its hook follows. */
  async #whole({ header: { iter, id }, outcome }: Concluded): Promise<Follower[]> {
    const whole = await this.#collate(iter as IterHeader, outcome)
    const hook = iter?.hook
    if (!whole || hook === undefined) return []
    const follower = this.#hook(hook, whole, String(whole.success))
    return [{ ...follower, header: { ...follower.header, follows: id } }]
  }

  /** Pieces of a success are of no more use; those of a failure tell what has failed. */
  async #collate(iter: IterHeader, { cluster, group = iter.id }: Outcome): Promise<Outcome | undefined> {
    const { store } = this.#options
    const { successes, failures, retrying } = await store.countGroup(group)
    // Another one may have seen the last piece too, and have put all away.
    if (successes + failures - retrying < iter.count) return (await store.fetch([iter.id]))[0]
    const pieces = (await store.list({ group })).toSorted(byId)
    const whole = await this.#keep(wholeOf(iter, pieces, cluster, this.#options))
    if (whole.success) await store.delete(pieces.map(({ taskId }) => taskId))
    return whole
  }

  /** What the store refuses becomes a failure that says so. */
  async #keep(whole: Outcome): Promise<Outcome> {
    try {
      await this.#options.store.save([whole])
      return whole
    } catch (error) {
      if (!(error instanceof OutcomeRefusedError)) throw error
      const message = `result could not be saved: ${error.message}`
      const refused = { ...whole, args: '[]', success: false, result: failureOf(message) }
      await this.#options.store.save([refused])
      return refused
    }
  }
}

const TOO_LARGE = 'What the link before returned is too large to be handed on; return a reference to it.'

function headerOf(id: string, func: string, { taskId, stoppedAt }: Outcome): TaskHeader {
  return { id, run: 1, attempt: 1, name: taskName(id), func, enqueuedAt: stoppedAt, follows: taskId }
}

function withoutValues({ result: _result, ...record }: ReturnType<typeof toRecord>) {
  return { ...record, args: [] }
}

const byId = (a: Outcome, b: Outcome): number => (a.taskId < b.taskId ? -1 : 1)

/** One outcome of all: the results in the order of the items, or what failed first. */
function wholeOf(
  iter: IterHeader,
  pieces: readonly Outcome[],
  cluster: string,
  { packing, cached: byDefault = 0 }: SequelOptions,
): Outcome {
  const { cached = byDefault } = iter
  // Not by a call with all of them: there may be more than a call can have arguments.
  const startedAt = pieces.reduce(
    (first, piece) => Math.min(first, piece.startedAt),
    Number.POSITIVE_INFINITY,
  )
  const stoppedAt = pieces.reduce((last, piece) => Math.max(last, piece.stoppedAt), 0)
  return {
    ...{ taskId: iter.id, run: 1, attempt: 1, name: iter.name, func: pieces[0]?.func ?? '', cluster },
    ...(iter.group !== undefined && { group: iter.group }),
    enqueuedAt: iter.enqueuedAt,
    ...{ startedAt, stoppedAt },
    fate: 'ack',
    ...(cached > 0 && { expiresAt: stoppedAt + cached * 1000 }),
    ...resultOf(pieces, packing),
  }
}

function resultOf(
  pieces: readonly Outcome[],
  packing: SequelOptions['packing'],
): Pick<Outcome, 'args' | 'success' | 'result'> {
  const all = (texts: readonly string[]) => pack(encode(texts.map(decode)), 'What an iter collects', packing)
  try {
    const args = all(pieces.map((piece) => piece.args))
    const failed = pieces.findIndex((piece) => !piece.success)
    if (failed >= 0) return { args, success: false, result: failureOf(...failureIn(pieces, failed)) }
    return { args, success: true, result: all(pieces.map((piece) => piece.result)) }
  } catch (error) {
    if (!(error instanceof SerializationError)) throw error
    return { args: '[]', success: false, result: failureOf(error.message) }
  }
}

function failureIn(pieces: readonly Outcome[], first: number): [message: string, cause: FailureRecord] {
  const count = pieces.filter((piece) => !piece.success).length
  const cause = decode((pieces[first] as Outcome).result) as FailureRecord
  return [`${count} of ${pieces.length} items failed, the first at ${first}: ${cause.message}`, cause]
}

function failureOf(message: string, cause?: FailureRecord): string {
  return encodeError({ name: 'IterError', message, ...(cause && { cause }) })
}
