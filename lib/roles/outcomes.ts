import type { OutcomesReport } from '../../machines/monitor.ts'
import type { RunningTask, Testament } from '../../machines/protocol.ts'
import type { TaskHeader } from '../package.ts'
import type { Outcome, Store } from '../stores/store.ts'
import {
  type Ended,
  type Job,
  type MonitorToPusher,
  type MonitorToWorker,
  type PusherToMonitor,
  type RunKey,
  runKey,
  type Verdict,
} from './frames.ts'

/** Outcomes in one transaction. */
const BATCH = 500
/** Decided runs that are remembered for the redeliveries of a lost broker connection. */
const REMEMBERED = 10_000

export interface OutcomesOptions {
  readonly store: Pick<Store, 'save' | 'decisions'>
  readonly queue: string
  readonly maxAttempts: number
  /** Milliseconds before the next attempt. */
  readonly retry: number
  readonly report: (event: OutcomesReport) => void
  readonly record: (event: string, fields: Record<string, unknown>) => void
  /** Encodes a failure that no worker could encode. */
  readonly encodeFailure: (message: string) => string
}

interface Case {
  readonly ended: Ended
  readonly verdict: Verdict
  saved: boolean
  worker: string | null
}

/**
 * The monitor's custody: every outcome from the moment a worker tells it until the pusher says that it is settled.
 * Plain decisions over plain data; sockets and store are given to it.
 */
export class Outcomes {
  readonly #options: OutcomesOptions
  readonly #cases = new Map<RunKey, Case>()
  readonly #decided = new Memory<RunKey, Verdict>(REMEMBERED)
  readonly #workers = new Map<string, (message: MonitorToWorker) => void>()
  readonly #buried = new Map<string, Testament>()
  readonly #left = new Map<string, readonly Job[]>()
  /** Dead workers whose runs have a case that is not saved yet. */
  readonly #mourned = new Map<string, readonly RunKey[]>()
  #unsaved: Case[] = []
  #pusher: ((message: MonitorToPusher) => void) | null = null
  #saving = false
  #connected = false
  #finishing = false
  #abandoned = false
  #awaitingDesertion = false

  constructor(options: OutcomesOptions) {
    this.#options = options
  }

  // ---- workers

  welcome(worker: string, send: (message: MonitorToWorker) => void): void {
    this.#workers.set(worker, send)
  }

