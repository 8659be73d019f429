/**
 * The log. Code elsewhere only emits events: records of an event's name and fields. The one table here gives each its
 * level and its words, and this file alone hands them to winston, in the cluster's own process.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { styleText } from 'node:util'
import type { Logger as WinstonLogger } from 'winston'
import type { LogLevel, Settings } from './config.ts'
import { ConfigError, type ErrorRecord, toErrorRecord } from './errors.ts'

/** The level of a record: that of the log without `silent`. */
type Level = Exclude<LogLevel, 'silent'>

/** A process of the cluster that speaks of itself. */
interface Speaker {
  /** `Process-` and 32 hex digits. */
  readonly process: string
}

interface ReadySpeaker extends Speaker {
  readonly pid: number
}

interface ClusterNamed {
  /** The cluster's four words. */
  readonly cluster: string
}

interface ClusterServing extends ClusterNamed {
  readonly queue: string
}

/** A run of a task. */
interface TaskFields {
  readonly taskId: string
  /** The task's human name. */
  readonly task: string
  readonly func: string
  readonly group?: string
  readonly run?: number
  readonly attempt?: number
}

/** A schedule, by its name. */
interface ScheduleFields {
  readonly schedule: string
}

/** What became of the broker or the store, and who noticed. */
interface ServiceFields {
  readonly process?: string
  readonly reason?: string
}

/** A process that died and is replaced. */
interface Reincarnated extends Speaker {
  readonly code?: number | null
  readonly signal?: string | null
  /** Why it could not go on, when it was able to say so. */
  readonly error?: ErrorRecord
}

/** The fields of each event. Every record may carry more than its event's words use. */
export interface Records {
  'cluster.starting': ClusterNamed
  'worker.ready': ReadySpeaker
  'monitor.ready': ReadySpeaker
  'scheduler.ready': ReadySpeaker
  'pusher.ready': ReadySpeaker
  'sentinel.guarding': Speaker & ClusterServing
  'cluster.running': ClusterServing
  'cluster.paused': ClusterServing
  'cluster.resumed': ClusterServing
  'cluster.scaled': ClusterServing & { readonly workers: number }
  /** `others`: the four words of each cluster that serves the same queue. */
  'cluster.shared': ClusterServing & { readonly others: readonly string[] }
  /** `count`: clusters that say that they serve the same queue, and sign with another key. */
  'cluster.unlike': ClusterServing & { readonly count: number }
  /** Modules that a worker has loaded for its tasks, as `file:` URLs; told only to those who listen. */
  'tasks.loaded': Speaker & { readonly modules: readonly string[] }
  'task.started': Speaker & TaskFields
  'task.finished': TaskFields
  'task.failed': TaskFields & { readonly error: ErrorRecord }
  /** `delay`: milliseconds until the next attempt. */
  'task.retrying': TaskFields & { readonly attempt: number; readonly delay: number }
  'task.dead': TaskFields & { readonly reason: string }
  'task.interrupted': TaskFields
  'task.expired': TaskFields
  'task.cancelled': TaskFields
  'package.refused': { readonly reason: string }
  /** `signal`: whose listener has thrown. */
  'signal.failed': { readonly process?: string; readonly signal: string; readonly error: ErrorRecord }
  /** A slot became a task. */
  'schedule.met': Speaker &
    ScheduleFields & { readonly taskId: string; readonly task: string; readonly func: string }
  'schedule.failed': Speaker & ScheduleFields & { readonly reason: string }
  /** Slots were let go of: the task before was not over, or they were missed. */
  'schedule.skipped': Speaker & ScheduleFields & { readonly slots: number }
  /** Whoever made this task left it: it may be with the broker twice. */
  'schedule.republished': Speaker & ScheduleFields & { readonly taskId: string }
  'broker.lost': ServiceFields
  'broker.connected': ServiceFields
  'store.lost': ServiceFields
  'store.connected': ServiceFields
  'worker.recycled': Speaker
  'worker.pinned': ReadySpeaker & { readonly cpus: string }
  /** Said once: workers run on all processors. */
  'affinity.refused': ReadySpeaker & { readonly reason: string }
  /** `process`: the one that should have taken the place of another. */
  'replacement.failed': Speaker & { readonly error: ErrorRecord }
  /** `task`: the human name of the task that it ran. */
  'worker.reincarnated': Reincarnated & { readonly after: 'death' | 'timeout'; readonly task?: string }
  'monitor.reincarnated': Reincarnated
  'pusher.reincarnated': Reincarnated
  'scheduler.reincarnated': Reincarnated
  'sentinel.reincarnated': Reincarnated
  'pusher.stalled': Speaker
  /** `processes`: those that were still there when their grace was over, by their names, with commas. */
  'orphans.killed': ClusterNamed & { readonly processes: string }
  /** `file`: what it did last, for `qcluster replay`. */
  'flight.kept': Speaker & { readonly file: string }
  'flight.lost': Speaker & { readonly reason: string }
  'cluster.stopping': ClusterNamed
  'sentinel.orphaned': Speaker & ClusterNamed
  'sentinel.stopping': Speaker
  'pusher.drained': Speaker
  'worker.stopped': Speaker
  'sentinel.waiting': Speaker
  'monitor.stopped': Speaker
  'cluster.deadline': Speaker
  'cluster.stopped': ClusterNamed
  'cluster.failed': ClusterNamed & { readonly error?: ErrorRecord }
  'order.obeyed': ClusterNamed & { readonly order: string }
  'order.refused': ClusterNamed & { readonly reason: string }
  'records.dropped': { readonly count: number }
}

