import type { Measures } from '../../machines/protocol.ts'
import type { DispatcherReport } from '../../machines/pusher.ts'
import type { Delivery, Enqueued, Notice, Package, Receipt, Settlement } from '../brokers/broker.ts'
import { Memory } from '../memory.ts'
import { type OpenedPackage, sealPackage } from '../package.ts'
import type { Signer } from '../signing.ts'
import type { Cancellation } from '../stores/cancellations.ts'
import { Cancelled } from './cancelled.ts'
import {
  type Follower,
  inFrames,
  type Job,
  type MonitorToPusher,
  type PusherToMonitor,
  type PusherToWorker,
  type RunKey,
  runKey,
  type Verdict,
  type WorkerToPusher,
} from './frames.ts'
import { Lanes } from './lanes.ts'
import { Backlog, Window } from './window.ts'

/** Where a run is: waiting here, at a worker, ended and waiting for its verdict, asked about, or left by a dead worker. */
type Place = 'waiting' | 'worker' | 'ended' | 'asked' | 'unfinished' | 'withdrawn' | 'left'

/** A lost broker hands these out again; nothing of theirs is under way here. */
const NOT_BEGUN: ReadonlySet<Place> = new Set<Place>(['waiting', 'asked', 'unfinished', 'withdrawn'])

/** Workers that are known to be gone: whoever recycles them has a new one now and then, for ever. */
const REMEMBERED = 1_000

interface Held {
  readonly key: RunKey
  isUrgent: boolean
  /** Null until the broker hands out the run again to us: a former pusher's receipt is void. */
  receipt: Receipt | null
  /** Null where only a worker knows the run so far. */
  opened: OpenedPackage | null
  place: Place
  worker: string | null
  /** A verdict that could not be carried out for want of a receipt. */
  verdict: Verdict | null
}

interface Seat {
  readonly worker: string
  readonly send: (message: PusherToWorker) => void
  /** Unfinished runs and their task names. */
  readonly jobs: Map<RunKey, string>
  readonly backlog: Backlog
  leaving: boolean
}

export interface DispatcherOptions {
  readonly queue: string
  readonly concurrency: number
  readonly maxDeliveries: number
  readonly signer: Signer
  /** Opens and checks a package; throws a SignatureError. */
  readonly open: (sealed: Package) => OpenedPackage
  /** Hands settlements to the broker. Resolves when they are there; void receipts are no error. */
  readonly settle: (settlements: readonly Settlement[]) => Promise<unknown>
  /** Hands notices to the broker, for those who wait for a result. */
  readonly notify: (notices: readonly Notice[]) => void
  readonly report: (event: DispatcherReport) => void
  readonly refused: (reason: string, sealed: Package) => void
}

/**
 * The pusher's custody of every delivery that is not settled: who has it, who gets it next, what becomes of it.
 * Plain synchronous decisions over plain data; sockets and broker are given to it.
 */
export class Dispatcher {
  readonly window = new Window()
  readonly #options: DispatcherOptions
  readonly #held = new Map<RunKey, Held>()
  readonly #seats = new Map<string, Seat>()
  /** The last workers whose process has ended: a connection that they made before is let in too late. */
  readonly #gone = new Memory<string, true>(REMEMBERED)
  /** Workers that are not connected any more, until the monitor has heard all that they had to say. */
  readonly #mourned = new Set<string>()
  readonly #waiting = new Lanes<Held>()
  #cancelled = new Cancelled()
  #monitor: ((message: PusherToMonitor) => void) | null = null
  #monitorSaid = false
  #awaited: Set<string> | null = null
  /** What the machine has asked to be told as soon as it has come about, and has not been told. */
  readonly #requests = new Set<'dispatcher.drained' | 'dispatcher.deserted'>()

  constructor(options: DispatcherOptions) {
    this.#options = options
  }

  /** Runs that are held and not settled. */
  get size(): number {
    return this.#held.size
  }

  /** Runs that may go on at the same time. */
  get slots(): number {
    return this.#seats.size * this.#options.concurrency
  }

