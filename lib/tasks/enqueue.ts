import type { Broker, Priority } from '../brokers/broker.ts'
import { type Client, defaultClient, type Identity, type Inlining, type Submission } from '../client.ts'
import { ConfigError } from '../errors.ts'
import { loadIds, taskName as nameOf, nearestName } from '../names.ts'
import type { Link, TaskHeader } from '../package.ts'
import type { Holder } from '../stores/uniques.ts'
import { encode, pack } from './codec.ts'
import { pieceOf } from './collect.ts'
import {
  checkFlag,
  checkName,
  checkPriority,
  definitionOf,
  RUN_LIMITS,
  type RunLimits,
  runLimitsOf,
  show,
  type TaskDefinition,
  type TaskFunction,
} from './define.ts'
import { type ChainLink, linksOf } from './link.ts'
import { Task, type TaskRecord } from './results.ts'
import { checkUnique, enqueueUnique, type UniqueRule } from './unique.ts'

/** A task that is told the record of another one when that has its last outcome; by its function, or by its name. */
export type Hook<TResult = unknown> = string | TaskFunction<[record: TaskRecord<TResult>], unknown>

/** What one enqueueing can say. Its limits win over the task's own, and these over the cluster's. */
export interface EnqueueOptions<TResult = unknown> extends RunLimits {
  /** A label to find tasks by: 1 to 200 characters. */
  readonly group?: string
  /** The task's human name instead of four words: 1 to 200 characters. */
  readonly taskName?: string
  /** Whether a success is saved; without it a wait for the result has no end. Overrides the task's own. */
  readonly save?: boolean
  /** `high`: before all that is not, as soon as a worker is free. Overrides the task's own. */
  readonly priority?: Priority
  /**
   * Whether it is enqueued only if no other task of its kind waits or runs; else the handle is that one's, and its `isNew` is
   * false. Over all machines that share the store. Overrides the task's own.
   */
  readonly unique?: boolean | UniqueRule
  /** A task of its own that runs when this one has its last outcome, whatever that is: once for each. */
  readonly hook?: Hook<TResult>
  /** True: a failure is acknowledged at once, neither tried again nor a dead letter. Overrides the cluster's `ackFailures`. */
  readonly ackFailure?: boolean
  /** Seconds that its outcome is kept, whatever the cluster's saveLimit; true: 300; false or 0: as saveLimit says. */
  readonly cached?: boolean | number
  /**
   * So many tasks of its `group` become one, as in {@link asyncIter}, in the order of their ids; to be had by the name of the
   * group: `result(group)`. Each says it, and a group does it once.
   */
  readonly iterCount?: number
  /** Seconds that what they become is kept; true: 300. */
  readonly iterCached?: boolean | number
  /** Links that follow it, as in {@link asyncChain}. */
  readonly chain?: readonly ChainLink[]
  /**
   * True: it runs here and now, without broker and cluster, and what it throws is thrown. Its hook and its links run too; their
   * outcomes are saved as a cluster saves them, and nothing is tried again. Overrides the option `sync`.
   */
  readonly sync?: boolean
  /** Seconds before it may start. */
  readonly delay?: number
  /** When it may start; instead of `delay`. A time that has passed is now. */
  readonly runAt?: Date
  /** The queue to enqueue to, by the name of the clusters that serve it; the client's own when absent. */
  readonly cluster?: string
  /** Who enqueues; the default client when absent. */
  readonly client?: Client
}

/** Arguments that fit a task, and options; both may be left out when the task can be called with nothing. */
export type EnqueueParameters<TArgs extends unknown[], TResult = unknown> = [] extends TArgs
  ? [args?: Readonly<TArgs>, options?: EnqueueOptions<TResult>]
  : [args: Readonly<TArgs>, options?: EnqueueOptions<TResult>]

/**
 * Enqueues a task. Its arguments are encoded now; changing them afterwards changes nothing.
 *
 * @param task what `defineTask` made, or the name of a task: its own, or `<file name without extension>.<export name>`
 * @param args a list of arguments, when the task takes any
 * @returns the task, once the broker has confirmed that it keeps it
 * @throws {SerializationError} when the arguments cannot be encoded, or are too large; nothing was sent
 * @throws {ConfigError} when the task, an option or the configuration is wrong; nothing was sent
 * @throws {BrokerError} when the broker did not confirm: it may have the task, or not
 * @throws what the task throws, where it is `sync`
 *
 * @example
 * const task = await asyncTask(add, [2, 3], { group: 'sums' })
 * console.log(await task.result())
 */
