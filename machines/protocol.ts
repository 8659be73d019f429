/**
 * The control plane: every order and report that crosses a process boundary, declared once.
 * Orders are imperative and go down, reports are past tense and come up. Tasks never travel here.
 */

/** The roles that a sentinel guards. */
export type Role = 'worker' | 'monitor' | 'pusher' | 'scheduler'

/** An error as it crosses a process boundary. */
export interface ReportedError {
  readonly name: string
  readonly message: string
  readonly stack?: string
  readonly code?: string
  readonly exitCode?: number
}

/** Turns anything thrown into plain data. */
export function toReportedError(error: unknown): ReportedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { code, exitCode } = error as { code?: unknown; exitCode?: unknown }
  return {
    name: error.name,
    message: error.message,
    ...(error.stack !== undefined && { stack: stackWithCauses(error) }),
    ...(typeof code === 'string' && { code }),
    ...(typeof exitCode === 'number' && { exitCode }),
  }
}

/** Causes may form a ring. */
const MOST_CAUSES = 5

/** Where it happened, and where what caused it did: the place that has to be mended. */
function stackWithCauses({ stack, cause }: Error, depth = 0): string {
  if (!(cause instanceof Error) || depth === MOST_CAUSES) return stack ?? ''
  return `${stack}\nCaused by: ${stackWithCauses(cause, depth + 1)}`
}

/** A run that a worker's timer board shows. */
export interface RunningTask {
  readonly taskId: string
  readonly run: number
  readonly attempt: number
  readonly name: string
  readonly func: string
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** The limits that its failure is judged by, where the task has its own. */
  readonly maxAttempts?: number
  /** Seconds. */
  readonly retry?: number
  /** Seconds that it might take. */
  readonly timeout?: number
  /** How far it says it is, from 0 to 1, and what else it says. */
  readonly progress?: number
  readonly message?: string
  /** True when the run was past its own deadline as its process ended. */
  readonly overran: boolean
}

/** What a role counts: `counters` only grow, and outlive their process in the cluster's sums; `gauges` are of this moment. */
export interface Measures {
  readonly counters?: Readonly<Record<string, number>>
  readonly gauges?: Readonly<Record<string, number>>
}

/** What a process says of itself once a guard cycle. Like a log record it may get lost. */
export interface Vitals extends Measures {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly pid: number
  /** Where its machine is: `running.idle`. */
  readonly state: string
  /** Resident memory in bytes. */
  readonly rss: number
  /** The share of one processor that it used since it spoke last. */
  readonly cpu: number
  /** Milliseconds by which its event loop came late to say this. */
  readonly delay: number
}

/** What a worker runs now. */
export type CurrentTask = Pick<
  RunningTask,
  'taskId' | 'run' | 'attempt' | 'name' | 'func' | 'startedAt' | 'progress' | 'message'
>

/** What is seen of a process from outside: what it said last, its memory, and its timer board, also while it is blocked. */
export interface Observed extends Vitals {
  /** True when it should have spoken long since: its event loop is kept busy, or its process is stopped. */
  readonly blocked: boolean
  readonly tasks: readonly CurrentTask[]
}

/** One supervised process in a cluster's stat. What nobody knows yet, or any more, is null. */
export interface ProcessStat {
  /** The slot, the same over all incarnations: `pusher`, `worker-3`. */
  readonly id: string
  readonly role: Role | 'sentinel'
  readonly name: string
  readonly pid: number | null
  /** Where its machine is; `starting` or `down` where it cannot tell. */
  readonly state: string
  readonly rss: number | null
  readonly cpu: number | null
  readonly delay: number | null
  /** When it spoke last: milliseconds since the epoch. */
  readonly heardAt: number | null
  /** True when it should have spoken long since: a task keeps its event loop busy, or the process is stopped. */
  readonly blocked: boolean
  readonly tasks: readonly CurrentTask[]
  readonly counters: Readonly<Record<string, number>>
  readonly gauges: Readonly<Record<string, number>>
}

/** A process as whoever may have to end it knows it: another one that has got its pid meanwhile is not taken for it. */
export interface ForkedProcess {
  readonly pid: number
  readonly name: string
  /** Clock ticks from the boot to its start; empty where there is no /proc. */
  readonly bornAt: string
}