  hear(worker: string, outcomes: readonly Ended[]): void {
    const settled: RunKey[] = []
    for (const ended of outcomes) {
      const key = runKey(ended.taskId, ended.run)
      const known = this.#cases.get(key)
      if (known) known.worker = worker
      else if (this.#decided.has(key)) settled.push(key)
      else this.#open(ended, worker)
    }
    if (settled.length > 0) this.#workers.get(worker)?.({ kind: 'released', keys: settled })
    this.#pump()
  }

  farewell(worker: string): void {
    this.#workers.delete(worker)
    this.#mourn(worker)
    this.#look()
  }

  bury(testament: Testament): void {
    this.#buried.set(testament.worker, testament)
    this.#mourn(testament.worker)
  }

  // ---- the pusher

  attend(send: (message: MonitorToPusher) => void): void {
    this.#pusher = send
    const unsettled = [...this.#cases.values()].filter((one) => one.saved).map((one) => one.verdict)
    send({ kind: 'hello', unsettled })
  }

  /** Without a pusher nobody can say what a dead worker had left; its redeliveries will find what is decided. */
  unattend(): void {
    this.#pusher = null
    for (const worker of [...this.#buried.keys()]) this.#mourn(worker)
    if (this.#finishing) this.#look()
  }

  hearPusher(message: PusherToMonitor): void {
    switch (message.kind) {
      case 'settled':
        this.#settled(message.keys)
        break
      case 'left':
        this.#left.set(message.worker, message.jobs)
        this.#mourn(message.worker)
        break
      case 'lookup':
        void this.#lookUp(message.keys)
        break
      case 'unfinished':
        for (const job of message.jobs)
          this.#open(
            this.#lost(job.header, job.args, 'Task never finished: it was handed out too often'),
            null,
          )
        this.#pump()
    }
  }

  // ---- a case, from its opening to its release

  #open(ended: Ended, worker: string | null): void {
    const key = runKey(ended.taskId, ended.run)
    const one: Case = { ended, verdict: this.#decide(key, ended), saved: false, worker }
    this.#cases.set(key, one)
    this.#unsaved.push(one)
  }

  /** Saved → acknowledge; failed with attempts left → retry; cut short or never started → requeue; else a dead letter. */
  #decide(key: RunKey, { success, interrupted, header, attempt }: Ended): Verdict {
    if (interrupted) return { key, fate: 'requeue' }
    if (success) return { key, fate: 'ack' }
    const most = header.maxAttempts ?? this.#options.maxAttempts
    if (most > 0 && attempt >= most)
      return { key, fate: 'deadLetter', reason: `failed ${attempt} of ${most} attempts` }
    const delay = header.retry === undefined ? this.#options.retry : header.retry * 1000
    return { key, fate: 'retry', delay, reason: `attempt ${attempt} failed` }
  }

  save(): void {
    this.#connected = true
    this.#pump()
  }

  #pump(): void {
    if (this.#saving || !this.#connected || this.#unsaved.length === 0) return
    this.#saving = true
    const batch = this.#unsaved.splice(0, BATCH)
    void this.#saveBatch(batch).then(
      () => this.#saved(batch),
      (error: Error) => this.#storeLost(batch, error),
    )
  }

  async #saveBatch(batch: readonly Case[]): Promise<void> {
    const outcomes = batch.flatMap(({ ended, verdict }) =>
      isSaved(ended, verdict) ? [toOutcome(ended, verdict)] : [],
    )
    if (outcomes.length > 0) await this.#options.store.save(outcomes)
  }

  #storeLost(batch: Case[], error: Error): void {
    this.#saving = false
    this.#connected = false
    this.#unsaved = [...batch, ...this.#unsaved]
    if (this.#abandoned) this.abandon()
    else this.#options.report({ type: 'store.lost', reason: error.message })
  }

  #saved(batch: readonly Case[]): void {
    this.#saving = false
    for (const one of batch) {
      one.saved = true
      this.#say(one)
    }
    this.#pusher?.({ kind: 'verdicts', verdicts: batch.map(({ verdict }) => verdict) })
    for (const [worker, keys] of this.#mourned)
      if (keys.every((key) => this.#isSaved(key))) this.#drained(worker)
    this.#pump()
    this.#look()
  }

  #isSaved(key: RunKey): boolean {
    return this.#cases.get(key)?.saved ?? true
  }

  #settled(keys: readonly RunKey[]): void {
    const released = new Map<string, RunKey[]>()
    for (const key of keys) {
      const one = this.#cases.get(key)
      if (!one) continue
      this.#cases.delete(key)
      if (one.verdict.fate !== 'requeue') this.#decided.set(key, one.verdict)
      if (!one.worker) continue
      const mine = released.get(one.worker)
      if (mine) mine.push(key)
      else released.set(one.worker, [key])
    }
    for (const [worker, mine] of released) this.#workers.get(worker)?.({ kind: 'released', keys: mine })
    this.#look()
  }

  #say({ ended, verdict }: Case): void {
    const { taskId, run, attempt, name, func, group, result, success } = ended
    const fields = { taskId, run, attempt, task: name, func, ...(group !== undefined && { group }) }
    if (ended.interrupted) {
      this.#options.report({ type: 'tasks.interrupted', count: 1 })
      this.#options.record('task.interrupted', fields)
    } else if (success) this.#options.record('task.finished', fields)
    else this.#options.record('task.failed', { ...fields, error: JSON.parse(result) })
    if (verdict.fate === 'deadLetter')
      this.#options.record('task.dead', { ...fields, reason: verdict.reason })
  }

  // ---- redeliveries

