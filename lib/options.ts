/**
 * The one table of options: name, type, unit, default and a sentence for each, and the words for what is wrong with one.
 * It loads zod, so lib/config.ts imports it on demand; types may be taken from it freely.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { isName, nearestName } from './names.ts'

/** The levels of the log, and the names that other systems give them. */
const LEVELS = {
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  error: 'error',
  fatal: 'fatal',
  silent: 'silent',
  warning: 'warn',
  critical: 'fatal',
  DEBUG: 'debug',
  INFO: 'info',
  WARN: 'warn',
  WARNING: 'warn',
  ERROR: 'error',
  CRITICAL: 'fatal',
  FATAL: 'fatal',
} as const

/** What can have a saveLimit of its own. */
const OWNERS = ['group', 'name', 'func'] as const

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const LONGEST = 2_147_483

/** What an option's value is, for a flag's placeholder. */
type Kind = 'number' | 'seconds' | 'bytes' | 'flag' | 'text' | 'folder' | 'modules...' | 'clusters'

/** Gives a type its kind, and the words that complete "expected …". */
const expects = <T extends z.ZodType>(kind: Kind, words: string, type: T): T =>
  type.meta({ kind, expects: words })

const wholeNumber = (least: number) =>
  expects('number', `a whole number of at least ${least}`, z.int().min(least))
const seconds = () => expects('seconds', 'a number of seconds, 0 or more', z.number().min(0).max(LONGEST))
const someSeconds = () =>
  expects('seconds', 'a number of seconds above 0', z.number().positive().max(LONGEST))
const flag = () => expects('flag', 'true or false', z.boolean())
const folder = () => expects('folder', 'a text that is not empty', z.string().min(1))
/** The same for a type that has few values, which are given where people are to choose from them. */
const choice = <T extends z.ZodType>(values: readonly string[], type: T, orNull = ''): T =>
  expects('text', `one of ${values.join(', ')}${orNull}`, type).meta({ choices: values }) as T
const oneOf = <const T extends readonly [string, ...string[]]>(...values: T) => choice(values, z.enum(values))