export function asyncTask<TResult = unknown>(
  task: string,
  args?: readonly unknown[],
  options?: EnqueueOptions<TResult>,
): Promise<Task<TResult>>
// The last one: its errors are those that the compiler shows.
export function asyncTask<TArgs extends unknown[], TResult>(
  task: TaskFunction<TArgs, TResult>,
  ...parameters: EnqueueParameters<TArgs, Awaited<TResult>>
): Promise<Task<Awaited<TResult>>>
export async function asyncTask(
  task: unknown,
  args: unknown = [],
  options: EnqueueOptions = {},
): Promise<Task> {
  const [enqueued] = await enqueueAll(task, [args], options)
  return enqueued as Task
}

/** What many tasks of one kind can be told; they share it. A name would be the name of all. */
export type BulkOptions<TResult = unknown> = Omit<EnqueueOptions<TResult>, 'taskName' | 'chain'>

/**
 * Enqueues a task many times, in one go: the embedded broker takes all or none. Ten thousand are no trouble.
 *
 * @param task as {@link asyncTask} takes it
 * @param argsOfEach a list of arguments for each
 * @returns the tasks in the same order, once the broker has confirmed that it keeps them all
 * @throws what {@link asyncTask} throws; RabbitMQ may keep some of them then
 *
 * @example
 * const tasks = await asyncTasks(add, [[1, 2], [3, 4]], { group: 'sums' })
 */
export function asyncTasks<TResult = unknown>(
  task: string,
  argsOfEach: readonly (readonly unknown[])[],
  options?: BulkOptions<TResult>,
): Promise<Task<TResult>[]>
export function asyncTasks<TArgs extends unknown[], TResult>(
  task: TaskFunction<TArgs, TResult>,
  argsOfEach: readonly Readonly<TArgs>[],
  options?: BulkOptions<Awaited<TResult>>,
): Promise<Task<Awaited<TResult>>[]>
export async function asyncTasks(
  task: unknown,
  argsOfEach: readonly unknown[],
  options: BulkOptions = {},
): Promise<Task[]> {
  if (!Array.isArray(argsOfEach))
    throw new ConfigError(
      `asyncTasks needs a list with a list of arguments for each task, got ${show(argsOfEach)}; write [[1, 2], [3, 4]].`,
    )
  return enqueueAll(task, argsOfEach, options)
}

/**
 * How many tasks wait for a run, those that will be tried again too.
 * @throws {BrokerError} when the broker cannot be reached
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#django_q.tasks.queue_size
 */
export async function queueSize({
  cluster,
  client = defaultClient(),
}: Pick<EnqueueOptions, 'cluster' | 'client'> = {}): Promise<number> {
  if (cluster !== undefined) checkName('queueSize(): cluster', cluster)
  return client.queueSize(cluster)
}

/** Whether nothing waits in our queue and nothing is handed out. A retry goes from the one to the other, so one look is not enough. */
export async function isEmpty(broker: Broker, { settings: { name } }: Identity): Promise<boolean> {
  const looks = [() => broker.queueSize(name), () => broker.lockSize(name), () => broker.queueSize(name)]
  for (const look of [...looks, ...looks]) if ((await look()) > 0) return false
  return true
}

/** What a header says before its task is enqueued. */
export type Choices = Omit<TaskHeader, 'id' | 'name' | 'enqueuedAt'>

/** Kept, because looking up a package that is loaded costs as much as signing. */
let ids: ReturnType<typeof loadIds> | undefined

const OPTIONS = [
  ...RUN_LIMITS,
  ...['group', 'taskName', 'save', 'hook', 'ackFailure', 'cached', 'chain', 'priority', 'unique', 'delay'],
  ...['runAt', 'iterCount', 'iterCached', 'sync', 'cluster', 'client'],
] as const satisfies string[]

async function enqueueAll(
  task: unknown,
  argsOfEach: readonly unknown[],
  options: EnqueueOptions,
): Promise<Task[]> {
  const lists = argsOfEach.map(checkArgs)
  const definition = calledTask(task)
  const rule = ruleOf(definition, options)
  const choices = { ...choicesOf(definition, options), ...(rule && { unique: true as const }) }
  const { client = defaultClient() } = options
  const delay = delayOf(choices.func, options, client.now())
  const submissions = lists.map((list) => submit(client, choices, list, { ...options, delay }))
  const holders = await handOver(client, submissions, rule, inliningOf(options, task))
  return (await Promise.all(submissions)).map(({ header }, i) => new Task(client, header, holders?.[i]))
}