  async #lookUp(keys: readonly RunKey[]): Promise<void> {
    const open = keys.filter((key) => !this.#cases.has(key))
    const remembered = open.flatMap((key) => this.#decided.get(key) ?? [])
    const rest = open.filter((key) => !this.#decided.has(key))
    try {
      const verdicts = [...remembered, ...(await this.#stored(rest))]
      const decided = new Set(verdicts.map(({ key }) => key))
      this.#pusher?.({ kind: 'verdicts', verdicts })
      this.#pusher?.({ kind: 'unknown', keys: rest.filter((key) => !decided.has(key)) })
    } catch (error) {
      this.#connected = false
      this.#options.report({ type: 'store.lost', reason: (error as Error).message })
      setTimeout(() => void this.#lookUp(keys), 1_000).unref()
    }
  }

  /** A later run or a success in the store means that this run's fate was carried out long ago. */
  async #stored(keys: readonly RunKey[]): Promise<Verdict[]> {
    if (keys.length === 0) return []
    const decisions = new Map(
      (await this.#options.store.decisions(keys.map(taskIdOf))).map((one) => [one.taskId, one]),
    )
    return keys.flatMap((key): Verdict[] => {
      const decision = decisions.get(taskIdOf(key))
      const run = Number(key.slice(key.indexOf('/') + 1))
      if (!decision || decision.run < run) return []
      if (decision.success || decision.run > run) return [{ key, fate: 'ack' }]
      return [
        { key, fate: decision.fate, delay: this.#options.retry, reason: 'its outcome was saved before' },
      ]
    })
  }

  // ---- the dead

  /** Three witnesses are heard before a dead worker's runs get an outcome: sentinel, connection, pusher. */
  #mourn(worker: string): void {
    const testament = this.#buried.get(worker)
    const left = this.#left.get(worker)
    if (!testament || this.#workers.has(worker) || (!left && this.#pusher)) return
    this.#buried.delete(worker)
    this.#left.delete(worker)
    const jobs = new Map((left ?? []).map((job) => [runKey(job.header.id, job.header.run), job]))
    const keys = testament.running.map((task) => runKey(task.taskId, task.run))
    for (const task of testament.running)
      this.#openLost(testament, task, jobs.get(runKey(task.taskId, task.run)))
    this.#mourned.set(worker, keys)
    this.#pump()
    if (keys.every((key) => this.#isSaved(key))) this.#drained(worker)
  }

  #openLost(testament: Testament, task: RunningTask, job: Job | undefined): void {
    const key = runKey(task.taskId, task.run)
    if (this.#cases.has(key) || this.#decided.has(key)) return
    const header: TaskHeader = job?.header ?? headerOf(task)
    const interrupted = testament.cause === 'shutdown' || (testament.cause === 'timedOut' && !task.overran)
    const ended = this.#lost(header, job?.args ?? '[]', lastWords(testament, task), task.startedAt)
    this.#open({ ...ended, interrupted }, null)
  }

  #lost(header: TaskHeader, args: string, message: string, startedAt = Date.now()): Ended {
    const { id, run, attempt, name, func, group, enqueuedAt } = header
    return {
      ...{
        taskId: id,
        run,
        attempt,
        name,
        func,
        args,
        header,
        enqueuedAt,
        startedAt,
        cluster: this.#options.queue,
      },
      ...(group !== undefined && { group }),
      stoppedAt: Date.now(),
      success: false,
      result: this.#options.encodeFailure(message),
    }
  }

  #drained(worker: string): void {
    this.#mourned.delete(worker)
    this.#pusher?.({ kind: 'drained', worker })
    this.#options.report({ type: 'worker.drained', worker })
    this.#look()
  }

  // ---- the machine's orders

  finish(): void {
    this.#finishing = true
    this.#look()
  }

  /** What is not saved by now is requeued: the broker keeps it, and it runs again. */
  abandon(): void {
    this.#abandoned = true
    const given = this.#unsaved.splice(0)
    for (const { ended, worker } of given) {
      const key = runKey(ended.taskId, ended.run)
      const one: Case = {
        ended: { ...ended, interrupted: true },
        verdict: { key, fate: 'requeue' },
        saved: true,
        worker,
      }
      this.#cases.set(key, one)
      this.#say(one)
      this.#pusher?.({ kind: 'verdicts', verdicts: [one.verdict] })
    }
    for (const worker of [...this.#mourned.keys()]) this.#drained(worker)
    this.#look()
  }

  awaitDesertion(): void {
    this.#awaitingDesertion = true
    this.#look()
  }

  #look(): void {
    if (this.#awaitingDesertion && this.#workers.size === 0) {
      this.#awaitingDesertion = false
      this.#options.report({ type: 'outcomes.deserted' })
    }
    const waits = this.#pusher ? this.#cases.size > 0 : [...this.#cases.values()].some((one) => !one.saved)
    if (!this.#finishing || waits || this.#workers.size > 0 || this.#buried.size > 0) return
    this.#finishing = false
    this.#options.report({ type: 'outcomes.finished' })
  }
}

/**
 * Remembers at least the last `least` entries, in two generations. Deleting the oldest entry of one map each time costs
 * more than all else that is done to an outcome: its `keys().next()` walks over the holes of those deleted before.
 */
class Memory<K, V> {
  readonly #least: number
  #young = new Map<K, V>()
  #old = new Map<K, V>()

  constructor(least: number) {
    this.#least = least
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }

  has(key: K): boolean {
    return this.#young.has(key) || this.#old.has(key)
  }

  set(key: K, value: V): void {
    this.#young.set(key, value)
    if (this.#young.size < this.#least) return
    this.#old = this.#young
    this.#young = new Map()
  }
}

const taskIdOf = (key: RunKey): string => key.slice(0, key.indexOf('/'))

function isSaved({ success, header }: Ended, { fate }: Verdict): boolean {
  return fate !== 'requeue' && !(success && header.save === false)
}

function toOutcome(
  { header: _header, interrupted: _interrupted, ...outcome }: Ended,
  verdict: Verdict,
): Outcome {
  return { ...outcome, fate: verdict.fate as Outcome['fate'] }
}

function headerOf({ taskId, run, attempt, name, func, startedAt }: RunningTask): TaskHeader {
  return { id: taskId, run, attempt, name, func, enqueuedAt: startedAt }
}

function lastWords({ cause, code, signal }: Testament, task: RunningTask): string {
  if (cause === 'timedOut' && task.overran)
    return 'Task exceeded maximum timeout value; its worker process was killed'
  return `Worker process died while running the task (${signal ? `signal ${signal}` : `exit code ${code}`})`
}
