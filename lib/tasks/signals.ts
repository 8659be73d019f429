/**
 * Typed hooks into the life of a task, for whoever wants to see or prepare what happens. Each is called in the process where
 * it happens; none of them in sentinel, pusher, monitor or scheduler, where no code of the user's runs.
 * @see https://django-q2.readthedocs.io/en/master/signals.html
 */
import type { ErrorRecord } from '../errors.ts'
import type { TaskHeader } from '../package.ts'
import { decode } from './codec.ts'
import type { FailureRecord } from './failure.ts'

/** A task as its signals show it. */
export interface SignalledTask
  extends Pick<TaskHeader, 'id' | 'name' | 'func' | 'group' | 'run' | 'attempt'> {
  readonly args: readonly unknown[]
}

/** How a run ended, as its worker knows it: before it is known whether it is saved, or tried again. */
export interface WorkerOutcome {
  readonly success: boolean
  readonly result?: unknown
  readonly error?: FailureRecord
}

/** A run whose outcome is decided. */
export interface ExecutedTask extends Omit<SignalledTask, 'args'> {
  readonly success: boolean
  /** Why it failed; absent when it succeeded. */
  readonly error?: ErrorRecord
}

/** What each signal tells its listeners. */
export interface Signals {
  preEnqueue: [task: SignalledTask]
  postSpawn: [process: string]
  preExecute: [task: SignalledTask]
  postExecuteInWorker: [task: SignalledTask, outcome: WorkerOutcome]
  postExecute: [task: ExecutedTask]
  onError: [task: ExecutedTask & { readonly error: ErrorRecord }]
}

export type SignalName = keyof Signals

/** May return a promise, which is waited for. */
export type SignalListener<N extends SignalName> = (...told: Signals[N]) => unknown

type Listeners = Map<SignalName, Set<unknown>>

/** Two copies of this package in one process have the same listeners: its own, and the one that a task module imports. */
const SIGNALS: unique symbol = Symbol.for('qcluster.signals')
const shared = globalThis as { [SIGNALS]?: Listeners }
shared[SIGNALS] ??= new Map()
const listeners = shared[SIGNALS]

/**
 * Calls a listener in the producer before a task is signed and enqueued by this process. When it throws, the enqueueing is
 * rejected with that. Not called for what a cluster enqueues by itself: retries, hooks, later links, tasks of schedules.
 * @returns what ends it
 */
export const preEnqueue = signal('preEnqueue')

/**
 * Calls a listener in each worker when it has loaded its tasks. Call this in a task module.
 * @returns what ends it
 */
export const postSpawn = signal('postSpawn')

/**
 * Calls a listener in the worker before a run. Call this in a task module. What it throws is logged, and the run goes on.
 * @returns what ends it
 */
export const preExecute = signal('preExecute')

/**
 * Calls a listener in the worker after a run. Call this in a task module. What it throws is logged.
 * @returns what ends it
 */
export const postExecuteInWorker = signal('postExecuteInWorker')

/**
 * Calls a listener in the cluster's process when a run's outcome is saved and decided. Call this before the cluster is
 * started: beside it, or in its config file.
 * @returns what ends it
 */
export const postExecute = signal('postExecute')

/**
 * Calls an error reporter in the cluster's process for each run that fails. Call this before the cluster is started: beside
 * it, or in its config file.
 * @returns what ends it
 */
export const onError = signal('onError')

/** Whether anybody listens; for a hot path, which spares itself what it would tell. */
export function isHeard(name: SignalName): boolean {
  return (listeners.get(name)?.size ?? 0) > 0
}

/** Calls the listeners one after the other; rejects with what the first of them throws. */
export async function emit<N extends SignalName>(name: N, ...told: Signals[N]): Promise<void> {
  for (const listener of listeners.get(name) ?? []) await (listener as SignalListener<N>)(...told)
}

/** The same for where nothing may come of what a listener throws, but that it is told. */
export async function emitSafely<N extends SignalName>(
  name: N,
  tell: (signal: N, error: Error) => void,
  ...told: Signals[N]
): Promise<void> {
  try {
    await emit(name, ...told)
  } catch (error) {
    tell(name, error instanceof Error ? error : new Error(String(error)))
  }
}

/** A task as its signals show it; what must be decoded is, when somebody looks. */
export function signalled(header: TaskHeader, args: string): SignalledTask {
  const { id, name, func, group, run, attempt } = header
  const shown = { id, name, func, ...(group !== undefined && { group }), run, attempt }
  return Object.defineProperty(shown, 'args', { enumerable: true, get: () => decode(args) }) as SignalledTask
}

function signal<N extends SignalName>(name: N): (listener: SignalListener<N>) => () => void {
  return (listener) => {
    const known = listeners.get(name) ?? new Set()
    listeners.set(name, known.add(listener))
    return () => void known.delete(listener)
  }
}
