/**
 * Every error that a user can meet, classed by what its reader must do. Each builds its sentence from data,
 * carries a stable `code`, and the command line ends with its `exitCode`.
 */

/** The documented exit codes of `qcluster`. */
export const EXIT = {
  /** Stopped cleanly. */
  clean: 0,
  /** Not all was done: a stop interrupted a task or reached its deadline, or what a command was asked for failed. */
  incomplete: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** The broker or the store cannot be reached. */
  unreachable: 3,
  /** A task module cannot be loaded, or there is none. */
  tasks: 4,
  /** The restart budget is spent. */
  restarts: 5,
  /** A replayed flight leads elsewhere than it was recorded. */
  differs: 6,
} as const

/** What each exit code says, for the help and the README. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  clean: 'Stopped cleanly; of `check`: nothing worse than a warning.',
  incomplete: 'A started task was interrupted, the stop reached its deadline, or what was asked for failed.',
  usage: 'The command line or the configuration is wrong.',
  unreachable: 'The broker or the store cannot be reached, or its files are of a newer version.',
  tasks: 'A task module cannot be loaded, or there is none.',
  restarts: 'The restart budget is spent: processes died too often for reasons that no task explains.',
  differs: 'Of `replay`: the rebuilt state differs from the recorded one.',
}

/** The root of all errors of qcluster: `catch (e) { if (e instanceof QclusterError) … e.code … }`. */
export abstract class QclusterError extends Error {
  abstract readonly code: string
  readonly exitCode: number = EXIT.incomplete

  override get name(): string {
    return this.constructor.name
  }
}

/** An error as plain data, so that it can cross a process boundary, and what makes it of anything thrown. */
export { type ReportedError as ErrorRecord, toReportedError as toErrorRecord } from '../machines/protocol.ts'

/** An option is missing, of the wrong type, or out of range. Correct the configuration. */
export class ConfigError extends QclusterError {
  readonly code = 'QCLUSTER_CONFIG'
  override readonly exitCode = EXIT.usage
  /** Everything that is wrong, a sentence each. */
  readonly faults: readonly string[]

  constructor(message: string, options?: ErrorOptions & { faults?: readonly string[] }) {
    super(message, options)
    this.faults = options?.faults ?? [message]
  }
}

/** A task module is missing, throws, exports no task, or two tasks share a name. Correct the module. */
export class TaskLoadError extends QclusterError {
  readonly code = 'QCLUSTER_TASK_LOAD'
  override readonly exitCode = EXIT.tasks
}

/** A value cannot be turned into text. Pass something that can, or a reference to it. */
export class SerializationError extends QclusterError {
  readonly code = 'QCLUSTER_SERIALIZATION'
}

/** A package was not signed with one of our keys for this queue, or was changed on its way. */
export class SignatureError extends QclusterError {
  readonly code = 'QCLUSTER_SIGNATURE'
}

/** The broker cannot be reached or refused. Start it, or correct its address. */
export class BrokerError extends QclusterError {
  readonly code = 'QCLUSTER_BROKER'
  override readonly exitCode = EXIT.unreachable
  /** True where the broker is away, not unwilling: to try again later may help. */
  readonly isTransient: boolean

  constructor(message: string, options?: ErrorOptions & { isTransient?: boolean }) {
    super(message, options)
    this.isTransient = options?.isTransient ?? false
  }
}

/** The store cannot be reached or refused. Start it, or correct its address. */
export class StoreError extends QclusterError {
  readonly code = 'QCLUSTER_STORE'
  override readonly exitCode = EXIT.unreachable
}

/** The store is well, but can never keep this outcome. Let the task return less, or a reference to it. */
export class OutcomeRefusedError extends QclusterError {
  readonly code = 'QCLUSTER_OUTCOME_REFUSED'
}

/** A schedule cannot be kept as it is: its pattern, its zone, its name or an option. Correct it. */
export class ScheduleError extends QclusterError {
  readonly code = 'QCLUSTER_SCHEDULE'
  override readonly exitCode = EXIT.usage
}

/** Two processes that should speak the same frames do not. It is a bug, or a stranger on the socket. */
export class FrameError extends QclusterError {
  readonly code = 'QCLUSTER_FRAME'
}

/** A child process could not start, or left without being asked to. */
export class ProcessExitError extends QclusterError {
  readonly code = 'QCLUSTER_PROCESS_EXIT'
  override readonly exitCode: number

  constructor(message: string, options?: ErrorOptions & { exitCode?: number }) {
    super(message, options)
    this.exitCode = options?.exitCode ?? EXIT.incomplete
  }
}

/** A cluster was told to do what only a running one can do. Start it first, or ask it before it stops. */
export class NotRunningError extends QclusterError {
  readonly code = 'QCLUSTER_NOT_RUNNING'

  constructor({ order, state }: { readonly order: string; readonly state: string }) {
    super(`Expected a running cluster to ${order}, got one that is ${state}; ${REMEDY}.`)
  }
}

