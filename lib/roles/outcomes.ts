import type { OutcomesReport } from '../../machines/monitor.ts'
import type { Measures, RunningTask, Testament } from '../../machines/protocol.ts'
import type { Notice } from '../brokers/broker.ts'
import { OutcomeRefusedError } from '../errors.ts'
import { Memory } from '../memory.ts'
import type { Told } from '../notices.ts'
import type { TaskHeader } from '../package.ts'
import type { Outcome, Store } from '../stores/store.ts'
import { Cancelled } from './cancelled.ts'
import {
  type Ended,
  type Follower,
  type Job,
  keyOf,
  type MonitorToPusher,
  type MonitorToWorker,
  type PusherToMonitor,
  type RunKey,
  runKey,
  type Verdict,
} from './frames.ts'
import { outcomeOfCancelled, outcomeOfDead, outcomeOfRefused, outcomeOfUnfinished } from './postmortem.ts'
import { type Concluded, hasSequel, type Sequels } from './sequel.ts'
import { type Defaults, verdictInStore, verdictOn } from './verdict.ts'

/** Outcomes in one transaction. */
const BATCH = 500
/** Decided runs that are remembered for the redeliveries of a lost broker connection. */
const REMEMBERED = 10_000

export interface OutcomesOptions extends Defaults {
  /** The queue that the outcomes are of. */
  readonly queue: string
  readonly store: Pick<Store, 'save' | 'decisions'>
  /** Makes what follows from outcomes. */
  readonly sequels: Pick<Sequels, 'of' | 'recall'>
  /** What is cancelled, and what of it may be forgotten. */
  readonly cancellations: Pick<Store['cancellations'], 'list' | 'forget'>
  /** Frees the keys of unique tasks that are over. */
  readonly release: (taskIds: readonly string[]) => Promise<void>
  /** Whether a success is saved when its task does not say so. */
  readonly saveSuccesses: boolean
  /** Seconds that an outcome is kept when its task does not say so; 0, the default: as all others. */
  readonly cached?: number
  readonly report: (event: OutcomesReport) => void
  readonly record: (event: string, fields: Record<string, unknown>) => void
  /** Words what those who wait are told over the broker; where the store wakes them, nothing. */
  readonly sealNotices: (saved: readonly Told[]) => readonly Notice[]
}

