/**
 * Tasks one after the other. Each is enqueued by the cluster that has finished the one before it, before that one is
 * settled: a crash in between repeats the step and never loses it.
 * @see https://django-q2.readthedocs.io/en/master/chain.html
 */
import { type Client, defaultClient, type Submission } from '../client.ts'
import { ConfigError, ResultTimeoutError } from '../errors.ts'
import { followerId, taskName } from '../names.ts'
import type { ChainHeader, Link, TaskHeader } from '../package.ts'
import { checkFlag, checkName, type TaskFunction } from './define.ts'
import {
  cachedOf,
  type EnqueueOptions,
  type Hook,
  hookOf,
  inliningOf,
  newTaskId,
  packed,
  refuseUnknown,
} from './enqueue.ts'
import { type ChainLink, type LinkParameters, link, linksOf, pipe } from './link.ts'
import { checkWait, type TaskRecord, toError, toRecord, type WaitOptions } from './results.ts'

/** What holds for all links of a chain. */
export interface ChainOptions<TResult = unknown>
  extends Pick<EnqueueOptions, 'cached' | 'sync' | 'cluster' | 'client'> {
  /** The label of all its tasks; the chain's id when absent. */
  readonly group?: string
  /** True: a failure does not end the chain. A link that gets the result of one that failed ends it all the same. */
  readonly continueOnFailure?: boolean
  /** Told the record of the last link that ran: of the last one of all, or of the one whose failure ended the chain. */
  readonly hook?: Hook<TResult>
}

const OPTIONS = [
  'group',
  'continueOnFailure',
  'hook',
  'cached',
  'sync',
  'cluster',
  'client',
] as const satisfies readonly (keyof ChainOptions)[]

/** The results of links, in their order. */
export type ResultsOf<TLinks extends readonly unknown[]> = {
  -readonly [K in keyof TLinks]: TLinks[K] extends ChainLink<never, infer R> ? R : never
}

/** Links of which each gets what the one before it returns, where it is piped. */
export type Fitting<TLinks extends readonly unknown[]> = TLinks extends readonly [
  infer First extends ChainLink<never, unknown>,
  infer Second extends ChainLink<never, unknown>,
  ...infer Rest,
]
  ? Second extends ChainLink<infer Given, unknown>
    ? First extends ChainLink<never, infer Result>
      ? [Result] extends [Given]
        ? readonly [First, ...Fitting<readonly [Second, ...Rest]>]
        : readonly [First, ChainLink<Result, unknown>, ...Rest]
      : never
    : never
  : TLinks

/**
 * Enqueues a chain: its first link now, each other one when the one before it has succeeded.
 *
 * @returns the chain, started
 * @throws what {@link asyncTask} throws
 *
 * @example
 * const chain = await asyncChain([link(fetchPage, [url]), pipe(countWords)])
 * const [page, words] = await chain.result()
 */
export async function asyncChain<const TLinks extends readonly ChainLink<never, unknown>[]>(
  links: TLinks & Fitting<TLinks>,
  options: ChainOptions = {},
): Promise<Chain<ResultsOf<TLinks>>> {
  const chain = new Chain<unknown[]>(options, links as readonly ChainLink[])
  await chain.run()
  return chain as Chain<never>
}

/** A chain that is put together link by link. `TResults` are the results of its links. */
export class Chain<TResults extends unknown[] = []> {
  readonly #options: ChainOptions
  readonly #links: ChainLink[]
  #id: string | undefined

  constructor(options: ChainOptions<never> = {}, links: readonly ChainLink[] = []) {
    this.#options = options as ChainOptions
    this.#links = [...links]
  }

  /** The id of which those of its tasks are made, and their group where it has no other; undefined before {@link run}. */
  get id(): string | undefined {
    return this.#id
  }

  /** Appends a link that has all its arguments. One that was started before may be run again then, as another chain. */
  append<TArgs extends unknown[], TResult>(
    task: TaskFunction<TArgs, TResult>,
    ...parameters: LinkParameters<TArgs, Awaited<TResult>>
  ): Chain<[...TResults, Awaited<TResult>]>
  append<TResult = unknown>(task: string, args?: readonly unknown[]): Chain<[...TResults, TResult]>
  append(task: unknown, ...parameters: unknown[]): Chain<never> {
    return this.#add((link as (...given: unknown[]) => ChainLink)(task, ...parameters))
  }

  /** Appends a link whose first argument is what the link before it returned. */
  pipe<TArgs extends unknown[], TResult>(
    task: TaskFunction<[given: Last<TResults>, ...args: TArgs], TResult>,
    ...parameters: LinkParameters<TArgs, Awaited<TResult>>
  ): Chain<[...TResults, Awaited<TResult>]>
  pipe<TResult = unknown>(task: string, args?: readonly unknown[]): Chain<[...TResults, TResult]>
  pipe(task: unknown, ...parameters: unknown[]): Chain<never> {
    return this.#add((pipe as (...given: unknown[]) => ChainLink)(task, ...parameters))
  }

  /** How many links it has. */
  length(): number {
    return this.#links.length
  }

