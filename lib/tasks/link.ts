/** The links of a chain: tasks that are enqueued one after the other, each when the one before it is done. */
import { ConfigError } from '../errors.ts'
import type { Link } from '../package.ts'
import { encode } from './codec.ts'
import { show, type TaskFunction } from './define.ts'
import { calledTask, checkArgs, choicesOf, type EnqueueOptions, refuseForeign } from './enqueue.ts'

/** What its chain decides, or what has no meaning for one of several that follow each other. */
const FOREIGN = [
  'group',
  'chain',
  'unique',
  'delay',
  'runAt',
  'iterCount',
  'iterCached',
  'sync',
  'cluster',
  'client',
] as const satisfies readonly (keyof EnqueueOptions)[]

/** What a link can say of its task: all that {@link asyncTask} takes, but for what its chain decides. */
export type LinkOptions<TResult = unknown> = Omit<EnqueueOptions<TResult>, (typeof FOREIGN)[number]>

/** One link of a chain. `TGiven` is what the link before has to return, `TResult` what this one returns. */
export interface ChainLink<TGiven = never, TResult = unknown> {
  readonly task: unknown
  readonly args: readonly unknown[]
  readonly options: LinkOptions
  /** True: what the link before returned comes before its arguments. */
  readonly isPiped: boolean
  /** Never there: how the compiler knows what fits. */
  readonly types?: (given: TGiven) => TResult
}

/** Arguments that fit a link's task, and options; both may be left out when the task can be called with nothing. */
export type LinkParameters<TArgs extends unknown[], TResult> = [] extends TArgs
  ? [args?: Readonly<TArgs>, options?: LinkOptions<TResult>]
  : [args: Readonly<TArgs>, options?: LinkOptions<TResult>]

/**
 * A link that has all its arguments; what the link before it returned is of no matter to it.
 *
 * @example
 * await asyncChain([link(fetchPage, [url]), pipe(countWords), link(tidyUp)])
 */
export function link<TResult = unknown>(
  task: string,
  args?: readonly unknown[],
  options?: LinkOptions<TResult>,
): ChainLink<unknown, TResult>
export function link<TArgs extends unknown[], TResult>(
  task: TaskFunction<TArgs, TResult>,
  ...parameters: LinkParameters<TArgs, Awaited<TResult>>
): ChainLink<unknown, Awaited<TResult>>
export function link(task: unknown, args: unknown = [], options: LinkOptions = {}): ChainLink {
  return { task, args: checkArgs(args), options, isPiped: false }
}

/** A link whose first argument is what the link before it returned; its own arguments come after that. */
export function pipe<TResult = unknown>(
  task: string,
  args?: readonly unknown[],
  options?: LinkOptions<TResult>,
): ChainLink<unknown, TResult>
export function pipe<TGiven, TArgs extends unknown[], TResult>(
  task: TaskFunction<[given: TGiven, ...args: TArgs], TResult>,
  ...parameters: LinkParameters<TArgs, Awaited<TResult>>
): ChainLink<TGiven, Awaited<TResult>>
export function pipe(task: unknown, args: unknown = [], options: LinkOptions = {}): ChainLink {
  return { task, args: checkArgs(args), options, isPiped: true }
}

/**
 * Links as a package carries them, their arguments encoded now.
 * @throws {ConfigError} when one is none, or an option is wrong
 * @throws {SerializationError} when arguments cannot be encoded
 */
export function linksOf(links: readonly ChainLink[]): Link[] {
  if (!Array.isArray(links)) throw noLinks(links)
  return links.map(toLink)
}

function toLink(given: ChainLink): Link {
  if (typeof given !== 'object' || given === null || !('isPiped' in given)) throw noLinks([given])
  const { task, args, options, isPiped } = given
  refuseForeign(options, FOREIGN, 'A link')
  const choices = choicesOf(calledTask(task), options)
  const { run: _run, attempt: _attempt, ...own } = choices
  return {
    ...own,
    ...(options.taskName !== undefined && { name: options.taskName }),
    args: encode(args, 'args'),
    ...(isPiped && { isPiped }),
  }
}

function noLinks(got: unknown): ConfigError {
  return new ConfigError(
    `A chain needs a list of what link() and pipe() make, got ${show(got)}; write [link(task, [1, 2]), pipe(other)].`,
  )
}
