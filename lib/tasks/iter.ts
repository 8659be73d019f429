/**
 * One task for each item of a list, and one result of all. The pieces are collected by the clusters that run them.
 * @see https://django-q2.readthedocs.io/en/master/iterable.html
 */
import { type Client, defaultClient, type Submission } from '../client.ts'
import { ConfigError } from '../errors.ts'
import { taskName as nameOf, pieceId } from '../names.ts'
import type { IterHeader } from '../package.ts'
import { encode } from './codec.ts'
import { PIECE } from './collect.ts'
import { show, type TaskFunction } from './define.ts'
import {
  asyncTask,
  type Choices,
  calledTask,
  choicesOf,
  type EnqueueOptions,
  inliningOf,
  newTaskId,
  refuseForeign,
  submit,
} from './enqueue.ts'
import { Task, type TaskRecord, toRecord, type WaitOptions } from './results.ts'

const FOREIGN = [
  'save',
  'chain',
  'unique',
  'delay',
  'runAt',
  'iterCount',
  'iterCached',
] as const satisfies readonly (keyof EnqueueOptions)[]

/** What an iter can say: `group`, `taskName`, `cached` and `hook` are of the one task that its pieces become. */
export type IterOptions<TResult = unknown> = Omit<EnqueueOptions<TResult[]>, (typeof FOREIGN)[number]>

/** The arguments of one piece: a list of them, or the only one itself where that is no list. */
export type Item<TArgs extends unknown[]> = Readonly<TArgs> | Only<TArgs>

/** The argument of a task that can be called with one; a list must stand in a list. */
type Only<TArgs extends unknown[]> = [Exclude<TArgs[0], undefined>] extends TArgs
  ? Exclude<TArgs[0], readonly unknown[] | undefined>
  : never

/**
 * Enqueues one task for each item. When the last of them has its last outcome, all become one task, whose result is the list
 * of theirs in the order of the items; where one failed, it fails with what failed first, and `fetchGroup(task.id)` tells
 * which they are.
 *
 * @param items a list of arguments for each piece, or the argument itself
 * @returns the task that the pieces become
 * @throws what {@link asyncTask} throws
 *
 * @example
 * const squares = await asyncIter(square, [1, 2, 3])
 * console.log(await squares.result()) // [1, 4, 9]
 */
export function asyncIter<TResult = unknown>(
  task: string,
  items: Iterable<unknown>,
  options?: IterOptions<TResult>,
): Promise<Task<TResult[]>>
export function asyncIter<TArgs extends unknown[], TResult>(
  task: TaskFunction<TArgs, TResult>,
  items: Iterable<NoInfer<Item<TArgs>>>,
  options?: IterOptions<Awaited<TResult>>,
): Promise<Task<Awaited<TResult>[]>>
export async function asyncIter(
  task: unknown,
  items: Iterable<unknown>,
  options: IterOptions = {},
): Promise<Task<unknown[]>> {
  const lists = [...checkItems(items)].map(toArgs)
  const definition = calledTask(task)
  refuseForeign(options, FOREIGN, 'An iter')
  const { hook, group, cached, ...shared } = choicesOf(definition, options as EnqueueOptions)
  const { client = defaultClient(), cluster, taskName } = options
  const id = await newTaskId()
  const whole: IterHeader = {
    ...{ id, count: lists.length, enqueuedAt: client.now(), name: taskName ?? nameOf(id) },
    ...(group !== undefined && { group }),
    ...(hook !== undefined && { hook }),
    ...(cached !== undefined && { cached }),
  }
  if (lists.length === 0) await keepEmpty(client, whole, definition.name, options)
  else await client.enqueue(pieces(client, whole, shared, lists, cluster), inliningOf(options, task))
  return new Task(client, { ...whole, func: definition.name })
}

/** An iter that is put together item by item. */
export class Iter<TArgs extends unknown[], TResult> {
  readonly #task: TaskFunction<TArgs, TResult>
  readonly #options: IterOptions<Awaited<TResult>>
  readonly #items: Item<TArgs>[]
  #started: Task<Awaited<TResult>[]> | undefined

  constructor(
    task: TaskFunction<TArgs, TResult>,
    items: Iterable<Item<TArgs>> = [],
    options: IterOptions<Awaited<TResult>> = {},
  ) {
    this.#task = task
    this.#options = options
    this.#items = [...items]
  }

  /** The id of the task that the pieces become; undefined before {@link run}. */
  get id(): string | undefined {
    return this.#started?.id
  }

  /** Adds an item; returns how many there are. What was started before is let go of. */
  append(...args: Readonly<TArgs>): number {
    this.#started = undefined
    return this.#items.push(args)
  }

  /** How many items there are. */
  length(): number {
    return this.#items.length
  }

  /** Enqueues a task for each item: see {@link asyncIter}. Returns the id of the one that they become. */
  async run(): Promise<string> {
    this.#started = await asyncIter(this.#task, this.#items, this.#options)
    return this.#started.id
  }

  /** Waits for the results in the order of the items; undefined before {@link run}. Throws as {@link Task.result} does. */
  async result(options?: WaitOptions): Promise<Awaited<TResult>[] | undefined> {
    return this.#started?.result(options)
  }

  /** The record of what the pieces have become; undefined before {@link run}, or where it is not there in time. */
  async fetch(options?: WaitOptions): Promise<TaskRecord<Awaited<TResult>[]> | undefined> {
    return this.#started?.fetch(options)
  }
}

function pieces(
  client: Client,
  whole: IterHeader,
  shared: Omit<Choices, 'hook' | 'group' | 'cached'>,
  lists: readonly (readonly unknown[])[],
  cluster: string | undefined,
): Promise<Submission>[] {
  const choices: Choices = { ...shared, ...PIECE, group: whole.id, iter: whole }
  const place = cluster === undefined ? {} : { cluster }
  return lists.map((args, index) => submit(client, choices, args, { ...place, id: pieceId(whole.id, index) }))
}

/** No piece ever ends, so nobody else would say so. */
async function keepEmpty(
  client: Client,
  { id, name, group, cached: own, enqueuedAt }: IterHeader,
  func: string,
  { hook, cluster, sync }: IterOptions,
): Promise<void> {
  const settings = await client.settings()
  const [queue, cached] = [cluster ?? settings.name, own ?? settings.cached]
  const outcome = {
    ...{ taskId: id, run: 1, attempt: 1, name, func, args: encode([]), cluster: queue },
    ...(group !== undefined && { group }),
    ...{ enqueuedAt, startedAt: enqueuedAt, stoppedAt: enqueuedAt, success: true, result: encode([]) },
    ...(cached > 0 && { expiresAt: enqueuedAt + cached * 1000 }),
    fate: 'ack' as const,
  }
  await client.atStore((store) => store.save([outcome]))
  if (hook !== undefined)
    await asyncTask(hook as string, [toRecord({ ...outcome, final: true })], {
      ...{ client, cluster: queue, ...(sync !== undefined && { sync }) },
    })
}

function toArgs(item: unknown): readonly unknown[] {
  return Array.isArray(item) ? item : [item]
}

function checkItems(items: unknown): Iterable<unknown> {
  if (typeof items === 'object' && items !== null && Symbol.iterator in items)
    return items as Iterable<unknown>
  throw new ConfigError(`An iter needs a list of items, got ${show(items)}; write [1, 2, 3].`)
}