const REMEDY = 'start() one, and give orders before it stops'

/** A cluster said nothing to an order in time: it is gone, blocked, older, or signs with another key. Look at it. */
export class NoAnswerError extends QclusterError {
  readonly code = 'QCLUSTER_NO_ANSWER'

  constructor({ order, patience }: { readonly order: string; readonly patience: number }) {
    super(
      `Expected an answer to "${order}" within ${patience} ms, got none: the cluster is gone, is still busy with it, or signs with another secretKey. Look at it with \`qcluster info\`.`,
    )
  }
}

/**
 * Thrown by a task: this failure is no matter of time or luck, so there is no further attempt.
 * @example
 * throw new DoNotRetryError('The account is closed.', { cause: error })
 */
export class DoNotRetryError extends QclusterError {
  readonly code = 'QCLUSTER_DO_NOT_RETRY'
}

/**
 * Thrown by a task: try again in so many seconds, whatever its back-off says. It spends an attempt like any failure.
 * @example
 * throw new RetryError('Too many requests.', { seconds: Number(response.headers.get('retry-after')) })
 */
export class RetryError extends QclusterError {
  readonly code = 'QCLUSTER_RETRY'
  readonly seconds: number

  constructor(message: string, { seconds, ...options }: ErrorOptions & { readonly seconds: number }) {
    super(message, options)
    this.seconds = seconds
  }
}

/** A task ended in failure; `message` is the error's own, `attempt` tells which attempt it was. */
export class TaskFailedError extends QclusterError {
  readonly code = 'QCLUSTER_TASK_FAILED'
  readonly taskId: string
  readonly attempt: number

  constructor(
    message: string,
    details: { taskId: string; attempt: number; stack?: string; cause?: unknown },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.taskId = details.taskId
    this.attempt = details.attempt
    if (details.stack) this.stack = details.stack
  }
}

/** A task that had not started in time, and so never will. Give it longer, or more workers. */
export class TaskExpiredError extends QclusterError {
  readonly code = 'QCLUSTER_TASK_EXPIRED'

  constructor({ expires }: { readonly expires?: number | undefined }) {
    super(`Task expired: no worker was free to start it within ${expires} seconds of its enqueueing`)
  }
}

/** Why a run has to end before its code does: the reason of its abort signal. */
export abstract class TaskAbortedError extends QclusterError {
  /** The same in a word. */
  abstract readonly why: 'timeout' | 'cancelled' | 'shutdown'
}

/** A run took longer than it may. Raise its timeout, or let its code end when its signal says so. */
export class TaskTimeoutError extends TaskAbortedError {
  readonly code = 'QCLUSTER_TASK_TIMEOUT'
  readonly why = 'timeout'

  /** @param details `isKilled`: it had to be ended together with its process */
  constructor({ seconds, isKilled = false }: { readonly seconds: number; readonly isKilled?: boolean }) {
    // The reference's words come first: people search for them.
    const fate = isKilled ? '; its worker process was killed' : ''
    super(`Task exceeded maximum timeout value (${seconds} seconds)${fate}`)
  }
}

/** Somebody cancelled the task: it is not run again. */
export class TaskCancelledError extends TaskAbortedError {
  readonly code = 'QCLUSTER_TASK_CANCELLED'
  readonly why = 'cancelled'

  constructor(message = 'Task was cancelled') {
    super(message)
  }
}

/** The cluster stops and waits no longer: the run is requeued, and spends no attempt. */
export class TaskShutdownError extends TaskAbortedError {
  readonly code = 'QCLUSTER_TASK_SHUTDOWN'
  readonly why = 'shutdown'

  constructor() {
    super('Task was interrupted by the stop of its cluster; it is requeued')
  }
}

/** A worker's process ended while it ran the task: a crash, a kill from outside, or no memory left. */
export class WorkerDiedError extends QclusterError {
  readonly code = 'QCLUSTER_WORKER_DIED'

  constructor({ signal, code }: { readonly signal: string | null; readonly code: number | null }) {
    const remedy =
      signal === 'SIGABRT' ? '; Node ends so when its heap is full: keep less in it, or raise maxHeap' : ''
    super(
      `Worker process died while running the task (${signal ? `signal ${signal}` : `exit code ${code}`})${remedy}`,
    )
  }
}

/** Code that no worker runs asked for its task. Call `currentTask()` from within one. */
export class NoCurrentTaskError extends QclusterError {
  readonly code = 'QCLUSTER_NO_CURRENT_TASK'

  constructor() {
    super(
      'Expected currentTask() to be called by a task that a worker runs, got a call from elsewhere; enqueue the task instead of calling its function.',
    )
  }
}

/** No outcome was saved within the time that the caller wanted to wait. The task may still finish. */
export class ResultTimeoutError extends QclusterError {
  readonly code = 'QCLUSTER_RESULT_TIMEOUT'
}
