import { type ChildProcess, execFile, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type CallbackActorLogic, type EventObject, fromCallback } from 'xstate'
import type {
  InspectionNote,
  NodeSignal,
  ProcessOrder,
  ProcessReport,
  ReportedError,
  Vitals,
  Watch,
} from '../../machines/protocol.ts'
import { startOf } from '../directory.ts'
import { processName } from '../names.ts'
import { inspectionOf } from './inspection.ts'

/** What travels down to a child: first its input, then orders, and whether somebody watches. */
export type Downward =
  | { readonly kind: 'init'; readonly name: string; readonly input: unknown }
  | { readonly kind: 'event'; readonly event: EventObject }
  | { readonly kind: 'watch'; readonly watch: Watch | null }

/** What travels up from a child: reports of its machine, batches of log records and of what is seen, and how it ended. */
export type Upward =
  | { readonly kind: 'event'; readonly event: EventObject }
  | { readonly kind: 'records'; readonly records: readonly unknown[] }
  | { readonly kind: 'vitals'; readonly vitals: Vitals }
  | { readonly kind: 'notes'; readonly notes: readonly InspectionNote[] }
  | { readonly kind: 'error'; readonly error: ReportedError }

export interface ProcessOptions<TInput = unknown> {
  /** The child's module: a path or a `file:` URL. It calls `serveProcess`. */
  readonly module: string | URL
  /** What the child gets as its machine's input; the actor's own input where this is absent. */
  readonly childInput?: (input: TInput) => unknown
  /** Flags for the child's Node. None are inherited: a parent's loaders and debuggers would slow or clash. */
  readonly execArgv?: readonly string[] | ((input: TInput) => readonly string[])
  /** The processors that the child may run on (Linux); none: all of them. */
  readonly cpus?: (input: TInput) => readonly number[]
  /** Called with the child's name when it has got its processors, or with the reason why not. */
  readonly onPinned?: (name: string, pid: number, cpus: readonly number[], error: Error | null) => void
  /** The child's environment, asked for when it is forked; this process's own where absent. */
  readonly environment?: () => NodeJS.ProcessEnv
  /**
   * Whether the child leads a process group of its own (POSIX): what it has started, and not let go of by a group of its
   * own (`detached`), is killed with it, and when it is gone. The signals of a terminal do not reach it then.
   */
  readonly ownGroup?: (input: TInput) => boolean
  /** Bytes by which the child's command line is made longer, by an argument: no `process.title` can be longer than it. */
  readonly titleRoom?: number
  /** Milliseconds the child may take to leave after its parent has let go of it; then it is killed. */
  readonly killAfter?: number
  /** Called with each batch of log records that the child sends. */
  readonly onRecords?: (records: readonly unknown[]) => void
  /** Called with the child's name and what it says of itself, as often as it was told to. */
  readonly onVitals?: (name: string, vitals: Vitals) => void
}

/**
 * A forked process as an actor. What is sent to it crosses to the child's machine; what that machine emits comes back
 * as ordinary events to the parent, between `process.spawned { pid, name }` and `process.exited { code, signal }`.
 * `{ type: 'process.kill', signal }` is carried out here. When the actor is stopped the child is told by the closing
 * of its channel, and killed after `killAfter`. Whoever inspects the parent's system sees the child's actors below this one.
 *
 * @example
 * const machine = setup({ actors: { child: fromProcess({ module: new URL('./child.ts', import.meta.url) }) } })
 *   .createMachine({ invoke: { src: 'child', input: { greeting: 'hello' } }, on: { 'process.exited': … } })
 */
