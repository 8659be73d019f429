import type { Measures } from '../../machines/protocol.ts'
import type { RunnerReport } from '../../machines/worker.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { Settings } from '../config.ts'
import {
  SerializationError,
  TaskCancelledError,
  TaskExpiredError,
  TaskShutdownError,
  toErrorRecord,
} from '../errors.ts'
import { isExpired, type TaskHeader } from '../package.ts'
import type { BoardWriter } from '../process/board.ts'
import type { Cancellation } from '../stores/cancellations.ts'
import { decode, encode, pack } from '../tasks/codec.ts'
import { Execution } from '../tasks/current.ts'
import { encodeError, type FailureRecord, toFailure } from '../tasks/failure.ts'
import type { LoadedTask } from '../tasks/load.ts'
import { againAfter } from '../tasks/retry.ts'
import { emitSafely, isHeard, signalled } from '../tasks/signals.ts'
import { Cancelled } from './cancelled.ts'
import { Deadline } from './deadline.ts'
import {
  type Ended,
  inFrames,
  type Job,
  keyOf,
  type RunKey,
  type Withdrawal,
  type WorkerToMonitor,
  type WorkerToPusher,
} from './frames.ts'
import { Progresses } from './progresses.ts'
import { TINY } from './window.ts'

export interface RunnerOptions {
  readonly worker: string
  readonly tasks: ReadonlyMap<string, LoadedTask>
  readonly board: BoardWriter
  readonly concurrency: number
  /** Seconds, or null for none. */
  readonly timeout: number | null
  /** What results are packed by. */
  readonly packing: Pick<Settings, 'compress' | 'maxPayload'>
  readonly report: (event: RunnerReport) => void
  /** Shows what runs to whoever looks at the processes of the machine. */
  readonly show: (task: string) => void
  readonly record: (event: string, fields: Record<string, unknown>) => void
  /** Sends what was recorded now. */
  readonly flush: () => void
  /** What time limits and durations go by; the machine's where it is absent. */
  readonly clock?: Clock
}

/** Outcomes that may wait before they are sent on their way. */
const MOST_KEPT_BACK = 64

/** Milliseconds after which it is told at the earliest that nothing runs: between tiny runs that would be so all the time. */
const REST = 20

/** How a run has ended. */
type Ending = Omit<Ended, 'header' | 'args' | 'startedAt' | 'stoppedAt'>

/** The worker's custody: jobs from their arrival to the monitor's word that their outcome is settled. */
export class Runner {
  readonly #options: RunnerOptions
  readonly #clock: Clock
  /** What tasks were defined with, of those that were with anything: who enqueues by name does not know it. */
  readonly #limits: ReadonlyMap<string, Partial<TaskHeader>>
  readonly #waiting: Job[] = []
  readonly #running = new Map<RunKey, Execution>()
  readonly #freeSlots: number[]
  /** Outcomes that the monitor has not released. */
  readonly #kept = new Map<RunKey, Ended>()
  readonly #progresses: Progresses
  #unsent: Ended[] = []
  #finished: { key: RunKey; took: number }[] = []
  #monitor: { send: (message: WorkerToMonitor) => void; flush: () => void } | null = null
  #pusher: ((message: WorkerToPusher) => void) | null = null
  #greet: ((message: WorkerToPusher) => void) | null = null
  /** What the machine said last. */
  #order: 'run' | 'finish' | 'abort' = 'run'
  #saidFarewell = false
  #done = 0
  /** Until it rings the machine takes us for busy, also while nothing runs. By real time: it decides nothing. */
  #rest: NodeJS.Timeout | undefined

  constructor(options: RunnerOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#limits = new Map([...options.tasks].flatMap(([func, task]) => limitsOf(func, task)))
    this.#freeSlots = Array.from({ length: options.concurrency }, (_, slot) => slot)
    this.#progresses = new Progresses((runs) => options.report({ type: 'runner.progressed', runs }))
  }