  /**
   * Enqueues its first link.
   * @returns the id of the chain, which is not that of its first task
   * @throws what {@link asyncTask} throws; it has no new id then, unless it is `sync` and one of its links has thrown it
   */
  async run(): Promise<string> {
    const links = linksOf(this.#links)
    const first = this.#links[0]
    if (!first || first.isPiped) throw noFirst(first)
    const submission = submitChain(this.#client, links, this.#options)
    const idOf = async () => ((await submission).header.chain as ChainHeader).id
    try {
      await this.#client.enqueue([submission], inliningOf({ ...this.#options, chain: this.#links }))
    } catch (error) {
      // It has run up to the link that threw this.
      if (await this.#isSync()) this.#id = await idOf()
      throw error
    }
    this.#id = await idOf()
    return this.#id
  }

  /**
   * Waits for what all links returned, in their order.
   * @throws {TaskFailedError} of the first link that failed
   * @throws {ResultTimeoutError} when they had not all ended within `wait`
   * @throws {StoreError} when the store cannot be reached
   */
  async result({ wait = Number.POSITIVE_INFINITY }: Pick<WaitOptions, 'wait'> = {}): Promise<TResults> {
    const results: unknown[] = []
    for await (const record of this.#records(wait)) {
      if (!record.success) throw toError(record)
      results.push(record.result)
    }
    if (results.length < this.#links.length) throw tooLate(this.#id, wait)
    return results as TResults
  }

  /** The records of the links that have ended, in their order; `failures: false` leaves failed ones out. */
  async fetch({
    failures = true,
    wait = 0,
  }: Pick<WaitOptions, 'wait'> & { readonly failures?: boolean } = {}): Promise<TaskRecord[]> {
    const records: TaskRecord[] = []
    for await (const record of this.#records(wait)) if (record.success || failures) records.push(record)
    return records
  }

  /** How many links have ended; undefined before {@link run}. */
  async current(): Promise<number | undefined> {
    return this.#id === undefined ? undefined : (await this.fetch()).length
  }

  get #client(): Client {
    return this.#options.client ?? defaultClient()
  }

  async #isSync(): Promise<boolean> {
    return this.#options.sync ?? (await this.#client.settings()).sync
  }

  #add(one: ChainLink): Chain<never> {
    this.#links.push(one)
    this.#id = undefined
    return this as unknown as Chain<never>
  }

  /** The last outcome of each link, as long as there is time, and no longer than the chain goes on. */
  async *#records(wait: number): AsyncGenerator<TaskRecord> {
    checkWait(wait)
    const id = this.#id
    const deadline = performance.now() + wait
    for (const index of id === undefined ? [] : this.#links.keys()) {
      const left = Math.max(0, deadline - performance.now())
      const linkId = followerId(id as string, 'link', index)
      const outcome = await this.#client.outcome(linkId, { wait: left, final: true })
      if (!outcome) return
      yield toRecord(outcome)
      if (!outcome.success && (!this.#options.continueOnFailure || this.#links[index + 1]?.isPiped)) return
    }
  }
}

/** What the last of them returned. */
type Last<TResults extends unknown[]> = TResults extends [...unknown[], infer Result] ? Result : never

async function submitChain(
  client: Client,
  links: readonly Link[],
  options: ChainOptions,
): Promise<Submission> {
  const { group, cluster, continueOnFailure = false, hook, cached } = options
  const owner = 'A chain'
  refuseUnknown(options, owner, OPTIONS)
  for (const [option, value] of Object.entries({ group, cluster }))
    if (value !== undefined) checkName(`${owner}: ${option}`, value)
  checkFlag(`${owner}: continueOnFailure`, continueOnFailure)
  const timeToLive = cachedOf(`${owner}: cached`, cached)
  const hookName = hook === undefined ? undefined : hookOf(hook)
  const enqueuedAt = client.now()
  const [id, settings] = await Promise.all([newTaskId(), client.settings()])
  const shared = { group: group ?? id, ...(timeToLive !== undefined && { cached: timeToLive }) }
  const [first, ...rest] = links.map((one) => packed({ ...shared, ...one }, settings))
  const chain: ChainHeader = {
    ...{ id, index: 0, rest },
    ...(continueOnFailure && { goesOn: true }),
    ...(hookName !== undefined && { hook: hookName }),
  }
  const header = headerOf(first as Link, id, chain, enqueuedAt)
  return { header, args: (first as Link).args, ...(cluster !== undefined && { queue: cluster }) }
}

function headerOf(first: Link, chainId: string, chain: ChainHeader, enqueuedAt: number): TaskHeader {
  const { args: _args, name, ...own } = first
  const id = followerId(chainId, 'link', 0)
  return { id, run: 1, attempt: 1, name: name ?? taskName(id), enqueuedAt, ...own, chain }
}

function noFirst(first: ChainLink | undefined): ConfigError {
  const got = first ? 'a first link that waits for a result' : 'none'
  return new ConfigError(
    `A chain needs at least one link, the first with all its arguments, got ${got}; begin with link(task, args).`,
  )
}

function tooLate(id: string | undefined, wait: number): ResultTimeoutError {
  const what = id === undefined ? 'A chain that was not run has' : `The chain ${id} has`
  return new ResultTimeoutError(
    `${what} not ended within ${wait} ms, and may still do so; run() it, wait longer, and see that a cluster serves its queue.`,
  )
}