const clusterName = expects(
  'text',
  'a name of 1 to 100 characters, none of them invisible or damaged',
  z.string().refine((name) => isName(name, 100)),
)
const secretKey = expects(
  'text',
  'a text that is not empty, or a list of them',
  z.union([z.string().min(1), z.array(z.string().min(1)).min(1).readonly()]),
)
/** It may hold a password, so it is shown in no message. */
const brokerUrl = z.string().regex(/^amqps?:\/\//)
const broker = expects(
  'text',
  'a URL such as amqp://user:password@host:5672/vhost or amqps://…, a list of them, or null for the embedded one',
  z.union([brokerUrl, z.array(brokerUrl).min(1).readonly()]).nullable(),
)
const store = expects(
  'text',
  'a URL such as postgres://user:password@host:5432/database, or null for the embedded one',
  z
    .string()
    .regex(/^postgres(ql)?:\/\//)
    .nullable(),
)
const logLevel = choice(
  [...new Set(Object.values(LEVELS))],
  z.enum(Object.keys(LEVELS) as [keyof typeof LEVELS]).transform((name) => LEVELS[name]),
)

/** What an alternative cluster changes: any option but its name, which is its key. */
export type Overrides = Readonly<Partial<Omit<z.input<typeof ownOptions>, 'name'>>>

const ownOptions = z.object({
  name: clusterName
    .default('default')
    .describe('The queue that this cluster serves and that producers enqueue to; part of every signature.'),
  tasks: expects('modules...', 'a list of module paths', z.array(z.string().min(1)).readonly())
    .default([])
    .describe(
      'The modules that export the tasks; when empty, `tasks.ts`, `tasks.js` or `tasks.mjs` is looked for.',
    ),
  workers: wholeNumber(1)
    .default(() => availableParallelism())
    .describe('Worker processes; by default as many as this machine has processors for us.'),
  concurrency: wholeNumber(1).default(1).describe('Tasks that one worker runs at a time.'),
  timeout: expects(
    'seconds',
    'a number of seconds above 0, or null for no limit',
    z.number().positive().max(LONGEST).nullable(),
  )
    .default(null)
    .describe('Seconds that a run may take; null: as long as it needs. A task can have its own.'),
  timeoutGrace: seconds()
    .default(3)
    .describe(
      'Seconds that a run gets after its timeout to heed its abort signal, before its worker is killed.',
    ),
  recycle: wholeNumber(0)
    .default(0)
    .describe(
      'Tasks after which a worker is replaced, its replacement being there first; 0: however many it has run.',
    ),
  maxRss: expects(
    'number',
    'a whole number of kilobytes above 0, or null for no limit',
    z.int().min(1).nullable(),
  )
    .default(null)
    .describe(
      'Kilobytes of resident memory with which a worker that has run a task is replaced; null: however much it has.',
    ),
  maxAge: expects(
    'seconds',
    'a number of seconds above 0, or null for no limit',
    z.number().positive().max(LONGEST).nullable(),
  )
    .default(null)
    .describe('Seconds after which a worker is replaced; null: however old it is.'),
  cpuAffinity: wholeNumber(0)
    .default(0)
    .describe(
      'Processors of each worker, dealt out in turn (Linux, by `taskset`); 0, or all of them and more: the system decides.',
    ),
  nice: expects('number', 'a whole number from -20 to 19', z.int().min(-20).max(19))
    .default(0)
    .describe('How far workers stand back for other processes: 19 most; below 0 needs privileges.'),
  maxHeap: expects(
    'number',
    'a whole number of megabytes, 16 or more, or null for what Node takes',
    z.int().min(16).nullable(),
  )
    .default(null)
    .describe(
      'Megabytes of JavaScript heap with which a worker dies of its task; null: what Node takes by itself.',
    ),
  queueLimit: wholeNumber(1)
    .default(1000)
    .describe('The most deliveries the cluster holds in memory; never under workers × concurrency + 1.'),
  grace: seconds().default(25).describe('Seconds that a stop may take before running tasks are aborted.'),
  guardCycle: expects('seconds', 'a number of seconds above 0 and below 60', z.number().positive().lt(60))
    .default(0.5)
    .describe(
      'Seconds between two looks of the sentinel at the clocks of running tasks, and between two stats.',
    ),
  poll: someSeconds()
    .default(0.2)
    .describe('Seconds between two looks at a broker that cannot say when there is something new.'),
  maxAttempts: wholeNumber(0)
    .default(3)
    .describe('Attempts before a failing task is given up; 0: endless. A task can have its own.'),
  maxDeliveries: wholeNumber(1)
    .default(50)
    .describe('Deliveries without an outcome before a task is given up: it seems to end whatever takes it.'),
  retry: seconds()
    .default(60)
    .describe('Seconds before a failed task is tried again. A task can have its own.'),
  ackFailures: flag()
    .default(false)
    .describe('Give a task up at its first failure, and make no dead letter of it. A task can have its own.'),
  cached: seconds()
    .default(0)
    .describe(
      'Seconds that an outcome is kept, whatever saveLimit says; 0: as saveLimit says. A task can have its own.',
    ),
  saveLimit: expects('number', 'a whole number: -1 (save no success), 0 (keep all) or more', z.int().min(-1))
    .default(250)
    .describe(
      'The newest successes of the queue that are kept; 0: all, -1: none is saved. Failures are always kept.',
    ),
  saveLimitPer: choice(OWNERS, z.enum(OWNERS).nullable(), ', or null for the whole queue')
    .default(null)
    .describe('Gives each `group`, `name` or `func` a saveLimit of its own; null: the queue has one.'),
  saveFor: seconds()
    .default(60)
    .describe(
      'Seconds that a success is kept at least, whatever saveLimit says, so that whoever waits for it finds it.',
    ),
  broker: broker
    .default(null)
    .describe(
      'Where RabbitMQ is: one URL, or those of several servers (with commas between them where it is a text), tried in turn; null: the embedded broker in the data folder.',
    ),
  store: store
    .default(null)
    .describe('Where PostgreSQL keeps the results; null: the embedded store in the data folder.'),
  enqueueTimeout: someSeconds()
    .default(10)
    .describe(
      'Seconds until a task that RabbitMQ has not confirmed is refused, reconnecting included; of one behind others, from the last that it has confirmed.',
    ),
  secretKey: secretKey
    .optional()
    .describe(
      'Signs packages; of a list the first one signs and all are accepted. By default `secret.key` in the data folder, made when missing.',
    ),
  dataDir: folder()
    .default('.qcluster')
    .describe(
      'The folder of queue, results and secret key: beside the config file, else in the working directory.',
    ),
  durability: oneOf('normal', 'full')
    .default('normal')
    .describe(
      'What is saved in SQLite survives the death of every process; `full`: a power cut too, and slower.',
    ),
  handleSignals: flag()
    .default(false)
    .describe('Stop at SIGTERM, SIGINT and SIGHUP, at once at the second, by force at the third.'),
  runOnce: flag()
    .default(false)
    .describe('Stop by itself when the queue is empty and everything is settled.'),
  sync: flag()
    .default(false)
    .describe(
      'Run every task where it is enqueued, before `asyncTask` returns, and throw what it throws; for tests and scripts.',
    ),
  compress: flag()
    .default(false)
    .describe('Deflate arguments and results of 1,024 characters or more, where that makes them smaller.'),
  maxPayload: expects(
    'bytes',
    'a whole number of bytes from 1 to 100,000,000',
    // Arguments and a result share one frame between our processes, whose quotes may double them.
    z.int().min(1).max(100_000_000),
  )
    .default(16_000_000)
    .describe(
      'The most bytes that the arguments of a task, or its result, may take as they are sent and kept.',
    ),
  logLevel: logLevel.default('info').describe('The least level that is logged.'),
  logFormat: oneOf('text', 'json').default('text').describe('Lines for people, or one JSON object a line.'),
  inspectPayloads: flag()
    .default(false)
    .describe(
      'Show whoever inspects the machines also their contexts, results, messages of errors and the fields of events.',
    ),
  scheduler: flag().default(true).describe('Turn due schedules into tasks.'),
  maxRestarts: wholeNumber(0)
    .default(5)
    .describe(
      'Deaths of processes that no task explains, within restartWindow, before the cluster gives up.',
    ),
  restartWindow: someSeconds().default(30).describe('Seconds within which maxRestarts counts.'),
})

/** Every option a user can give. */
export const optionTable = ownOptions.extend({
  altClusters: expects(
    'clusters',
    'an object that gives each name an object of options',
    z.custom<Readonly<Record<string, Overrides>>>(
      (value) => isPlainObject(value) && Object.values(value).every(isPlainObject),
    ),
  )
    .default({})
    .describe(
      'Options that differ for other names: `{ long: { timeout: 3600 } }` counts where the name is `long`.',
    ),
})

export type OptionName = keyof typeof optionTable.shape

/** The names of all options, in the order of the table. */
export const optionNames = Object.keys(optionTable.shape) as OptionName[]

/** The option's one sentence. */
export function describeOption(name: OptionName): string {
  return optionTable.shape[name].description as string
}

/** What the option's value is. */
export function kindOfOption(name: OptionName): Kind {
  return innermost(optionTable.shape[name]).meta()?.kind as Kind
}

/** What holds when nobody gives the option; undefined where it may stay out. */
export function defaultOfOption(name: OptionName): unknown {
  return optionTable.shape[name].parse(undefined)
}

/** The values that there are to choose from; undefined where there are too many to list. */
export function choicesOfOption(name: OptionName): readonly string[] | undefined {
  return innermost(optionTable.shape[name]).meta()?.choices as readonly string[] | undefined
}

/** What the option's value has to be, as it completes "expected …". */
export function expectationOf(name: OptionName): string {
  return innermost(optionTable.shape[name]).meta()?.expects as string
}

/**
 * What is wrong with an option, as a sentence for its user; undefined when nothing is.
 * @param place where the user corrects it, such as the path of a config file
 */
export function faultOf(name: string, value: unknown, place: string): string | undefined {
  if (name === 'logger' || name === 'inspect')
    return `${name}: ${ONLY_IN_CODE[name]} stays in the process that made it; give it to new Cluster({ ${name} }) instead, and remove it from ${place}.`
  if (!isOption(name))
    return `${name}: there is no such option; the nearest one is ${nearestName(name, optionNames)}. Correct it in ${place}.`
  const stranger = strangerIn(value, name)
  if (stranger) return notPlain(stranger, place)
  if (optionTable.shape[name].safeParse(value).success)
    return name === 'altClusters' ? faultInClusters(value as object, place) : undefined
  const got = isSecret(name) ? kindOf(value) : show(value)
  return `${name}: expected ${expectationOf(name)}, got ${got}. Correct it in ${place}.`
}

/**
 * Reads an option from text, as it comes from the environment or a command line: numbers, `true` and `false` (also
 * `yes`, `no`, `on`, `off`, `1`, `0`), `none` for null, lists with commas, or JSON. A text that fits nothing comes back
 * in its likeliest reading, for {@link faultOf} to refuse.
 */
export function readText(name: OptionName, source: string): unknown {
  const readings = readingsOf(source.trim())
  const fitting = readings.find((reading) => optionTable.shape[name].safeParse(reading).success)
  return fitting === undefined ? readings[0] : fitting
}

/** What no other process can have. */
const ONLY_IN_CODE = { logger: 'a logger', inspect: 'an observer' }

/** Names a value's kind for a sentence: `a list`, `a function`, `a URL`. */
export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (Array.isArray(value)) return 'a list'
  if (typeof value !== 'object') return `a ${typeof value}`
  return isPlainObject(value) ? 'an object' : `an instance of ${value.constructor?.name || 'a class'}`
}

/** True for `{ … }`, false for lists and instances of classes. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/** The first fault in the overrides of alternative clusters: of all of them, not only of the one that counts now. */
function faultInClusters(clusters: object, place: string): string | undefined {
  return Object.entries(clusters)
    .flatMap(([cluster, overrides]) =>
      Object.entries(overrides).map(([name, value]) =>
        faultOfOverride(name, value, `altClusters.${cluster} of ${place}`),
      ),
    )
    .find((fault) => fault !== undefined)
}

function faultOfOverride(name: string, value: unknown, place: string): string | undefined {
  if (name !== 'name' && name !== 'altClusters') return faultOf(name, value, place)
  return `${name}: an alternative cluster cannot change it; its name is its key. Remove it from ${place}.`
}

/** A secret, or what may hold one, stays out of every message. */
function isSecret(name: string): boolean {
  return ['secretKey', 'altClusters', 'broker', 'store'].includes(name)
}

function isOption(name: string): name is OptionName {
  return Object.hasOwn(optionTable.shape, name)
}

/** Below defaults and optionals stands the type that says what it expects. */
function innermost(type: z.ZodType): z.ZodType {
  return type instanceof z.ZodDefault || type instanceof z.ZodOptional
    ? innermost(type.unwrap() as z.ZodType)
    : type
}

/** A value that no other process can have, and where it stands. */
interface Stranger {
  readonly path: string
  readonly value: unknown
}

function strangerIn(value: unknown, path: string): Stranger | undefined {
  if (Array.isArray(value)) return strangerAmong(value, (index) => `${path}[${index}]`)
  if (isPlainObject(value)) return strangerAmong(value, (key) => `${path}.${key}`)
  const isPlain = value === null || ['undefined', 'boolean', 'number', 'string'].includes(typeof value)
  return isPlain ? undefined : { path, value }
}

function strangerAmong(parts: object, pathOf: (key: string) => string): Stranger | undefined {
  return Object.entries(parts)
    .map(([key, part]) => strangerIn(part, pathOf(key)))
    .find((stranger) => stranger !== undefined)
}

function notPlain({ path, value }: Stranger, place: string): string {
  const instead = value instanceof URL ? 'its href' : 'plain data, or the path of a module that exports it'
  return `What a child process needs is JSON or a module path: ${path} is ${kindOf(value)}. Give ${instead} in ${place}.`
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

const WORDS: Readonly<Record<string, boolean | null>> = {
  true: true,
  yes: true,
  on: true,
  1: true,
  false: false,
  no: false,
  off: false,
  0: false,
  none: null,
}

/** All that a text may mean, the likeliest first. */
function readingsOf(source: string): unknown[] {
  const json = parseJson(source)
  const word = WORDS[source.toLowerCase()]
  const list = source.split(',').map((part) => part.trim())
  return [
    // A quoted text stays as it is: the quotes may be part of a secret.
    ...(json === undefined || typeof json === 'string' ? [] : [json]),
    ...(word === undefined ? [] : [word]),
    ...(list.length > 1 ? [list, source] : [source, list]),
  ]
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source)
  } catch {
    // Not JSON: then it is one of the other readings.
    return undefined
  }
}