  get measures(): Measures {
    return {
      counters: { runs: this.#done },
      gauges: { running: this.#running.size, waiting: this.#waiting.length, kept: this.#kept.size },
    }
  }

  // ---- peers

  meetMonitor(send: (message: WorkerToMonitor) => void, flush: () => void): void {
    this.#monitor = { send, flush }
    send({ kind: 'hello', worker: this.#options.worker, pid: process.pid })
    this.#unsent = []
    for (const outcomes of inFrames([...this.#kept.values()])) send({ kind: 'ended', outcomes })
    if (this.#order !== 'run') send({ kind: 'leaving' })
    if (this.#greet) this.#greetPusher(this.#greet)
  }

  monitorLeft(): void {
    this.#monitor = null
  }

  /** The pusher hears of us only when there is a monitor to take outcomes. */
  meetPusher(send: (message: WorkerToPusher) => void): void {
    this.#greet = send
    if (this.#monitor) this.#greetPusher(send)
  }

  #greetPusher(send: (message: WorkerToPusher) => void): void {
    this.#greet = null
    this.#pusher = send
    this.#saidFarewell = false
    this.#finished = []
    send({
      kind: 'hello',
      worker: this.#options.worker,
      holds: [...this.#running.keys(), ...this.#kept.keys()],
    })
    if (this.#order !== 'run') send({ kind: 'leaving' })
  }

  /** What has not started is forgotten: the broker hands it out again. */
  pusherLeft(): void {
    this.#pusher = null
    this.#greet = null
    this.#waiting.length = 0
    this.bidFarewell()
  }

  /** What waits here is not started, and what runs is told to end. */
  cancel(cancellations: readonly Cancellation[]): void {
    const cancelled = new Cancelled(cancellations)
    for (const execution of this.#running.values())
      if (cancelled.covers(execution.header)) execution.abort(new TaskCancelledError())
    const withdrawn = this.#waiting.filter(({ header }) => cancelled.covers(header))
    if (withdrawn.length === 0) return
    this.#waiting.splice(
      0,
      Number.POSITIVE_INFINITY,
      ...this.#waiting.filter((job) => !withdrawn.includes(job)),
    )
    for (const job of withdrawn) this.#withdraw(job, 'cancelled', new TaskCancelledError())
    this.#flush()
  }

  bidFarewell(): void {
    this.#saidFarewell = true
    this.#look()
  }

  // ---- jobs

  take(jobs: readonly Job[]): void {
    if (this.#running.size === 0 && !this.#rest && jobs.length > 0)
      this.#options.report({ type: 'runner.busy' })
    if (this.#order === 'abort') for (const job of jobs) this.#giveBack(job)
    else this.#waiting.push(...jobs)
    this.#startNext()
  }

  #startNext(): void {
    while (this.#freeSlots.length > 0) {
      const job = this.#waiting.shift()
      if (!job) return
      // It may block this process for long: what is known leaves first.
      if (!job.tiny || this.#unsent.length >= MOST_KEPT_BACK) this.#flush()
      void this.#run(job, this.#freeSlots.pop() as number)
    }
  }

  async #run(given: Job, slot: number): Promise<void> {
    const job = this.#withLimits(given)
    const { header } = job
    if (isExpired(header, this.#clock.now())) return this.#expire(job, slot)
    const key = keyOf(header)
    const { name, func, id: taskId, run, attempt } = header
    const timeout = header.timeout ?? this.#options.timeout
    const startedAt = this.#clock.now()
    const began = this.#clock.elapsed()
    const deadline = timeout === null ? undefined : new Deadline(timeout, began, this.#clock)
    const shown = {
      taskId,
      run,
      attempt,
      name,
      func,
      startedAt,
      startedNs: began,
      deadline: deadline?.at ?? 0n,
      ...(header.maxAttempts !== undefined && { maxAttempts: header.maxAttempts }),
      ...(header.retry !== undefined && { retry: header.retry }),
    }
    const execution = new Execution(
      header,
      timeout === null ? null : startedAt + Math.round(timeout * 1000),
      // What it says when it is over would be shown of whoever runs there now.
      (progress, message) => {
        if (this.#running.get(key) !== execution) return
        this.#options.board.start(slot, { ...shown, progress, message })
        this.#progresses.say(key, { taskId, progress, message })
      },
    )
    this.#running.set(key, execution)
    this.#announce(job)
    this.#options.board.start(slot, shown)
    const ending = await this.#execute(job, execution, deadline)
    if (isHeard('postExecuteInWorker')) await this.#tellEnded(job, ending)
    // What starts next takes this slot of the board at once; a write for each of them is enough.
    if (this.#waiting.length === 0) this.#options.board.finish(slot)
    this.#running.delete(key)
    this.#progresses.end(key)
    this.#freeSlots.push(slot)
    const took = Number(this.#clock.elapsed() - began) / 1e6
    // A clock that is set back meanwhile makes no duration negative.
    const stoppedAt = startedAt + Math.round(took)
    this.#end(key, { header, args: job.args, startedAt, stoppedAt, ...ending }, took)
  }

  /** A task that may block this process for long, or end it, is told of before. */
  #announce({ header: { name, func, group, id: taskId }, tiny }: Job): void {
    this.#options.record('task.started', {
      process: this.#options.worker,
      task: name,
      func,
      taskId,
      ...(group !== undefined && { group }),
    })
    if (tiny) return
    this.#options.show(`${name} '${func}'`)
    this.#options.flush()
  }

  #withLimits(job: Job): Job {
    const limits = this.#limits.get(job.header.func)
    return limits ? { ...job, header: { ...limits, ...job.header } } : job
  }

  /** Runs the task itself. The outcome is fixed at the deadline, and told when the code has yielded. */
  async #execute(job: Job, execution: Execution, deadline: Deadline | undefined): Promise<Ending> {
    deadline?.watch(() => execution.abort(deadline.error))
    try {
      const result = await this.#call(job, execution)
      if (deadline?.isOver) throw deadline.error
      return { success: true, result }
    } catch (error) {
      const { abortedBy } = execution
      if (abortedBy?.why === 'cancelled') return { ...this.#failed(job, abortedBy), withdrawn: 'cancelled' }
      if (deadline?.isOver) return this.#failed(job, deadline.error)
      if (execution.abortedBy?.why === 'shutdown') return INTERRUPTED
      return this.#failed(job, error)
    } finally {
      deadline?.letGo()
    }
  }

  async #call({ header, args }: Job, execution: Execution): Promise<string> {
    const { func, fault } = header
    if (fault !== undefined) throw new SerializationError(fault)
    const task = this.#options.tasks.get(func)
    if (!task) throw new Error(`Function ${func} is not defined`)
    if (isHeard('preExecute')) await emitSafely('preExecute', this.#unheard, signalled(header, args))
    const given = decode(args) as unknown[]
    const encoded = encode(await execution.call(task.fn, given), 'result')
    return pack(encoded, `The result of "${func}"`, this.#options.packing)
  }

  #tellEnded({ header, args }: Job, { success, result }: Ending): Promise<void> {
    const value = decode(result)
    const told = success ? { success, result: value } : { success, error: value as FailureRecord }
    return emitSafely('postExecuteInWorker', this.#unheard, signalled(header, args), told)
  }

  readonly #unheard = (signal: string, error: Error): void =>
    this.#options.record('signal.failed', {
      process: this.#options.worker,
      signal,
      error: toErrorRecord(error),
    })

  #failed(job: Job, error: unknown): Ending {
    return { success: false, ...this.#again(job, error), result: encodeError(toFailure(error)) }
  }

  #again({ header: { func, attempt, id: taskId } }: Job, error: unknown): Pick<Ended, 'again'> {
    const again = againAfter(error, this.#options.tasks.get(func)?.definition, { attempt, taskId })
    return again === undefined ? {} : { again }
  }

  #expire(job: Job, slot: number): void {
    // What ran here before may still stand on the board, for this run was to take its place.
    this.#options.board.finish(slot)
    this.#freeSlots.push(slot)
    this.#withdraw(job, 'expired', new TaskExpiredError(job.header))
  }

  #withdraw(job: Job, withdrawn: Withdrawal, error: Error): void {
    this.#endUnstarted(job, { success: false, withdrawn, result: encodeError(toFailure(error)) })
  }

  /** Never started: it goes back without spending an attempt. */
  #giveBack(job: Job): void {
    this.#endUnstarted(job, INTERRUPTED)
  }

  #endUnstarted({ header, args }: Job, ending: Ending): void {
    const now = this.#clock.now()
    this.#end(keyOf(header), { header, args, startedAt: now, stoppedAt: now, ...ending }, 0)
  }

  #end(key: RunKey, ended: Ended, took: number): void {
    this.#done += 1
    this.#kept.set(key, ended)
    this.#unsent.push(ended)
    this.#finished.push({ key, took })
    if (took > TINY) this.#returnWaiting()
    this.#startNext()
    // Batches are for runs that follow one another at once; nobody waits for a neighbour that takes long.
    if (this.#waiting.length === 0) this.#flush()
    if (this.#running.size > 0) return
    this.#rest ??= setTimeout(() => this.#tellRest(), REST).unref()
    this.#look()
  }

  #tellRest(): void {
    this.#rest = undefined
    if (this.#running.size === 0) this.#options.report({ type: 'runner.idle', done: this.#done })
  }

  /** Keeps what can start at once. Who is leaving keeps all: the pusher may have nobody else. */
  #returnWaiting(): void {
    if (!this.#pusher || this.#order !== 'run' || this.#waiting.length <= this.#freeSlots.length) return
    this.#flush()
    const returned = this.#waiting.splice(this.#freeSlots.length)
    this.#pusher({ kind: 'returned', keys: returned.map(({ header }) => keyOf(header)) })
  }

  #flush(): void {
    if (this.#monitor && this.#unsent.length > 0) {
      for (const outcomes of inFrames(this.#unsent)) this.#monitor.send({ kind: 'ended', outcomes })
      this.#unsent = []
      this.#monitor.flush()
    }
    if (this.#pusher && this.#finished.length > 0) this.#pusher({ kind: 'finished', runs: this.#finished })
    this.#finished = []
  }

  released(keys: readonly RunKey[]): void {
    for (const key of keys) this.#kept.delete(key)
    this.#look()
  }

  // ---- the machine's orders

  /** Says that it leaves, and then finishes what came before the pusher's farewell. */
  finish(): void {
    // Who is told to abort is told to finish in the same breath.
    if (this.#order === 'run') this.#order = 'finish'
    this.#monitor?.send({ kind: 'leaving' })
    if (this.#pusher) this.#pusher({ kind: 'leaving' })
    else this.bidFarewell()
    this.#look()
  }

  abort(): void {
    this.#order = 'abort'
    for (const job of this.#waiting.splice(0)) this.#giveBack(job)
    for (const execution of this.#running.values()) execution.abort(new TaskShutdownError())
    this.#flush()
  }

  #look(): void {
    if (this.#order === 'run' || !this.#saidFarewell) return
    if (this.#running.size + this.#waiting.length + this.#kept.size > 0) return
    clearTimeout(this.#rest)
    if (this.#rest) this.#tellRest()
    this.#options.report({ type: 'runner.finished' })
  }
}

const INTERRUPTED: Ending = { success: false, result: 'null', interrupted: true }

function limitsOf(func: string, { definition }: LoadedTask): [string, Partial<TaskHeader>][] {
  if (!definition) return []
  const { name: _name, unique: _unique, retryIf: _retryIf, ...limits } = definition
  return Object.keys(limits).length > 0 ? [[func, limits]] : []
}
