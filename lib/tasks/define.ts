import type { Priority } from '../brokers/broker.ts'
import { ConfigError } from '../errors.ts'
import { isName } from '../names.ts'
import { checkUnique, type UniqueRule } from './unique.ts'

/**
 * Where a task function carries its definition. A registered symbol, and no registry of tasks: two copies of this
 * package in one program then agree on what a task is.
 */
const TASK: unique symbol = Symbol.for('qcluster.task')

/** What a task, or one enqueueing of it, says of its runs; each overrides the cluster's option of the same name. */
export interface RunLimits {
  /** Seconds that a run may take. */
  readonly timeout?: number
  /** Attempts before a failing task is given up; 0: endless. */
  readonly maxAttempts?: number
  /** Seconds before a failed run is tried again. */
  readonly retry?: number
  /** By what that time grows with each further attempt: 1, the default: it stays; 2: it doubles. */
  readonly retryFactor?: number
  /** Seconds that it never grows beyond; an hour by default. */
  readonly retryCap?: number
  /** The share of it that is left to chance, so that what failed together is not tried again together; 0 by default, 1 at most. */
  readonly retryJitter?: number
  /** Seconds from the enqueueing, a delay included, after which no attempt starts any more: the task is `expired` then. */
  readonly expires?: number
}

/** What `retryIf` is told beside the error. */
export interface FailedAttempt {
  /** Which attempt has failed: 1, 2, … */
  readonly attempt: number
  readonly taskId: string
}

/** What `defineTask` was told. */
export interface TaskDefinition extends RunLimits {
  /** What producers and workers know the task by: 1 to 200 characters, none of them a control character. */
  readonly name: string
  /** Whether a success is saved; overrides what the cluster's saveLimit says. Without it nobody can wait for the result. */
  readonly save?: boolean
  /** `high`: it runs before all that is not, as soon as a worker is free; of a task enqueued by its name the caller must say so. */
  readonly priority?: Priority
  /**
   * Whether there is one task of its kind at a time: see {@link UniqueRule}; true: while it waits or runs, with these
   * arguments. Of no matter where it is a link of a chain or a piece of an iter.
   */
  readonly unique?: boolean | UniqueRule
  /**
   * Whether a failed run is tried again: false gives it up at once, a number is the seconds before the next attempt. Called
   * in the worker that the run has failed in; of a worker that died it is not asked. When it throws, true is taken.
   */
  readonly retryIf?: (error: unknown, failed: FailedAttempt) => boolean | number
}

/** A function that is a task: it is still called like any function, and can be enqueued. */
export type TaskFunction<TArgs extends unknown[] = never[], TResult = unknown> = ((
  ...args: TArgs
) => TResult) & {
  readonly [TASK]: TaskDefinition
}

/**
 * Makes a function a task. It stays the same function, and can be called directly.
 *
 * @param definition the task's name, or its name and what its runs are limited by (times in seconds)
 * @throws {ConfigError} when the definition is wrong, or the function is a task already
 *
 * @example
 * export const add = defineTask('math.add', (a: number, b: number) => a + b)
 * export const report = defineTask({ name: 'report', timeout: 60, maxAttempts: 5 }, async (month: string) => { … })
 */
export function defineTask<TArgs extends unknown[], TResult>(
  definition: string | TaskDefinition,
  fn: (...args: TArgs) => TResult,
): TaskFunction<TArgs, TResult> {
  const checked = checkDefinition(definition)
  if (typeof fn !== 'function')
    throw new ConfigError(
      `The task "${checked.name}" needs a function, got ${show(fn)}; write defineTask('${checked.name}', () => { … }).`,
    )
  refuseSecondName(fn, checked)
  return Object.defineProperty(fn, TASK, { value: checked }) as TaskFunction<TArgs, TResult>
}

/** The definition of a task, made by any copy of this package; undefined for everything else. */
export function definitionOf(value: unknown): TaskDefinition | undefined {
  return typeof value === 'function' ? (value as Partial<TaskFunction>)[TASK] : undefined
}

/** The names of what {@link RunLimits} can say. */
export const RUN_LIMITS = [
  'timeout',
  'maxAttempts',
  'retry',
  'retryFactor',
  'retryCap',
  'retryJitter',
  'expires',
] as const satisfies (keyof RunLimits)[]

/**
 * Takes the limits out of options; those that are absent or undefined stay out.
 * @param owner begins the error's sentence, such as `The task "add"`
 * @throws {ConfigError} when one is out of its range
 */
export function runLimitsOf(options: RunLimits, owner: string): RunLimits {
  const given = RUN_LIMITS.filter((limit) => options[limit] !== undefined)
  for (const limit of given) checkLimit(limit, options[limit], owner)
  return Object.fromEntries(given.map((limit) => [limit, options[limit]]))
}