export type EventName = keyof Records

/** Something that happened, as plain data. */
export type LogRecord<E extends EventName = EventName> = E extends EventName
  ? { readonly at: number; readonly level: Level; readonly event: E } & Records[E]
  : never

interface Wording<E extends EventName> {
  readonly level: Level
  /** The line's words, without what must be escaped in them and without the stack of an `error`. */
  readonly words: (fields: Records[E]) => string
}

const quoted = ({ func, task }: TaskFields): string => `'${func}' (${task})`
const because = (reason: string | undefined): string => (reason ? ` - ${reason}` : '')
const by = (process: string | undefined): string => (process ? `${process} ` : '')
const suddenDeath = (role: string) => ({
  level: 'fatal' as const,
  words: ({ process }: Reincarnated) => `reincarnated ${role} ${process} after sudden death`,
})

/** What each event is called in the log, and how much it matters. */
export const EVENTS: { readonly [E in EventName]: Wording<E> } = {
  'cluster.starting': { level: 'info', words: ({ cluster }) => `Q Cluster ${cluster} starting.` },
  'worker.ready': { level: 'info', words: ({ process, pid }) => `${process} ready for work at ${pid}` },
  'monitor.ready': { level: 'info', words: ({ process, pid }) => `${process} monitoring at ${pid}` },
  'scheduler.ready': { level: 'debug', words: ({ process, pid }) => `${process} scheduling at ${pid}` },
  'pusher.ready': { level: 'info', words: ({ process, pid }) => `${process} pushing tasks at ${pid}` },
  'sentinel.guarding': {
    level: 'info',
    words: ({ process, cluster, queue }) => `${process} guarding cluster ${cluster} [${queue}]`,
  },
  'cluster.running': {
    level: 'info',
    words: ({ cluster, queue }) => `Q Cluster ${cluster} [${queue}] running.`,
  },
  'cluster.paused': {
    level: 'info',
    words: ({ cluster, queue }) => `Q Cluster ${cluster} [${queue}] paused.`,
  },
  'cluster.resumed': {
    level: 'info',
    words: ({ cluster, queue }) => `Q Cluster ${cluster} [${queue}] resumed.`,
  },
  'cluster.scaled': {
    level: 'info',
    words: ({ cluster, queue, workers }) =>
      `Q Cluster ${cluster} [${queue}] scaled to ${workers} ${workers === 1 ? 'worker' : 'workers'}.`,
  },
  'cluster.shared': {
    level: 'info',
    words: ({ cluster, queue, others }) =>
      `Q Cluster ${cluster} [${queue}] shares its queue with ${others.join(', ')}.`,
  },
  'cluster.unlike': {
    level: 'warn',
    words: ({ cluster, queue, count }) =>
      `Q Cluster ${cluster} [${queue}] shares its queue with ${count} ${count === 1 ? 'cluster' : 'clusters'} that cannot be trusted, for want of the same secretKey or the same time: each makes dead letters of the other's tasks. Give all clusters of a queue the same secretKey, or names of their own.`,
  },
  'tasks.loaded': {
    level: 'debug',
    words: ({ process, modules }) => `${process} loaded ${modules.length} modules for its tasks`,
  },
  'task.started': {
    level: 'info',
    words: ({ process, task, func, group }) =>
      `${process} processing ${task} '${func}'${group ? ` [${group}]` : ''}`,
  },
  'task.finished': { level: 'info', words: (fields) => `Processed ${quoted(fields)}` },
  'task.failed': {
    level: 'error',
    words: (fields) => `Failed ${quoted(fields)} - ${fields.error.message}`,
  },
  'task.retrying': {
    level: 'debug',
    words: (fields) =>
      `Attempt ${fields.attempt + 1} of ${quoted(fields)} follows in ${fields.delay / 1000} seconds`,
  },
  'task.dead': { level: 'error', words: (fields) => `Dead-lettered ${quoted(fields)} - ${fields.reason}` },
  'task.interrupted': { level: 'warn', words: (fields) => `Interrupted and requeued ${quoted(fields)}` },
  'task.expired': { level: 'warn', words: (fields) => `Expired ${quoted(fields)}` },
  'task.cancelled': { level: 'info', words: (fields) => `Cancelled ${quoted(fields)}` },
  'package.refused': { level: 'error', words: ({ reason }) => `Failed to push task to queue - ${reason}` },
  'schedule.met': {
    level: 'info',
    words: ({ process, task, schedule }) => `${process} created task ${task} from schedule [${schedule}]`,
  },
  'schedule.failed': {
    level: 'error',
    words: ({ process, schedule, reason }) =>
      `${process} failed to create a task from schedule [${schedule}]${because(reason)}`,
  },
  'schedule.skipped': {
    level: 'info',
    words: ({ process, schedule, slots }) => `${process} skipped ${slots} of schedule [${schedule}]`,
  },
  'schedule.republished': {
    level: 'warn',
    words: ({ process, schedule, taskId }) =>
      `${process} published task ${taskId} of schedule [${schedule}] once more: whoever made it has left it`,
  },
  'signal.failed': {
    level: 'error',
    words: ({ process, signal, error }) =>
      `${by(process)}had a listener of ${signal} fail${because(error.message)}`,
  },
  'broker.lost': {
    level: 'error',
    words: ({ process, reason }) => `${by(process)}lost the broker${because(reason)}`,
  },
  'broker.connected': {
    level: 'info',
    words: ({ process }) => `${by(process)}connected to the broker again`,
  },
  'store.lost': {
    level: 'error',
    words: ({ process, reason }) => `${by(process)}lost the store${because(reason)}`,
  },
  'store.connected': { level: 'info', words: ({ process }) => `${by(process)}connected to the store again` },
  'worker.recycled': { level: 'info', words: ({ process }) => `recycled worker ${process}` },
  'worker.pinned': { level: 'info', words: ({ pid, cpus }) => `${pid} will use cpu [${cpus}]` },
  'affinity.refused': {
    level: 'warn',
    words: ({ process, reason }) =>
      `${process} leaves the workers on all processors: cpuAffinity needs Linux and taskset${because(reason)}`,
  },
  'replacement.failed': {
    level: 'error',
    words: ({ process, error }) =>
      `replacement ${process} could not start, the old workers go on${because(error.message)}`,
  },
  'worker.reincarnated': {
    level: 'fatal',
    words: ({ process, after, task }) =>
      `reincarnated worker ${process} after ${after}${task ? ` while processing task ${task}` : ''}`,
  },
  'monitor.reincarnated': suddenDeath('monitor'),
  'pusher.reincarnated': suddenDeath('pusher'),
  'scheduler.reincarnated': suddenDeath('scheduler'),
  'sentinel.reincarnated': suddenDeath('sentinel'),
  'pusher.stalled': {
    level: 'error',
    words: ({ process }) =>
      `${process} is alive but not working: tasks wait, workers are idle, nothing moves; it is replaced`,
  },
  'orphans.killed': {
    level: 'warn',
    words: ({ cluster, processes }) =>
      `Q Cluster ${cluster} killed what outlived a dead sentinel - ${processes}`,
  },
  'flight.kept': {
    level: 'info',
    words: ({ process, file }) => `what ${process} did last: qcluster replay ${file}`,
  },
  'flight.lost': {
    level: 'warn',
    words: ({ process, reason }) => `what ${process} did last could not be kept${because(reason)}`,
  },
  'cluster.stopping': { level: 'info', words: ({ cluster }) => `Q Cluster ${cluster} stopping.` },
  'sentinel.orphaned': {
    level: 'error',
    words: ({ process, cluster }) => `${process} lost its cluster ${cluster} and goes on without it to stop`,
  },
  'sentinel.stopping': { level: 'info', words: ({ process }) => `${process} stopping cluster processes` },
  'pusher.drained': { level: 'info', words: ({ process }) => `${process} stopped pushing tasks` },
  'worker.stopped': { level: 'info', words: ({ process }) => `${process} stopped doing work` },
  'sentinel.waiting': { level: 'info', words: ({ process }) => `${process} waiting for the monitor.` },
  'monitor.stopped': { level: 'info', words: ({ process }) => `${process} stopped monitoring results` },
  'cluster.deadline': {
    level: 'warn',
    words: ({ process }) => `${process} has no grace left: tasks that still run are aborted`,
  },
  'cluster.stopped': { level: 'info', words: ({ cluster }) => `Q Cluster ${cluster} has stopped.` },
  'cluster.failed': {
    level: 'fatal',
    words: ({ cluster, error }) => `Q Cluster ${cluster} failed${because(error?.message)}`,
  },
  'order.obeyed': {
    level: 'debug',
    words: ({ cluster, order }) => `Q Cluster ${cluster} obeyed the order ${order}`,
  },
  'order.refused': {
    level: 'warn',
    words: ({ cluster, reason }) => `Q Cluster ${cluster} refused an order - ${reason}`,
  },
  'records.dropped': {
    level: 'warn',
    words: ({ count }) => `${count} log records were dropped: they came faster than they could be written`,
  },
}