  get gauges(): NonNullable<Measures['gauges']> {
    return { held: this.#held.size, waiting: this.#waiting.size }
  }

  // ---- the broker's side

  /** Takes what the broker handed out: refuses, adopts, asks about, or queues each. */
  take(deliveries: readonly Delivery[]): void {
    const asked: Held[] = []
    const unfinished: Held[] = []
    for (const delivery of deliveries) {
      const opened = this.#check(delivery)
      if (!opened) continue
      const held = this.#adopt(delivery, opened)
      if (!held) continue
      if (delivery.deliveries > this.#options.maxDeliveries) {
        held.place = 'unfinished'
        unfinished.push(held)
      } else if (mayBeKnown(delivery, opened)) {
        held.place = 'asked'
        asked.push(held)
      } else this.#waiting.push(held)
    }
    this.#ask(asked, unfinished)
    this.dispatch()
  }

  /** Without a monitor nobody answers; the next one is asked for all of them. */
  #ask(asked: readonly Held[], unfinished: readonly Held[]): void {
    if (asked.length > 0)
      this.#monitor?.({ kind: 'lookup', headers: asked.map((held) => this.#job(held).header) })
    if (unfinished.length > 0)
      this.#monitor?.({ kind: 'unfinished', jobs: unfinished.map((held) => this.#job(held)) })
  }

  /** The broker is lost: it will hand out again whatever is not settled. What nobody has begun is forgotten. */
  voidReceipts(): void {
    for (const held of this.#held.values()) {
      held.receipt = null
      if (NOT_BEGUN.has(held.place)) this.#held.delete(held.key)
    }
    this.#waiting.clear()
    this.#look()
  }