/**
 * Lets a name pass that fits into one line of a log.
 * @throws {ConfigError} when it is no text, empty, longer than 200 characters, or {@link isName} says no
 */
export function checkName(what: string, name: unknown): string {
  if (isName(name)) return name
  throw new ConfigError(
    `${what} must be 1 to 200 characters, none of them invisible or damaged, got ${show(name)}; choose another.`,
  )
}

/**
 * Lets true and false pass.
 * @throws {ConfigError} for everything else
 */
export function checkFlag(what: string, value: unknown): void {
  if (typeof value !== 'boolean')
    throw new ConfigError(`${what} must be true or false, got ${show(value)}; correct or remove it.`)
}

/**
 * Lets priorities pass.
 * @throws {ConfigError} for everything else
 */
export function checkPriority(what: string, value: unknown): void {
  if (value !== 'high' && value !== 'normal')
    throw new ConfigError(`${what} must be "high" or "normal", got ${show(value)}; correct or remove it.`)
}

/** A value of any kind, short enough for a message. */
export function show(value: unknown): string {
  if (typeof value === 'function') return value.name ? `the function ${value.name}` : 'a function'
  const text = typeof value === 'object' && value !== null ? kindOf(value) : print(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const LONGEST = 2_147_483

const RANGES: Record<keyof RunLimits, { expected: string; has: (value: number) => boolean }> = {
  timeout: { expected: 'a number of seconds above 0', has: (value) => value > 0 && value <= LONGEST },
  maxAttempts: { expected: 'a whole number, 0 (endless) or more', has: isCount },
  retry: { expected: 'a number of seconds, 0 or more', has: (value) => value >= 0 && value <= LONGEST },
  retryFactor: { expected: 'a number from 1 to 100', has: (value) => value >= 1 && value <= 100 },
  retryCap: { expected: 'a number of seconds, 0 or more', has: (value) => value >= 0 && value <= LONGEST },
  retryJitter: { expected: 'a number from 0 to 1', has: (value) => value >= 0 && value <= 1 },
  expires: { expected: 'a number of seconds above 0', has: (value) => value > 0 && Number.isFinite(value) },
}

function checkDefinition(definition: string | TaskDefinition): TaskDefinition {
  const { name, save, priority, unique, retryIf, ...limits } = asObject(definition)
  checkName('The name of a task', name)
  const owner = `The task "${name}"`
  refuseUnknown(limits, owner)
  if (save !== undefined) checkFlag(`${owner}: save`, save)
  if (priority !== undefined) checkPriority(`${owner}: priority`, priority)
  if (unique !== undefined) checkUnique(`${owner}: unique`, unique)
  if (retryIf !== undefined) checkFunction(`${owner}: retryIf`, retryIf)
  return Object.freeze({
    name,
    ...runLimitsOf(limits, owner),
    ...(save !== undefined && { save }),
    ...(priority !== undefined && { priority }),
    ...(unique !== undefined && { unique }),
    ...(retryIf !== undefined && { retryIf }),
  })
}

function asObject(definition: string | TaskDefinition): TaskDefinition {
  return typeof definition === 'object' && definition ? definition : { name: definition as string }
}

function refuseUnknown(options: object, owner: string): void {
  const unknown = Object.keys(options).find((option) => !(RUN_LIMITS as readonly string[]).includes(option))
  if (unknown !== undefined)
    throw new ConfigError(
      `${owner} has no option "${unknown}"; it can have name, save, priority, unique, retryIf, ${RUN_LIMITS.join(', ')}. Correct or remove it.`,
    )
}

/** A worker finds a task by the one name on its function, so a second would make the first unknown. */
function refuseSecondName(fn: object, { name }: TaskDefinition): void {
  const known = definitionOf(fn)
  if (known !== undefined)
    throw new ConfigError(
      `The function of the task "${name}" is the task "${known.name}" already; wrap it: defineTask('${name}', (...args) => fn(...args)).`,
    )
}

function checkLimit(limit: keyof RunLimits, value: unknown, owner: string): void {
  const { expected, has } = RANGES[limit]
  if (typeof value === 'number' && has(value)) return
  throw new ConfigError(`${owner}: ${limit} must be ${expected}, got ${show(value)}; correct or remove it.`)
}

function checkFunction(what: string, value: unknown): void {
  if (typeof value !== 'function')
    throw new ConfigError(`${what} must be a function, got ${show(value)}; correct or remove it.`)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function kindOf(value: object): string {
  return Array.isArray(value) ? 'a list' : 'an object'
}

function print(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