/** Why a worker's process ended. */
export type Cause = 'crashed' | 'timedOut' | 'shutdown'

/** The last thing known of a worker: what it ran when its process ended. */
export interface Testament {
  readonly worker: string
  readonly cause: Cause
  readonly code: number | null
  readonly signal: string | null
  readonly running: readonly RunningTask[]
}

/* ---- A process as an actor: spoken by `fromProcess` and `serveProcess`, whatever runs in the child. */

/** Orders that `fromProcess` carries out itself; every other event goes to the child. */
export type ProcessOrder = { readonly type: 'process.kill'; readonly signal?: NodeSignal }
export type NodeSignal = 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'

export type ProcessReport =
  | ({ readonly type: 'process.spawned' } & ForkedProcess)
  | {
      readonly type: 'process.exited'
      readonly code: number | null
      readonly signal: string | null
      /** Why it could not go on, when it was able to say so. */
      readonly error?: ReportedError
    }

/** A child says that it can do its work, and where its data socket listens. */
export type ReadyReport = { readonly type: 'process.ready'; readonly socket?: string }

/**
 * Somebody listens to these events: send them up, whatever the level of the log. From the cluster to the sentinel, and
 * from it to every child; a process's recorder obeys, no machine minds it.
 */
export type EventsWanted = { readonly type: 'events.wanted'; readonly events: readonly string[] }

/** Somebody has cancelled tasks: look into the store for which. From the cluster to the sentinel, and on to the monitor. */
export type CancellationsMade = { readonly type: 'cancellations.made' }

/* ---- Sentinel to its children. */

/** A pusher or a monitor listens there; whoever talks to it connects. */
export type PeerListening = {
  readonly type: 'peer.listening'
  readonly role: 'pusher' | 'monitor'
  readonly socket: string
}

export type WorkerOrder =
  | PeerListening
  /** Finish what you have and leave. */
  | { readonly type: 'worker.stop' }
  /** The grace is over: abort what runs, give back what has not started. */
  | { readonly type: 'worker.abort' }

export type PusherOrder =
  /** Take deliveries as soon as the monitor and these workers have said what they hold. */
  | { readonly type: 'pusher.open'; readonly workers: readonly string[] }
  /** A worker's process has ended: do not wait for it. */
  | { readonly type: 'worker.gone'; readonly worker: string }
  /** Stop consuming until you are told to resume; what you hold is still pushed and settled. */
  | { readonly type: 'pusher.pause' }
  | { readonly type: 'pusher.resume' }
  /** Stop consuming for good, push what you hold. */
  | { readonly type: 'pusher.stop' }
  /** Requeue what you hold instead of pushing it. */
  | { readonly type: 'pusher.abort' }
  /** Nothing is left to settle: close the connection and leave. */
  | { readonly type: 'pusher.close' }

export type PusherReport =
  | { readonly type: 'pusher.opened' }
  | { readonly type: 'pusher.paused' }
  | { readonly type: 'pusher.resumed' }
  | { readonly type: 'pusher.drained' }
  /** These tasks run and are cancelled: kill the worker of one that does not end. */
  | { readonly type: 'runs.cancelled'; readonly taskIds: readonly string[] }

export type MonitorOrder =
  | PeerListening
  | CancellationsMade
  | ({ readonly type: 'worker.buried' } & Testament)
  /** Save what is left, see it settled, leave. */
  | { readonly type: 'monitor.stop' }
  /** The grace is over: what cannot be saved now is requeued. */
  | { readonly type: 'monitor.abort' }

export type MonitorReport =
  /** What a dead worker was running has its outcome; the sentinel need not tell again. */
  | { readonly type: 'worker.drained'; readonly worker: string }
  /** Runs that a stop cut short were requeued. */
  | { readonly type: 'tasks.interrupted'; readonly count: number }

/** The parent process is gone: finish what you have and leave. Sent by `serveProcess` when the channel closes. */
export type OrphanedReport = { readonly type: 'process.orphaned' }

export type SchedulerOrder = { readonly type: 'scheduler.stop' }