/** What a recorder sends: every event of at least this level, and these events whatever their level. */
export interface Selection {
  readonly level: LogLevel
  readonly events?: ReadonlySet<string>
}

export interface Recorder {
  /** Sends a record of the event when it is wanted. */
  record<E extends EventName>(event: E, fields: Records[E]): void
  /** For a caller on a hot path, which spares itself the making of the fields. */
  isWanted(event: EventName): boolean
  /** Replaces what is sent from now on; what is left out stays. */
  select(selection: Partial<Selection>): void
}

/** Tells whether an event is to be sent. */
export function isWanted(event: EventName, { level, events }: Selection): boolean {
  return RANKS[EVENTS[event].level] <= RANKS[level] || events?.has(event) === true
}

/**
 * Makes the recorder of a process. What is not wanted costs one look into a set (under 0.1 µs).
 * @param send takes each record, at once; it must not throw
 */
export function createRecorder({
  send,
  ...first
}: Selection & { send: (record: LogRecord) => void }): Recorder {
  let selection: Selection = first
  let wanted = wantedEvents(selection)
  return {
    record(event, fields) {
      if (!wanted.has(event)) return
      send({ at: Date.now(), level: EVENTS[event].level, event, ...fields } as LogRecord)
    },
    isWanted: (event) => wanted.has(event),
    select(change) {
      selection = { ...selection, ...change }
      wanted = wantedEvents(selection)
    },
  }
}