export function fromProcess<TOrder extends EventObject = EventObject, TInput = unknown>(
  options: ProcessOptions<TInput>,
): CallbackActorLogic<TOrder | ProcessOrder, TInput> {
  return fromCallback<TOrder | ProcessOrder, TInput>(({ input, sendBack, receive, self, system }) => {
    const name = processName()
    const inspection = inspectionOf(system)
    const ownGroup = process.platform !== 'win32' && (options.ownGroup?.(input) ?? false)
    const child = fork(modulePath(options.module), fillerOf(options), {
      detached: ownGroup,
      execArgv: [
        ...((typeof options.execArgv === 'function' ? options.execArgv(input) : options.execArgv) ?? []),
      ],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      ...(options.environment && { env: options.environment() }),
    })
    let failure: ReportedError | undefined
    let gone = false

    const end = (signal: NodeSignal = 'SIGKILL') => {
      child.kill(signal)
      if (ownGroup && signal === 'SIGKILL') killGroup(child)
    }
    const leave = (code: number | null, signal: string | null, error = failure) => {
      if (gone) return
      gone = true
      if (ownGroup) killGroup(child)
      lose({ code, signal })
      sendBack({ type: 'process.exited', code, signal, ...(error && { error }) } satisfies ProcessReport)
    }
    child.on('spawn', () => {
      const pid = child.pid as number
      sendBack({
        ...{ type: 'process.spawned', pid, name, bornAt: startOf(pid) },
      } satisfies ProcessReport)
      const cpus = options.cpus?.(input) ?? []
      if (cpus.length > 0) pin(pid, cpus, (error) => options.onPinned?.(name, pid, cpus, error))
    })
    child.on('message', (message: Upward) => {
      if (message.kind === 'event') sendBack(message.event)
      else if (message.kind === 'records') options.onRecords?.(message.records)
      else if (message.kind === 'vitals') options.onVitals?.(name, message.vitals)
      else if (message.kind === 'notes') inspection.pass(message.notes)
      else failure = message.error
    })
    child.on('exit', (code, signal) => {
      // Its last reports may still be in the channel: they come before its exit.
      if (child.connected) child.once('disconnect', () => leave(code, signal))
      else leave(code, signal)
    })
    child.on('error', (error) => {
      // A fork that failed has no exit; a signal that failed has one to come.
      if (child.pid === undefined) leave(null, null, { name: error.name, message: error.message })
    })
    tell(child, { kind: 'init', name, input: options.childInput ? options.childInput(input) : input })
    const lose = inspection.join({
      actor: self.sessionId,
      watch: (watch) => tell(child, { kind: 'watch', watch }),
    })
    receive((event) => {
      if (event.type === 'process.kill') end((event as { signal?: NodeSignal }).signal)
      else tell(child, { kind: 'event', event })
    })
    return () => {
      lose({ code: child.exitCode, signal: child.signalCode })
      letGo(child, end, options.killAfter ?? 3_000)
    }
  })
}

function fillerOf({ titleRoom }: Pick<ProcessOptions, 'titleRoom'>): string[] {
  return titleRoom === undefined ? [] : ['-'.repeat(titleRoom)]
}

/** Node itself cannot. What the child starts later, threads and processes, stays on the same processors. */
function pin(pid: number, cpus: readonly number[], done: (error: Error | null) => void): void {
  execFile('taskset', ['--all-tasks', '--pid', '--cpu-list', cpus.join(','), String(pid)], done)
}

function modulePath(module: string | URL): string {
  return String(module).startsWith('file:') ? fileURLToPath(module) : String(module)
}

function tell(child: ChildProcess, message: Downward): void {
  // A child that is gone is reported by its exit; what was sent to it meanwhile has no reader.
  if (child.connected) child.send(message, () => {})
}

function letGo(child: ChildProcess, end: () => void, killAfter: number): void {
  child.removeAllListeners('message')
  if (child.exitCode !== null || child.signalCode !== null) return
  if (child.connected) child.disconnect()
  const killer = setTimeout(end, killAfter)
  child.once('exit', () => clearTimeout(killer))
}

/** Also when its leader is gone: a group keeps its number as long as somebody is in it. */
export function killGroup({ pid }: { readonly pid?: number | undefined }): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left in it.
  }
}