  #check(delivery: Delivery): OpenedPackage | null {
    try {
      return this.#options.open(delivery)
    } catch (error) {
      const reason = (error as Error).message
      this.#options.refused(reason, delivery)
      void this.#handOver([{ type: 'deadLetter', receipt: delivery.receipt, package: delivery, reason }])
      return null
    }
  }

  /** A run that is still under way here gets its new receipt and is not run again; null then. */
  #adopt(delivery: Delivery, opened: OpenedPackage): Held | null {
    const key = runKey(delivery.taskId, delivery.run)
    const known = this.#held.get(key)
    if (!known) {
      const held: Held = {
        key,
        isUrgent: opened.header.priority === 'high',
        receipt: delivery.receipt,
        opened,
        place: 'waiting',
        worker: null,
        verdict: null,
      }
      this.#held.set(key, held)
      return held
    }
    if (known.receipt !== null) return this.#dropCopy(delivery)
    known.receipt = delivery.receipt
    known.opened = opened
    known.isUrgent = opened.header.priority === 'high'
    if (known.verdict) this.#carryOut([known.verdict])
    else if (isUndecided(known)) this.#ask([known], [])
    return null
  }

  /** What follows from an outcome may be enqueued twice; the first one is still held. */
  #dropCopy({ receipt }: Delivery): null {
    void this.#handOver([{ type: 'ack', receipt }])
    return null
  }

  // ---- the workers' side

  /** A worker has connected; what it says it holds is not dispatched again. */
  seat(worker: string, holds: readonly RunKey[], send: (message: PusherToWorker) => void): void {
    if (this.#gone.has(worker)) return
    this.#seats.set(worker, { worker, send, jobs: new Map(), backlog: new Backlog(), leaving: false })
    this.#mourned.delete(worker)
    const theirs = new Set(holds)
    this.#waiting.remove(({ key }) => theirs.has(key))
    for (const key of holds) {
      const known = this.#held.get(key)
      if (known) Object.assign(known, { place: 'ended', worker })
      else
        this.#held.set(key, {
          ...{ key, isUrgent: false, receipt: null, opened: null },
          ...{ place: 'ended', worker, verdict: null },
        })
    }
    if (this.#cancelled.list.length > 0) send({ kind: 'cancelled', cancellations: this.#cancelled.list })
    this.#awaited?.delete(worker)
    this.#look()
    this.dispatch()
  }

  hear(worker: string, message: WorkerToPusher): void {
    const seat = this.#seats.get(worker)
    if (!seat) return
    if (message.kind === 'finished') this.#finished(seat, message.runs)
    if (message.kind === 'returned') this.#takeBack(seat, message.keys)
    if (message.kind === 'leaving') {
      seat.leaving = true
      seat.send({ kind: 'farewell' })
    }
    this.dispatch()
    this.#look()
  }

  #finished(seat: Seat, runs: Extract<WorkerToPusher, { kind: 'finished' }>['runs']): void {
    for (const { key, took } of runs) {
      const func = this.#leaveSeat(seat, key)
      if (func !== undefined) this.window.learn(func, took)
      const held = this.#held.get(key)
      if (held) held.place = 'ended'
    }
  }

  #takeBack(seat: Seat, keys: readonly RunKey[]): void {
    const back = keys.flatMap((key) => this.#held.get(key) ?? []).filter(({ place }) => place === 'worker')
    for (const { key } of back) this.#leaveSeat(seat, key)
    this.#queueFirst(back)
  }

  /** A run that it held for a former pusher was never counted here. */
  #leaveSeat({ jobs, backlog }: Seat, key: RunKey): string | undefined {
    const func = jobs.get(key)
    if (func === undefined) return undefined
    jobs.delete(key)
    backlog.remove(func)
    return func
  }

  /** A worker's connection has ended: what it had left waits for the monitor's word on what it was running. */
  unseat(worker: string): void {
    const seat = this.#seats.get(worker)
    if (!seat) return
    this.#seats.delete(worker)
    for (const held of this.#heldOf(worker)) if (held.place === 'worker') held.place = 'left'
    this.#mourn(worker)
    this.#look()
  }

  /** A worker's process has ended: nobody need wait for it to connect, or for what it left if it never did. */
  gone(worker: string): void {
    if (this.#gone.has(worker)) return
    this.#gone.set(worker, true)
    this.#awaited?.delete(worker)
    if (!this.#seats.has(worker) && !this.#mourned.has(worker)) this.#mourn(worker)
    this.#look()
  }

  #mourn(worker: string): void {
    this.#mourned.add(worker)
    this.#tellLeft(worker)
  }

  #tellLeft(worker: string): void {
    const jobs = this.#heldOf(worker).filter((held) => held.place === 'left' && held.opened)
    this.#monitor?.({ kind: 'left', worker, jobs: jobs.map((held) => this.#job(held)) })
  }

  #heldAt(place: Place): Held[] {
    return [...this.#held.values()].filter((held) => held.place === place)
  }

  #heldOf(worker: string): Held[] {
    return [...this.#held.values()].filter((held) => held.worker === worker)
  }

  // ---- the monitor's side

  /** A monitor has connected: everything that was asked of a former one is asked again. */
  attend(send: (message: PusherToMonitor) => void): void {
    this.#monitor = send
    this.#monitorSaid = false
  }

  unattend(): void {
    this.#monitor = null
    this.#monitorSaid = false
    this.#look()
  }

  hearMonitor(message: MonitorToPusher): void {
    if (message.kind === 'hello') this.#greetMonitor(message.unsettled)
    if (message.kind === 'notices') this.#options.notify(message.notices)
    if (message.kind === 'verdicts') this.#carryOut(message.verdicts)
    if (message.kind === 'unknown') this.#release(message.keys)
    if (message.kind === 'drained') this.#drained(message.worker)
    if (message.kind === 'cancelled') this.#cancel(message.cancellations)
    this.dispatch()
    this.#look()
  }

  #greetMonitor(unsettled: readonly Verdict[]): void {
    this.#monitorSaid = true
    this.#carryOut(unsettled)
    const undecided = [...this.#held.values()].filter(isUndecided)
    this.#ask([...this.#heldAt('asked'), ...undecided], this.#heldAt('unfinished'))
    this.#tellWithdrawn(this.#heldAt('withdrawn'))
    for (const worker of this.#mourned) this.#tellLeft(worker)
  }

  /** Nobody knows of an outcome: these redelivered runs are run. */
  #release(keys: readonly RunKey[]): void {
    for (const key of keys) {
      const held = this.#held.get(key)
      if (held?.place !== 'asked') continue
      held.place = 'waiting'
      this.#waiting.push(held)
    }
  }

  /** The monitor has heard all that a dead worker had to say. */
  #drained(worker: string): void {
    this.#gone.set(worker, true)
    this.#mourned.delete(worker)
    const held = this.#heldOf(worker)
    // What it never started goes to the next one.
    this.#queueFirst(held.filter(({ place }) => place === 'left'))
    this.#askAgain(held.filter(isUndecided))
    for (const { key } of held.filter(isUnheard)) this.#held.delete(key)
  }

  /** Their outcomes may have died with their worker. */
  #askAgain(undecided: readonly Held[]): void {
    for (const held of undecided) Object.assign(held, { place: 'asked', worker: null })
    this.#ask(undecided, [])
  }

  /** These wait again, before what came later; one without a receipt is handed out anew by the broker. */
  #queueFirst(again: readonly Held[]): void {
    for (const held of again) Object.assign(held, { place: 'waiting', worker: null })
    this.#waiting.unshift(again.filter((held) => held.receipt !== null))
    for (const held of again) if (held.receipt === null) this.#held.delete(held.key)
  }

  /** Settles, then says so; what has no receipt is noted, for the broker will hand it out once more. */
  #carryOut(verdicts: readonly Verdict[]): void {
    const settlements: Settlement[] = []
    const handed: RunKey[] = []
    const noted: RunKey[] = []
    for (const verdict of verdicts) {
      const held = this.#held.get(verdict.key)
      if (held && (!held.receipt || !held.opened)) this.#note(held, verdict)
      if (!held?.receipt || !held.opened) {
        noted.push(verdict.key)
        continue
      }
      settlements.push(this.#settlement(held.receipt, held.opened, verdict))
      handed.push(verdict.key)
      this.#held.delete(verdict.key)
    }
    if (noted.length > 0) this.#monitor?.({ kind: 'settled', keys: noted })
    if (handed.length === 0) return
    const settled = () => this.#monitor?.({ kind: 'settled', keys: handed })
    void this.#handOver(settlements).then(settled)
  }

  /** A broker that is lost now redelivers all of these, and the store knows what was decided: that is settled enough. */
  async #handOver(settlements: readonly Settlement[]): Promise<void> {
    await this.#options.settle(settlements).catch(() => {})
  }

  /** A requeue is no decision: where the receipt is void the broker has requeued it already. */
  #note(held: Held, verdict: Verdict): void {
    if (verdict.fate === 'requeue') this.#held.delete(held.key)
    else held.verdict = verdict
  }

  #settlement(receipt: Receipt, { header, args }: OpenedPackage, verdict: Verdict): Settlement {
    const { queue, signer } = this.#options
    const reason = verdict.reason ?? ''
    const follow = verdict.follow && { follow: verdict.follow.map((one) => this.#enqueued(one)) }
    switch (verdict.fate) {
      case 'ack':
        return { type: 'ack', receipt, ...follow }
      case 'requeue':
        return { type: 'requeue', receipt }
      case 'retry': {
        const next = { ...header, run: header.run + 1, attempt: header.attempt + 1 }
        return {
          type: 'retry',
          receipt,
          package: sealPackage(next, args, queue, signer),
          delay: verdict.delay ?? 0,
          reason,
        }
      }
      case 'deadLetter':
        return {
          type: 'deadLetter',
          receipt,
          package: sealPackage(header, args, queue, signer),
          reason,
          ...follow,
        }
    }
  }

  #enqueued({ header, args }: Follower): Enqueued {
    const { queue, signer } = this.#options
    return { queue, package: sealPackage(header, args, queue, signer) }
  }

  // ---- deciding who gets what

  /** Sends what waits to whoever has room, in order, the urgent first; nobody waits behind a slow or unknown run. */
  dispatch(): void {
    if (this.#waiting.size === 0) return
    const batches = new Map<Seat, Job[]>()
    for (let held = this.#waiting.peek(); held; held = this.#waiting.peek()) {
      const job = this.#job(held)
      if (this.#cancelled.covers(job.header)) {
        this.#waiting.shift()
        this.#withdraw([held])
        continue
      }
      const seat = this.#roomFor(job.header.func)
      if (!seat) break
      this.#assign(held, seat, job)
      const batch = batches.get(seat)
      if (batch) batch.push(job)
      else batches.set(seat, [job])
      this.#waiting.shift()
    }
    for (const [seat, batch] of batches) for (const jobs of inFrames(batch)) seat.send({ kind: 'jobs', jobs })
    this.#look()
  }

  // ---- what nobody wants any more

  #cancel(cancellations: readonly Cancellation[]): void {
    this.#cancelled = new Cancelled(cancellations)
    this.#withdraw(this.#waiting.remove((held) => this.#isCancelled(held)))
    for (const { send } of this.#seats.values()) send({ kind: 'cancelled', cancellations })
    const taskIds = this.#heldAt('worker').flatMap((held) => (this.#isCancelled(held) ? [idOf(held)] : []))
    if (taskIds.length > 0) this.#options.report({ type: 'runs.cancelled', taskIds })
  }

  #isCancelled({ opened }: Held): boolean {
    return opened !== null && this.#cancelled.covers(opened.header)
  }

  /** It never starts; the monitor makes its outcome. */
  #withdraw(those: readonly Held[]): void {
    for (const held of those) held.place = 'withdrawn'
    this.#tellWithdrawn(those)
  }

  #tellWithdrawn(those: readonly Held[]): void {
    if (those.length > 0) this.#monitor?.({ kind: 'withdrawn', jobs: those.map((held) => this.#job(held)) })
  }

  #assign(held: Held, seat: Seat, { header: { func } }: Job): void {
    held.place = 'worker'
    held.worker = seat.worker
    seat.jobs.set(held.key, func)
    seat.backlog.add(func)
  }

  /** The least loaded worker that may get a run of this name. */
  #roomFor(func: string): Seat | undefined {
    let best: Seat | undefined
    for (const seat of this.#seats.values()) {
      if (seat.leaving || (best && seat.backlog.size >= best.backlog.size)) continue
      if (this.window.admits(func, seat.backlog, this.#options.concurrency)) best = seat
    }
    return best
  }

  #job(held: Held): Job {
    const { header, args } = held.opened as OpenedPackage
    return { header, args, tiny: this.window.isTiny(header.func) }
  }

  // ---- the machine's orders

  join(workers: readonly string[]): void {
    this.#awaited = new Set(workers.filter((worker) => !this.#seats.has(worker)))
    this.#look()
  }

  drain(): void {
    this.#requests.add('dispatcher.drained')
    this.#look()
  }

  /** Gives back what no worker has; whether the monitor will ever answer for a run is not waited for. */
  abandon(): void {
    const given = [
      ...this.#waiting.clear(),
      ...this.#heldAt('asked'),
      ...this.#heldAt('unfinished'),
      ...this.#heldAt('withdrawn'),
    ]
    for (const held of given) this.#held.delete(held.key)
    void this.#handOver(
      given.flatMap(({ receipt }) => (receipt ? [{ type: 'requeue', receipt } as const] : [])),
    )
    this.#look()
  }

  awaitDesertion(): void {
    this.#requests.add('dispatcher.deserted')
    this.#look()
  }

  /** Reports each thing that the machine waits for, once, when it has come about. */
  #look(): void {
    if (this.#awaited?.size === 0 && this.#monitorSaid) {
      this.#awaited = null
      this.#options.report({ type: 'dispatcher.joined' })
    }
    if (this.#requests.has('dispatcher.drained') && this.#seats.size === 0 && this.#waiting.size > 0)
      this.abandon()
    for (const type of this.#requests)
      if (this.#hasComeAbout(type)) {
        this.#requests.delete(type)
        this.#options.report({ type })
      }
  }

  #hasComeAbout(type: 'dispatcher.drained' | 'dispatcher.deserted'): boolean {
    if (type === 'dispatcher.deserted') return this.#seats.size === 0 && !this.#monitor
    return this.#waiting.size === 0 && this.#heldAt('asked').length === 0 && this.#heldAt('left').length === 0
  }
}

/**
 * Its worker said that it holds the run, and it is redelivered: the monitor may have noted before that it is decided, when
 * nobody here knew of it, and will not say it again unless it is asked.
 */
function isUndecided({ place, opened, receipt, verdict }: Held): boolean {
  return place === 'ended' && opened !== null && receipt !== null && verdict === null
}

/** The same without a receipt: it is asked about when it is handed out anew. */
function isUnheard({ place, receipt, verdict }: Held): boolean {
  return place === 'ended' && receipt === null && verdict === null
}

/** Whether its run may have been decided before: it was handed out, or sent, more than once, or may have been. */
function mayBeKnown({ deliveries, run, isResent }: Delivery, { header }: OpenedPackage): boolean {
  return deliveries > 1 || run > 1 || isResent === true || header.follows !== undefined
}

const idOf = ({ opened }: Held): string => opened?.header.id ?? ''