/** A winston logger of the user's own, whichever copy of winston made it. */
export interface OwnLogger {
  /** Its levels and how bad each is. */
  readonly levels: Readonly<Record<string, number>>
  log(entry: { level: string; message: string; [field: string]: unknown }): unknown
}

export interface Logger {
  /** Writes a record's line, if its level is one that is logged. Never throws. */
  write(record: LogRecord): void
  /** Resolves when every line is in the stream's hands; the stream stays open. */
  close(): Promise<void>
}

/**
 * Opens the log: `HH:MM:SS [Q] LEVEL message` lines, coloured on a terminal unless NO_COLOR is set, or one JSON object a
 * line. Control characters of users' texts are escaped, so that no task can forge a line.
 */
export async function createLogger(
  { logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>,
  stream: NodeJS.WritableStream = process.stderr,
): Promise<Logger> {
  const winston = await import('winston')
  const lineOf = logFormat === 'json' ? toJson : (record: LogRecord) => toText(record, stream)
  const logger = winston.createLogger({
    levels: RANKS,
    level: logLevel,
    silent: logLevel === 'silent',
    format: winston.format.printf(({ record }) => lineOf(record as LogRecord)),
    transports: new winston.transports.Stream({ stream, eol: '\n' }),
  })
  // Whoever read the log may leave (`| head`); the cluster goes on without a log rather than end of it.
  const ignore = () => {}
  stream.on('error', ignore)
  return {
    write: (record) => void logger.log({ level: record.level, message: '', record }),
    async close() {
      await ended(logger, stream)
      stream.off('error', ignore)
    },
  }
}

/**
 * Opens the log of {@link createLogger} from the next turn on, so that a cluster has forked its sentinel, which loads at
 * the same time, before this process is busy with winston. What is written meanwhile waits.
 */
export function createLoggerLater(...given: Parameters<typeof createLogger>): Logger {
  const waiting: LogRecord[] = []
  let write = (record: LogRecord): unknown => waiting.push(record)
  const opening = turn().then(async () => {
    const logger = await createLogger(...given)
    write = logger.write
    for (const record of waiting) write(record)
    return logger
  })
  return {
    write: (record) => void write(record),
    close: async () => (await opening).close(),
  }
}

/**
 * Hands records to a user's own logger: the event's words as its message, and what {@link toJson} writes as fields. Of its
 * levels it gets the nearest one to ours; what it shows, where and how is its own affair, and it stays open.
 * @throws {ConfigError} when it is no logger
 */
export function relayTo(own: OwnLogger): Logger {
  refuseStranger(own)
  const levels = levelsOf(own)
  return {
    write(record) {
      const { message, ...fields } = entryOf(record)
      try {
        own.log({ ...fields, level: levels[record.level], message: escapeControls(message) })
      } catch (error) {
        // A cluster does not end of its log.
        process.emitWarning(`The logger of a cluster failed: ${toErrorRecord(error).message}`)
      }
    },
    close: async () => {},
  }
}

/**
 * Writes records' lines at once and without winston: for a process that ends soon, and whose parent, which has the log,
 * is gone.
 */
export function writeLines(
  records: readonly LogRecord[],
  { logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>,
  stream: NodeJS.WritableStream = process.stderr,
): void {
  // Whoever read the log may be gone as well.
  if (stream.listenerCount('error') === 0) stream.on('error', () => {})
  for (const record of records)
    if (isWanted(record.event, { level: logLevel }))
      stream.write(`${logFormat === 'json' ? toJson(record) : toText(record, stream)}\n`)
}

/** Codes of errors whose sentence says all: what is wrong is in no code. */
const OUTSIDE = ['QCLUSTER_CONFIG', 'QCLUSTER_BROKER', 'QCLUSTER_STORE']

/** A record as a line for people, and the stack of its error on lines below it. */
export function toText(record: LogRecord, stream?: NodeJS.WritableStream): string {
  const { at, level } = record
  const { stack, code = '' } = (record as { error?: ErrorRecord }).error ?? {}
  const time = new Date(at).toTimeString().slice(0, 8)
  const line = `${time} [Q] ${coloured(level, stream)} ${escapeControls(wordsOf(record))}`
  const isTold = record.event === 'cluster.failed' && OUTSIDE.includes(code)
  return stack && !isTold ? `${line} :\n${indented(stack)}` : line
}

/** A record as one line of JSON: `at` (ISO 8601), `level`, `event`, `message`, and the event's own fields. */
export function toJson(record: LogRecord): string {
  // What JSON leaves as it is, a terminal may still obey.
  return escapeControls(JSON.stringify(entryOf(record)))
}

/** The words of a record, in one place for every reader of it; an event of no name here goes by its own. */
export function wordsOf(record: LogRecord): string {
  const wording = EVENTS[record.event] as Wording<EventName> | undefined
  return wording ? wording.words(record as never) : record.event
}

/** Makes every character visible that could move the cursor, end a line or turn the reading direction. */
export function escapeControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, visible)
}