/**
 * Whether a task is to be the only one of its kind, and what makes it so.
 * @throws {ConfigError} when the rule is none
 */
export function ruleOf(
  definition: TaskDefinition,
  { unique = definition.unique }: EnqueueOptions,
): UniqueRule | undefined {
  if (unique !== undefined) checkUnique(`asyncTask("${definition.name}"): unique`, unique)
  return unique === true ? {} : unique || undefined
}

/** Tells which tasks there are now where each is to be the only one of its kind. */
async function handOver(
  client: Client,
  submissions: readonly Promise<Submission>[],
  rule: UniqueRule | undefined,
  inlining: Inlining,
): Promise<readonly Holder[] | undefined> {
  if (rule) return enqueueUnique(client, await Promise.all(submissions), rule, inlining)
  await client.enqueue(submissions, inlining)
  return undefined
}

/**
 * Whether these tasks run here, and by which functions: those that were given as such, and those of hooks and links.
 * @param tasks the functions or names of tasks
 */
export function inliningOf(
  { sync, hook, chain = [] }: Pick<EnqueueOptions, 'sync' | 'chain'> & { readonly hook?: unknown },
  ...tasks: readonly unknown[]
): Inlining {
  const given = [...tasks, hook, ...chain.flatMap(({ task, options }) => [task, options.hook])]
  const functions = given.filter((one): one is TaskFunction => definitionOf(one) !== undefined)
  return { functions, ...(sync !== undefined && { sync }) }
}

/**
 * What is said of a task that is called by its function or its name.
 * @throws {ConfigError} when it is none
 */
export function calledTask(task: unknown): TaskDefinition {
  if (typeof task === 'string') return { name: checkName('The name of a task', task) }
  const definition = definitionOf(task)
  if (definition !== undefined) return definition
  throw typeof task === 'function' ? plainFunction(task.name || 'task') : noTask(task)
}

/**
 * What the header of a task says by its definition and by options.
 * @throws {ConfigError} when an option is wrong
 */
export function choicesOf(definition: TaskDefinition, options: EnqueueOptions): Choices {
  const { name: func, unique: _unique, retryIf: _retryIf, ...own } = definition
  const owner = `asyncTask("${func}")`
  refuseUnknown(options, owner)
  const { group, taskName, cluster, save, priority, hook, ackFailure, cached, sync } = options
  for (const [option, value] of Object.entries({ group, taskName, cluster }))
    if (value !== undefined) checkName(`${owner}: ${option}`, value)
  if (save !== undefined) checkFlag(`${owner}: save`, save)
  if (priority !== undefined) checkPriority(`${owner}: priority`, priority)
  if (ackFailure !== undefined) checkFlag(`${owner}: ackFailure`, ackFailure)
  if (sync !== undefined) checkFlag(`${owner}: sync`, sync)
  const timeToLive = cachedOf(`${owner}: cached`, cached)
  if (save === false && timeToLive)
    throw new ConfigError(`${owner}: what is not saved cannot be cached; remove save: false, or cached.`)
  const isSaved = timeToLive ? true : save
  return {
    run: 1,
    attempt: 1,
    func,
    ...own,
    ...runLimitsOf(options, owner),
    ...(group !== undefined && { group }),
    ...(isSaved !== undefined && { save: isSaved }),
    ...(priority !== undefined && { priority }),
    ...(hook !== undefined && { hook: hookOf(hook) }),
    ...(ackFailure !== undefined && { ackFailure }),
    ...(timeToLive !== undefined && { cached: timeToLive }),
    ...pieceOf(owner, options),
  }
}

/**
 * Refuses what the compiler refuses, for those who do not ask it: an option that has no meaning here.
 * @param owner begins the error's sentence, such as `A link`
 * @throws {ConfigError} when one of these is given
 */
export function refuseForeign(
  options: object,
  foreign: readonly (keyof EnqueueOptions)[],
  owner: string,
): void {
  const given = foreign.find((name) => (options as EnqueueOptions)[name] !== undefined)
  if (given !== undefined)
    throw new ConfigError(`${owner} cannot have the option "${given}" for itself; remove it.`)
}

/**
 * The name by which a hook is called.
 * @throws {ConfigError} when it is no task
 */
export function hookOf(hook: unknown): string {
  return calledTask(hook).name
}

/**
 * Seconds that an outcome is kept; 0 where saveLimit says it, undefined where the cluster does.
 * @throws {ConfigError} when it is no time to live
 */