/* ---- Cluster to sentinel. */

export type SentinelOrder =
  | EventsWanted
  | CancellationsMade
  /** Let no task come in until you are told to resume. */
  | { readonly type: 'sentinel.pause' }
  | { readonly type: 'sentinel.resume' }
  /** Have so many workers from now on; surplus ones finish what they have. */
  | { readonly type: 'sentinel.scale'; readonly workers: number }
  /** Replace every worker by one that loads the task modules anew. */
  | { readonly type: 'sentinel.reload' }
  | { readonly type: 'sentinel.stop' }
  /** Do not wait for the grace. */
  | { readonly type: 'sentinel.abort' }
  /** Kill what is left. */
  | { readonly type: 'sentinel.kill' }

/** From a slot to its sentinel, and on to the cluster, which ends what a sentinel that died leaves behind. */
export type ForkReport =
  | ({ readonly type: 'child.forked' } & ForkedProcess)
  | { readonly type: 'child.ended'; readonly name: string }

export type SentinelReport =
  | { readonly type: 'sentinel.running' }
  | { readonly type: 'sentinel.paused' }
  | { readonly type: 'sentinel.resumed' }
  /** As many workers as were asked for are up, and the surplus ones have been told to leave. */
  | { readonly type: 'sentinel.scaled'; readonly workers: number }
  /** Every worker has been replaced, or the first replacement could not start: then the old ones go on. */
  | { readonly type: 'sentinel.reloaded'; readonly workers: number; readonly error?: ReportedError }
  /** What everything that the sentinel guards does: once a guard cycle while it changes, every two seconds while not. */
  | {
      readonly type: 'sentinel.reported'
      readonly processes: readonly ProcessStat[]
      readonly reincarnations: number
      /** How many workers there should be. */
      readonly workers: number
      /** Sums over all processes, the dead ones included. */
      readonly counters: Readonly<Record<string, number>>
    }
  | ForkReport
  /** The sentinel's process ends after this. `interrupted` counts the runs that did not finish. */
  | {
      readonly type: 'sentinel.stopped'
      readonly interrupted: number
      readonly deadline: boolean
      readonly reincarnations: number
    }
  | { readonly type: 'sentinel.failed'; readonly error: ReportedError }

/* ---- Inspection: what processes tell of their actors, only while somebody watches. Never seen by a machine. */

/** Tell what your actors do from now on, the present first. From a process to one that it has forked. */
export interface Watch {
  /** The actor that stands for the child in its parent, and so is the parent of the child's root actor. */
  readonly parent: string
  /** Whether contexts, inputs, outputs, messages of errors and the fields of events may leave the process. */
  readonly payloads: boolean
}

/** A snapshot as it is shown: plain data, without what a machine keeps to itself. */
export interface SeenSnapshot {
  readonly status: string
  /** Where a machine is; absent in other actors. */
  readonly value?: unknown
  readonly tags?: readonly string[]
  readonly error?: unknown
  readonly context?: unknown
  readonly input?: unknown
  readonly output?: unknown
}

/** Something that an actor did. Its id is unique over all processes and restarts: `<name of its process>/<session>`. */
export type InspectionNote = {
  /** The actor: of an event, who got it. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly at: number
} & (
  | {
      readonly type: 'actor.registered'
      readonly parent: string | null
      readonly name: string
      /** The machine as it can be drawn; of another actor only an id. */
      readonly definition: object
    }
  | {
      readonly type: 'event.sent'
      readonly from: string | null
      readonly event: EventSeen
      /** How often it was sent since it was told last; absent: once. */
      readonly times?: number
    }
  | {
      readonly type: 'actor.changed'
      readonly event: EventSeen
      readonly snapshot: SeenSnapshot
      /** True where no later change may take this one's place. */
      readonly lasting: boolean
    }
  /** Its process is gone, and with it all that lived there. Nobody could say more. */
  | { readonly type: 'actor.lost'; readonly code: number | null; readonly signal: string | null }
  /** So many notes of its process came faster than they could be told. */
  | { readonly type: 'notes.dropped'; readonly count: number }
)

export interface EventSeen {
  readonly type: string
  readonly [field: string]: unknown
}