interface Entry {
  readonly at: string
  readonly level: Level
  readonly event: EventName
  readonly message: string
}

function entryOf(record: LogRecord): Entry {
  const { at, level, event, ...fields } = record
  return { at: new Date(at).toISOString(), level, event, message: wordsOf(record), ...fields }
}

/** What other sets of levels call ours, the best name first: those of npm, of syslog, of the reference. */
const NAMES: Readonly<Record<Level, readonly string[]>> = {
  fatal: ['fatal', 'crit', 'critical', 'emerg', 'error'],
  error: ['error', 'err'],
  warn: ['warn', 'warning'],
  info: ['info', 'notice'],
  debug: ['debug', 'verbose', 'trace'],
}

function refuseStranger({ levels, log }: Partial<OwnLogger>): void {
  if (typeof levels === 'object' && typeof log === 'function') return
  throw new ConfigError(
    'logger: expected what winston.createLogger() makes, with `levels` and `log`; correct it, or leave it out.',
  )
}

function levelsOf({ levels }: OwnLogger): Record<Level, string> {
  const nameOf = (level: Level) => NAMES[level].find((name) => name in levels) ?? level
  return Object.fromEntries((Object.keys(NAMES) as Level[]).map((level) => [level, nameOf(level)])) as Record<
    Level,
    string
  >
}