export function cachedOf(what: string, cached: unknown): number | undefined {
  if (cached === undefined) return undefined
  if (cached === false) return 0
  if (cached === true) return CACHED
  if (typeof cached === 'number' && cached >= 0 && Number.isFinite(cached)) return cached
  throw new ConfigError(
    `${what} must be true, false or a number of seconds, 0 or more, got ${show(cached)}; correct or remove it.`,
  )
}

/** Seconds. As long as Django's cache keeps what it is given no time for. */
const CACHED = 300

/** A new task's id. */
export async function newTaskId(): Promise<string> {
  ids ??= loadIds()
  return (await ids)()
}

/** Encodes before anything else happens: the caller may change its values as soon as it has called. */
export async function submit(
  client: Client,
  choices: Choices,
  args: readonly unknown[],
  { id: given, taskName, cluster, delay = 0, chain = [] }: SubmitOptions,
): Promise<Submission> {
  ids ??= loadIds()
  const enqueuedAt = client.now()
  const encoded = encode(args, 'args')
  const links = linksOf(chain)
  const [newId, settings] = await Promise.all([ids, client.settings()])
  const id = given ?? newId()
  const rest = links.map((link) => packed(link, settings))
  const header = {
    ...{ id, name: taskName ?? nameOf(id), ...choices, enqueuedAt },
    ...(rest.length > 0 && { chain: { id, index: 0, rest } }),
  }
  return {
    header,
    args: pack(encoded, `The arguments of "${choices.func}"`, settings),
    ...(cluster !== undefined && { queue: cluster }),
    ...(delay > 0 && { delay: delay * 1000 }),
  }
}

/** Of the options of one enqueueing those that stand beside its header, and the id where it is not to be a new one. */
type SubmitOptions = Pick<EnqueueOptions, 'taskName' | 'cluster' | 'delay' | 'chain'> & {
  readonly id?: string
}

/** A link with its arguments ready to be sent. */
export function packed(link: Link, settings: Parameters<typeof pack>[2]): Link {
  return { ...link, args: pack(link.args, `The arguments of "${link.func}"`, settings) }
}

/** Seconds before it may start. */
function delayOf(func: string, { delay, runAt, sync }: EnqueueOptions, now: number): number {
  const owner = `asyncTask("${func}")`
  if (sync && (delay ?? runAt) !== undefined)
    throw new ConfigError(
      `${owner}: what is sync runs now; remove sync, or ${delay === undefined ? 'runAt' : 'delay'}.`,
    )
  if (delay !== undefined && runAt !== undefined)
    throw new ConfigError(`${owner}: delay and runAt say the same thing; give one of them.`)
  if (runAt !== undefined && !(runAt instanceof Date && Number.isFinite(runAt.getTime())))
    throw new ConfigError(`${owner}: runAt must be a valid Date, got ${show(runAt)}; correct or remove it.`)
  const seconds = runAt ? Math.max(0, runAt.getTime() - now) / 1000 : (delay ?? 0)
  if (typeof seconds === 'number' && seconds >= 0 && seconds <= LONGEST_DELAY) return seconds
  throw new ConfigError(
    `${owner}: a task can be delayed by 0 seconds to a year, got ${show(delay ?? runAt)}; correct or remove it.`,
  )
}

/** Seconds: a year, which the ladder of delays in RabbitMQ is just high enough for. */
const LONGEST_DELAY = 366 * 24 * 3600

/**
 * Lets options pass that there are.
 * @throws {ConfigError} for all others, with the nearest one
 */
export function refuseUnknown(options: object, owner: string, known: readonly string[] = OPTIONS): void {
  const unknown = Object.keys(options).find((option) => !known.includes(option))
  if (unknown !== undefined)
    throw new ConfigError(
      `${owner} has no option "${unknown}"; the nearest one is ${nearestName(unknown, known)}. Correct or remove it.`,
    )
}

function plainFunction(name: string): ConfigError {
  return new ConfigError(
    `asyncTask cannot tell which task the function ${name} is; make it one with defineTask('${name}', …), or give its name as a text: '<module>.${name}'.`,
  )
}

function noTask(task: unknown): ConfigError {
  return new ConfigError(
    `asyncTask needs what defineTask made, or the name of a task, got ${show(task)}; give one of them.`,
  )
}

/**
 * Lets a list of arguments pass.
 * @throws {ConfigError} for everything else
 */
export function checkArgs(args: unknown): readonly unknown[] {
  if (Array.isArray(args)) return args
  throw new ConfigError(`The arguments of a task must be a list, got ${show(args)}; write [${show(args)}].`)
}