interface Case {
  ended: Ended
  verdict: Verdict
  saved: boolean
  worker: string | null
  /** What was handed to the store; nothing where nothing is kept of it. */
  outcome?: Outcome
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
  /** Workers that were told to stop. */
  readonly #leaving = new Set<string>()
  readonly #buried = new Map<string, Testament>()
  readonly #left = new Map<string, readonly Job[]>()
  /** Dead workers whose runs have a case that is not saved yet. */
  readonly #mourned = new Map<string, readonly RunKey[]>()
  /** What became of the runs that were saved or requeued here. */
  readonly #counters = {
    succeeded: 0,
    failed: 0,
    expired: 0,
    cancelled: 0,
    retried: 0,
    deadLettered: 0,
    interrupted: 0,
  }
  #unsaved: Case[] = []
  /** Cases that the store has been given and has not answered for. */
  #beingSaved = 0
  /** At the end of this turn what has come in it is saved. */
  #due: NodeJS.Immediate | undefined
  /** Redelivered runs that the pusher asks about, until they are answered. */
  #asked: TaskHeader[] = []
  #pusher: ((message: MonitorToPusher) => void) | null = null
  #looking = false
  #cancelled = new Cancelled()
  /** True while the store is asked what is cancelled; `again` where somebody wanted that meanwhile. */
  #heeding: boolean | 'again' = false
  /** What the machine said last of the store, or what was found of it since. */
  #store: 'there' | 'awaited' | 'givenUp' = 'awaited'
  /** What the machine has asked to be told as soon as it has come about, and has not been told. */
  readonly #requests = new Set<'outcomes.finished' | 'outcomes.deserted'>()

  constructor(options: OutcomesOptions) {
    this.#options = options
  }

  get measures(): Measures {
    return {
      counters: { ...this.#counters },
      gauges: { unsaved: this.#unsaved.length + this.#beingSaved, unsettled: this.#cases.size },
    }
  }

  // ---- workers

  welcome(worker: string, send: (message: MonitorToWorker) => void): void {
    this.#workers.set(worker, send)
  }

  hear(worker: string, outcomes: readonly Ended[]): void {
    const settled: RunKey[] = []
    for (const ended of outcomes) {
      const key = keyOf(ended.header)
      const known = this.#cases.get(key)
      if (known) known.worker = worker
      else if (this.#decided.has(key)) settled.push(key)
      else this.#open(ended, worker)
    }
    if (settled.length > 0) this.#workers.get(worker)?.({ kind: 'released', keys: settled })
    this.#pump()
  }

  /** It stops, so it need not keep for a later monitor what this one has heard of it. */
  dismiss(worker: string): void {
    this.#leaving.add(worker)
    if (!this.#pusher) this.#releaseKept([...this.#cases.values()])
  }

  farewell(worker: string): void {
    this.#workers.delete(worker)
    this.#leaving.delete(worker)
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
    const saved = [...this.#cases.values()].filter((one) => one.saved)
    send({ kind: 'hello', unsettled: saved.map((one) => one.verdict) })
    if (this.#cancelled.list.length > 0) this.#tellCancelled()
    this.#tell(saved)
  }

  /** Without a pusher nobody can say what a dead worker had left; its redeliveries will find what is decided. */
  unattend(): void {
    this.#pusher = null
    this.#asked = []
    for (const worker of [...this.#buried.keys()]) this.#mourn(worker)
    this.#releaseKept([...this.#cases.values()])
    this.#look()
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
        this.#asked.push(...message.headers)
        this.#answer()
        break
      case 'withdrawn':
        for (const job of message.jobs) this.#withdraw(job)
        this.#pump()
        break
      case 'unfinished':
        for (const job of message.jobs) this.#giveUp(job)
        this.#pump()
        this.#answer()
    }
  }

  // ---- a case, from its opening to its release

  #open(ended: Ended, worker: string | null, verdict = verdictOn(ended, this.#options)): void {
    const one: Case = { ended, verdict, saved: false, worker }
    this.#cases.set(verdict.key, one)
    this.#unsaved.push(one)
  }

  #withdraw(job: Job): void {
    if (!this.#cases.has(keyOf(job.header))) this.#open(outcomeOfCancelled(job), null)
  }

  /** Attempts are for tasks that end; this one seems to take with it whatever runs it, unless it is known how it ended. */
  #giveUp(job: Job): void {
    const reason = 'never finished'
    const key = keyOf(job.header)
    if (this.#decided.has(key)) this.#asked.push(job.header)
    else if (!this.#cases.has(key))
      this.#open(outcomeOfUnfinished(job), null, { key, fate: 'deadLetter', reason })
  }

  /** The store is there. */
  save(): void {
    this.#store = 'there'
    this.#pump()
    this.#answer()
    this.heed()
  }

  /** Looks into the store for what was cancelled, and has it not run. */
  heed(): void {
    if (this.#heeding || this.#store !== 'there') {
      if (this.#heeding) this.#heeding = 'again'
      return
    }
    this.#heeding = true
    void this.#options.cancellations.list().then(
      (list) => this.#heeded(new Cancelled(list)),
      (error: Error) => {
        this.#heeding = false
        this.#storeLost(error)
      },
    )
  }

  #heeded(cancelled: Cancelled): void {
    const again = this.#heeding === 'again'
    const isNews = cancelled.list.length + this.#cancelled.list.length > 0
    this.#heeding = false
    this.#cancelled = cancelled
    if (isNews) this.#tellCancelled()
    if (again) this.heed()
  }

  #tellCancelled(): void {
    this.#pusher?.({ kind: 'cancelled', cancellations: this.#cancelled.list })
  }

  #pump(): void {
    if (this.#store === 'givenUp') this.#requeueUnsaved()
    if (this.#beingSaved > 0 || this.#store !== 'there' || this.#unsaved.length === 0) return
    this.#due ??= setImmediate(() => this.#saveDue())
  }

  #saveDue(): void {
    this.#due = undefined
    if (this.#store !== 'there' || this.#unsaved.length === 0) return
    const batch = this.#unsaved.splice(0, BATCH)
    this.#beingSaved = batch.length
    void this.#saveBatch(batch).then(
      () => this.#saved(batch),
      (error: Error) => this.#notSaved(batch, error),
    )
  }

  async #saveBatch(batch: readonly Case[]): Promise<void> {
    try {
      await this.#hand(batch)
    } catch (error) {
      if (!(error instanceof OutcomeRefusedError)) throw error
      await Promise.all(batch.map((one) => this.#saveAlone(one)))
    }
    await this.#follow(batch)
  }

  /** After the outcomes are saved, and before anybody hears what becomes of them. */
  async #follow(batch: readonly Case[]): Promise<void> {
    const concluded = batch.filter(({ ended, verdict }) => hasSequel(ended.header) && isFinal(verdict))
    if (concluded.length === 0) return
    const followers = await this.#options.sequels.of(
      concluded.map((one) => ({
        header: one.ended.header,
        outcome: one.outcome ?? toOutcome(one, this.#options),
      })),
    )
    for (const one of concluded) one.verdict = followedBy(one.verdict, followers)
  }

  /** What the store refuses must not hold up the others: it becomes a failure that says so. */
  async #saveAlone(one: Case): Promise<void> {
    const refused = await this.#refusal(one)
    if (!refused) return
    one.ended = outcomeOfRefused(one.ended, refused)
    one.verdict = verdictOn(one.ended, this.#options)
    // Should not even this be kept, then the log and the dead letter tell of it.
    await this.#refusal(one)
  }

  async #refusal(one: Case): Promise<OutcomeRefusedError | undefined> {
    try {
      await this.#hand([one])
      return undefined
    } catch (error) {
      if (error instanceof OutcomeRefusedError) return error
      throw error
    }
  }

  async #hand(batch: readonly Case[]): Promise<void> {
    const outcomes = batch.flatMap((one) => {
      if (!this.#isKept(one)) return []
      one.outcome = toOutcome(one, this.#options)
      return one.outcome
    })
    if (outcomes.length > 0) await this.#options.store.save(outcomes)
    await this.#free(batch.map(({ ended, verdict }) => [ended.header, verdict]))
  }

  /** Before anything is settled: what is cut short by a death is redelivered, and freed then. */
  async #free(judged: readonly (readonly [TaskHeader, Verdict])[]): Promise<void> {
    const over = judged.filter(([{ unique }, { fate }]) => unique && fate !== 'retry' && fate !== 'requeue')
    const named = judged.filter(
      ([{ id }, { fate }]) => fate !== 'requeue' && fate !== 'retry' && this.#cancelled.names(id),
    )
    if (named.length > 0) {
      await this.#options.cancellations.forget(named.map(([{ id }]) => id))
      // Whoever is enqueued under that id from now on is meant to run.
      this.heed()
    }
    if (over.length > 0) await this.#options.release(over.map(([{ id }]) => id))
  }

  /** A requeue is no outcome, and who wants no success saved has none kept. */
  #isKept({ ended, verdict }: Case): boolean {
    if (verdict.fate === 'requeue') return false
    const { cached: byDefault = 0, saveSuccesses } = this.#options
    const { save, cached = byDefault } = ended.header
    return !ended.success || (save ?? (saveSuccesses || cached > 0))
  }

  #notSaved(batch: readonly Case[], error: Error): void {
    this.#beingSaved = 0
    this.#unsaved = [...batch, ...this.#unsaved]
    this.#storeLost(error)
    this.#pump()
  }

  #storeLost(error: Error): void {
    if (this.#store !== 'there') return
    this.#store = 'awaited'
    this.#options.report({ type: 'store.lost', reason: error.message })
  }

  #saved(batch: readonly Case[]): void {
    this.#beingSaved = 0
    for (const one of batch) one.saved = true
    // First of all: somebody waits for these.
    this.#tell(batch)
    this.#pusher?.({ kind: 'verdicts', verdicts: batch.map(({ verdict }) => verdict) })
    for (const one of batch) {
      this.#count(one)
      this.#say(one)
    }
    for (const [worker, keys] of this.#mourned)
      if (keys.every((key) => this.#isSaved(key))) this.#drained(worker)
    if (!this.#pusher) this.#releaseKept(batch)
    this.#pump()
    this.#look()
  }

  /**
   * Without a pusher the store is witness enough, and where nothing is kept the monitor, to those that are told to stop:
   * they need not wait for the next pusher, which may not come.
   */
  #releaseKept(those: readonly Case[]): void {
    const kept = those.filter(
      ({ saved, outcome, worker }) => saved && (outcome || this.#leaving.has(worker ?? '')),
    )
    this.#release(kept)
    for (const one of kept) one.worker = null
  }

  /** Before the verdicts: somebody waits for these, and for those nobody. */
  #tell(saved: readonly Case[]): void {
    const told = saved.flatMap(({ outcome, ended: { header } }) =>
      outcome ? [{ outcome, replyTo: header.replyTo, iter: header.iter?.id }] : [],
    )
    const notices = told.length > 0 ? this.#options.sealNotices(told) : []
    if (notices.length > 0) this.#pusher?.({ kind: 'notices', notices })
  }

  #isSaved(key: RunKey): boolean {
    return this.#cases.get(key)?.saved ?? true
  }

  #settled(keys: readonly RunKey[]): void {
    const settled = keys.flatMap((key) => this.#cases.get(key) ?? [])
    for (const one of settled) {
      this.#cases.delete(one.verdict.key)
      if (one.verdict.fate !== 'requeue') this.#decided.set(one.verdict.key, this.#remembered(one))
    }
    this.#release(settled)
    this.#look()
  }

  /** Tells each worker which of its outcomes it need not keep any longer. */
  #release(those: readonly Case[]): void {
    for (const [worker, its] of Map.groupBy(those, (one) => one.worker ?? ''))
      this.#workers.get(worker)?.({ kind: 'released', keys: its.map(({ verdict }) => verdict.key) })
  }

  /** What follows from an outcome that is kept can be made anew of it, and may be large. */
  #remembered(one: Case): Verdict {
    const { follow: _follow, ...verdict } = one.verdict
    return this.#isKept(one) ? verdict : one.verdict
  }

  #count({ ended, verdict }: Case): void {
    if (ended.interrupted) this.#counters.interrupted += 1
    else if (ended.withdrawn) this.#counters[ended.withdrawn] += 1
    else if (ended.success) this.#counters.succeeded += 1
    else this.#counters.failed += 1
    if (verdict.fate === 'retry') this.#counters.retried += 1
    if (verdict.fate === 'deadLetter') this.#counters.deadLettered += 1
  }

  #say({ ended, verdict }: Case): void {
    const { result, success } = ended
    const { id: taskId, run, attempt, name, func, group } = ended.header
    const fields = { taskId, run, attempt, task: name, func, ...(group !== undefined && { group }) }
    if (ended.interrupted) {
      this.#options.report({ type: 'tasks.interrupted', count: 1 })
      this.#options.record('task.interrupted', fields)
    } else if (ended.withdrawn) this.#options.record(`task.${ended.withdrawn}`, fields)
    else if (success) this.#options.record('task.finished', fields)
    else this.#options.record('task.failed', { ...fields, error: JSON.parse(result) })
    if (verdict.fate === 'retry')
      this.#options.record('task.retrying', { ...fields, delay: verdict.delay ?? 0 })
    if (verdict.fate === 'deadLetter')
      this.#options.record('task.dead', { ...fields, reason: verdict.reason ?? '' })
  }

  // ---- redeliveries

  #answer(): void {
    if (this.#looking || this.#store !== 'there' || this.#asked.length === 0) return
    this.#looking = true
    const headers = this.#asked.splice(0)
    void this.#lookUp(headers).then(
      () => this.#answered(),
      (error: Error) => this.#notAnswered(headers, error),
    )
  }

  #answered(): void {
    this.#looking = false
    this.#answer()
  }

  #notAnswered(headers: readonly TaskHeader[], error: Error): void {
    this.#looking = false
    this.#asked.unshift(...headers)
    this.#storeLost(error)
  }

  /** A run with an open case is not answered: its verdict comes when it is saved. */
  async #lookUp(headers: readonly TaskHeader[]): Promise<void> {
    const [plain, followed] = [headers.filter((one) => !hasSequel(one)), headers.filter(hasSequel)]
    const rest = plain.filter((header) => !this.#decided.has(keyOf(header)))
    const verdicts = [
      ...plain.flatMap((header) => this.#decided.get(keyOf(header)) ?? []),
      ...(await this.#stored(rest)),
      ...(await this.#recalled(followed)),
    ]
    const decided = new Map(verdicts.map((verdict) => [verdict.key, verdict]))
    await this.#free(
      headers.flatMap((header) => {
        const verdict = decided.get(keyOf(header))
        return verdict ? [[header, verdict] as const] : []
      }),
    )
    this.#pusher?.({ kind: 'verdicts', verdicts: verdicts.filter(({ key }) => !this.#cases.has(key)) })
    const unknown = [...rest, ...followed]
      .map(keyOf)
      .filter((key) => !decided.has(key) && !this.#cases.has(key))
    this.#pusher?.({ kind: 'unknown', keys: unknown })
  }

  async #stored(headers: readonly TaskHeader[]): Promise<Verdict[]> {
    if (headers.length === 0) return []
    const found = await this.#options.store.decisions(headers.map(({ id }) => id))
    const decisions = new Map(found.map((one) => [one.taskId, one]))
    return headers.flatMap((header) => verdictInStore(header, decisions.get(header.id), this.#options) ?? [])
  }

  /** The verdicts on tasks that others follow from: those are enqueued again, under the same ids. */
  async #recalled(headers: readonly TaskHeader[]): Promise<Verdict[]> {
    const outcomes = await this.#options.sequels.recall(headers)
    const verdicts = headers.flatMap((header) => {
      const outcome = outcomes.get(header.id)
      const verdict = outcome && verdictInStore(header, outcome, this.#options)
      // The pieces of an iter that is whole are put away.
      const isPutAway = header.iter && outcomes.has(header.iter.id)
      return verdict ?? this.#decided.get(keyOf(header)) ?? (isPutAway ? putAway(header) : [])
    })
    const followers = await this.#options.sequels.of(concludedIn(headers, outcomes, verdicts))
    return verdicts.map((verdict) => followedBy(verdict, followers))
  }

  // ---- the dead

  /** Three witnesses are heard before a dead worker's runs get an outcome: sentinel, connection, pusher. */
  #mourn(worker: string): void {
    const testament = this.#buried.get(worker)
    const left = this.#left.get(worker)
    if (!testament || this.#workers.has(worker) || (!left && this.#pusher)) return
    this.#buried.delete(worker)
    this.#left.delete(worker)
    const jobs = new Map((left ?? []).map((job) => [keyOf(job.header), job]))
    const keys = testament.running.map((task) => runKey(task.taskId, task.run))
    for (const [i, task] of testament.running.entries()) {
      const key = keys[i] as RunKey
      if (this.#cases.has(key) || this.#decided.has(key)) continue
      this.#open(this.#lastOutcome(testament, task, jobs.get(key)), null)
    }
    this.#mourned.set(worker, keys)
    this.#pump()
    if (keys.every((key) => this.#isSaved(key))) this.#drained(worker)
  }

  /** Who was killed because it was cancelled did not fail. */
  #lastOutcome(testament: Testament, task: RunningTask, job: Job | undefined): Ended {
    const ended = outcomeOfDead(testament, task, job)
    return this.#cancelled.covers(ended.header)
      ? { ...outcomeOfCancelled(ended), startedAt: ended.startedAt }
      : ended
  }

  #drained(worker: string): void {
    if (!this.#mourned.delete(worker)) return
    this.#pusher?.({ kind: 'drained', worker })
    this.#options.report({ type: 'worker.drained', worker })
    this.#look()
  }

  // ---- the machine's orders

  finish(): void {
    this.#requests.add('outcomes.finished')
    this.#look()
  }

  /** What is not saved by now is requeued: the broker keeps it, and it runs again. */
  abandon(): void {
    if (this.#store === 'awaited') this.#store = 'givenUp'
    this.#requeueUnsaved()
  }

  #requeueUnsaved(): void {
    for (const { ended, worker } of this.#unsaved.splice(0)) {
      const key = keyOf(ended.header)
      const one: Case = {
        ended: { ...ended, interrupted: true },
        verdict: { key, fate: 'requeue' },
        saved: true,
        worker,
      }
      this.#cases.set(key, one)
      this.#count(one)
      this.#say(one)
      this.#pusher?.({ kind: 'verdicts', verdicts: [one.verdict] })
    }
    for (const worker of [...this.#mourned.keys()]) this.#drained(worker)
    this.#look()
  }

  awaitDesertion(): void {
    this.#requests.add('outcomes.deserted')
    this.#look()
  }

  #look(): void {
    for (const type of this.#requests)
      if (this.#hasComeAbout(type)) {
        this.#requests.delete(type)
        this.#options.report({ type })
      }
  }

  #hasComeAbout(type: 'outcomes.finished' | 'outcomes.deserted'): boolean {
    if (this.#workers.size > 0) return false
    return type === 'outcomes.deserted' || (this.#buried.size === 0 && !this.#isAnyLeft())
  }

  /** Without a pusher nobody can say that a case is settled. */
  #isAnyLeft(): boolean {
    return this.#pusher ? this.#cases.size > 0 : [...this.#cases.values()].some((one) => !one.saved)
  }
}

function toOutcome(
  { ended, verdict }: Case,
  { queue: cluster, cached: byDefault = 0 }: OutcomesOptions,
): Outcome {
  const { id: taskId, run, attempt, name, func, group, enqueuedAt } = ended.header
  const { args, success, result, startedAt, stoppedAt } = ended
  const { cached = byDefault } = ended.header
  return {
    ...{ taskId, run, attempt, name, func, ...(group !== undefined && { group }), cluster, args },
    ...{ success, result, fate: verdict.fate as Outcome['fate'], enqueuedAt, startedAt, stoppedAt },
    ...(cached > 0 && { expiresAt: stoppedAt + cached * 1000 }),
  }
}

/** Nothing more comes of this run, and no other run of its task follows by itself. */
function isFinal({ fate }: Verdict): boolean {
  return fate === 'ack' || fate === 'deadLetter'
}

function followedBy(verdict: Verdict, followers: ReadonlyMap<RunKey, readonly Follower[]>): Verdict {
  const follow = followers.get(verdict.key) ?? []
  return follow.length > 0 ? { ...verdict, follow } : verdict
}

function putAway(header: TaskHeader): Verdict {
  return { key: keyOf(header), fate: 'ack' }
}

/** Of these runs, those whose own outcome is the last one of their tasks. */
function concludedIn(
  headers: readonly TaskHeader[],
  outcomes: ReadonlyMap<string, Outcome>,
  verdicts: readonly Verdict[],
): Concluded[] {
  const final = new Set(verdicts.filter(isFinal).map(({ key }) => key))
  return headers.flatMap((header) => {
    const outcome = outcomes.get(header.id)
    return outcome?.run === header.run && final.has(keyOf(header)) ? [{ header, outcome }] : []
  })
}