/** How bad each level is: the smaller, the worse. */
const RANKS: Readonly<Record<LogLevel, number>> = {
  silent: -1,
  fatal: 0,
  error: 1,
  warn: 2,
  info: 3,
  debug: 4,
}

/** The reference's words for the levels, and their colours on a terminal. */
const LABELS = {
  fatal: ['CRITICAL', 'magenta'],
  error: ['ERROR', 'red'],
  warn: ['WARNING', 'yellow'],
  info: ['INFO', 'green'],
  debug: ['DEBUG', 'gray'],
} as const satisfies Record<Level, unknown>

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function wantedEvents(selection: Selection): ReadonlySet<string> {
  return new Set((Object.keys(EVENTS) as EventName[]).filter((event) => isWanted(event, selection)))
}

/** Node itself asks the stream whether it is a terminal, and heeds NO_COLOR and FORCE_COLOR. */
function coloured(level: Level, stream?: NodeJS.WritableStream): string {
  const [label, colour] = LABELS[level]
  return stream ? styleText(colour, label, { stream }) : label
}

function indented(stack: string): string {
  return stack
    .split('\n')
    .map((line) => `    ${escapeControls(line)}`)
    .join('\n')
}

function visible(character: string): string {
  const code = character.codePointAt(0) as number
  return ESCAPES[character] ?? `\\u${code.toString(16).padStart(4, '0')}`
}

async function ended(logger: WinstonLogger, stream: NodeJS.WritableStream): Promise<void> {
  await new Promise<void>((resolve) => {
    logger.once('finish', resolve)
    logger.end()
  })
  // An empty write comes back when all that was written before it has left.
  await new Promise<void>((resolve) => stream.write('', () => resolve()))
}
