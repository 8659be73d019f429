/** One consumer of the embedded broker: claims what is due, settles it, keeps its lease, and takes over from the dead. */
import { randomInt } from 'node:crypto'
import { isCertainlyDead, thisProcess } from '../directory.ts'
import type { Doorbell } from '../doorbell.ts'
import { BrokerError } from '../errors.ts'
import type { SqliteFile } from '../sqlite.ts'
import type { ConsumeOptions, Consumer, Delivery, Priority, Settlement } from './broker.ts'
import type { Bells } from './sqlite-bells.ts'
import {
  type ClaimedRow,
  followOf,
  type Holder,
  type Lease,
  type QueueTables,
  type Redeemed,
} from './sqlite-tables.ts'

/** Messages that one transaction claims or purges at most, so that none holds up the event loop for long. */
export const BATCH = 500

/** What a broker and its consumers share. */
export interface Shared {
  readonly file: SqliteFile
  readonly tables: QueueTables
  readonly bells: Bells
  readonly pollInterval: number
  readonly leaseTime: number
  readonly consumers: Set<SqliteConsumer>
  /** Lease → queue of consumers that are gone, while their leases are not ended yet. */
  readonly abandoned: Map<number, string>
}

/** Ends the leases that nobody here needs any more; what they hold goes back to its queue. */
export async function releaseAbandoned({ file, tables, bells, abandoned }: Shared): Promise<void> {
  const leases = [...abandoned]
  if (leases.length === 0) return
  await file.write(() => leases.map(([lease]) => tables.releaseLease(lease)), BATCH)
  for (const [lease, queue] of leases) {
    abandoned.delete(lease)
    bells.ring(queue)
  }
}

/**
 * Takes deliveries for as long as it is `taking`; `stopped`, it keeps its lease until all it has is settled; `gone`, its
 * receipts are void. Its timers keep the process, unlike everything else of a broker.
 */
export class SqliteConsumer implements Consumer {
  readonly #options: ConsumeOptions
  readonly #shared: Shared
  readonly #holder: Holder
  readonly #pulses: Pulses
  /** Receipt → seq of what is handed out and not settled. */
  readonly #held = new Map<unknown, number>()
  /** The receipts of what is urgent among them. */
  readonly #urgent = new Set<unknown>()
  #prefetch: number
  #state: 'taking' | 'stopped' | 'gone' = 'taking'
  #doorbell: Doorbell | undefined
  #looking: Promise<void> | undefined
  #lookAgain = false
  #renewedAt = performance.now()
  /** Milliseconds until the next round. */
  #rest: number
  #round: NodeJS.Timeout | undefined
  #alarm: NodeJS.Timeout | undefined

  constructor(options: ConsumeOptions, shared: Shared) {
    this.#options = options
    this.#shared = shared
    this.#prefetch = options.prefetch
    // Random, so that it means nothing in a file that was put in the place of this one.
    this.#holder = { lease: randomInt(1, 2 ** 48 - 1), queue: options.queue }
    this.#rest = shared.pollInterval
    this.#pulses = new Pulses(shared.leaseTime, 2 * this.#longestRest)
  }

  /** Tells this consumer from all others. */
  get name(): string {
    return String(this.#holder.lease)
  }

  /** Begins to take deliveries; the first come after this has resolved. Takes over the doorbell. */
  async open(doorbell: Doorbell): Promise<void> {
    const { file, tables, consumers } = this.#shared
    try {
      await file.write(() => tables.insertLease(this.#holder, thisProcess(), doorbell.path))
    } catch (error) {
      await doorbell.close()
      throw error
    }
    this.#doorbell = doorbell
    consumers.add(this)
    void this.#goRound()
  }

  setPrefetch(prefetch: number): void {
    this.#prefetch = prefetch
    this.look()
  }

  async settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }> {
    const redeemed = settlements.flatMap((settlement) => this.#redeem(settlement))
    const lapsed = redeemed.length === 0 ? 0 : await this.#write(redeemed)
    return { void: settlements.length - redeemed.length + lapsed }
  }

  async stop(): Promise<void> {
    if (this.#state === 'taking') this.#state = 'stopped'
    clearTimeout(this.#alarm)
    await this.#looking
    await this.#takeDownDoorbell()
    await this.#retireWhenDone()
  }

  /** Looks for messages that are due, and hands out what there is room for. */
  look(): void {
    this.#lookAgain = true
    this.#looking ??= this.#takeWhatIsDue()
  }

  /** Its lease is left for {@link releaseAbandoned}. */
  async leave(): Promise<void> {
    if (this.#state === 'gone') return
    this.#state = 'gone'
    clearTimeout(this.#round)
    clearTimeout(this.#alarm)
    this.#held.clear()
    this.#urgent.clear()
    this.#shared.consumers.delete(this)
    this.#shared.abandoned.set(this.#holder.lease, this.#holder.queue)
    await this.#takeDownDoorbell()
  }

  #roomFor(priority: Priority): number {
    if (this.#state !== 'taking') return 0
    const held = priority === 'high' ? this.#urgent.size : this.#held.size - this.#urgent.size
    return Math.min(this.#prefetch - held, BATCH)
  }

  /** The priorities for which there is room, the higher first. */
  get #wanted(): Priority[] {
    return PRIORITIES.filter((priority) => this.#roomFor(priority) > 0)
  }

  /**
   * Milliseconds between two rounds while nothing comes: rings may not reach us from everywhere, so there is no long
   * rest, and the lease is renewed in time.
   */
  get #longestRest(): number {
    const { pollInterval, leaseTime } = this.#shared
    return Math.min(Math.max(pollInterval, RESTING), leaseTime / RENEWALS)
  }

  async #takeWhatIsDue(): Promise<void> {
    try {
      while (this.#lookAgain) {
        this.#lookAgain = false
        await this.#takeBatch()
      }
    } catch (error) {
      this.#lose(error as Error)
    }
    this.#looking = undefined
  }

  async #takeBatch(): Promise<void> {
    const { file, tables } = this.#shared
    clearTimeout(this.#alarm)
    const wanted = this.#wanted
    if (wanted.length === 0) return
    const wait = await file.read(() => tables.untilDue(this.#holder.queue, wanted))
    if (wait === undefined) return
    if (wait > 0) return this.#setAlarm(wait)
    this.#handOut(await file.write(() => this.#claim(), Math.max(...wanted.map((one) => this.#roomFor(one)))))
    this.#lookAgain = true
  }

  /** What is due after a round at the latest is left to that round. */
  #setAlarm(delay: number): void {
    if (this.#state === 'taking' && delay < this.#longestRest)
      this.#alarm = setTimeout(() => this.look(), delay)
  }

  #claim(): Claimed[] {
    const { tables } = this.#shared
    // Seen now, not when this was asked for: settlements just before us in this transaction have made room.
    const wanted = this.#wanted
    if (wanted.length === 0) return []
    if (!tables.hasLease(this.#holder.lease)) throw this.#takenOver()
    return wanted.map((priority) => ({
      priority,
      rows: tables.claim(this.#holder, priority, this.#roomFor(priority)),
    }))
  }

  #handOut(claimed: readonly Claimed[]): void {
    if (this.#state === 'gone') return
    const deliveries = claimed.flatMap(({ priority, rows }) =>
      rows.map((row) => this.#deliver(row, priority)),
    )
    if (deliveries.length === 0) return
    this.#rest = this.#shared.pollInterval
    this.#options.onDeliveries(deliveries)
  }

  #deliver([seq, , deliveries, taskId, run, attempt, body]: ClaimedRow, priority: Priority): Delivery {
    const receipt = ++lastReceipt
    this.#held.set(receipt, seq)
    if (priority === 'high') this.#urgent.add(receipt)
    return { taskId, run, attempt, body, deliveries, receipt }
  }

  #redeem(settlement: Settlement): Redeemed[] {
    const seq = this.#held.get(settlement.receipt)
    this.#held.delete(settlement.receipt)
    this.#urgent.delete(settlement.receipt)
    return seq === undefined ? [] : [{ seq, settlement }]
  }

  async #write(redeemed: readonly Redeemed[]): Promise<number> {
    const { file, tables, bells } = this.#shared
    const writing = file.write(() => tables.settle(this.#holder, redeemed), redeemed.length)
    // At once, so that taking the next ones shares the transaction.
    this.look()
    try {
      const lapsed = await writing
      for (const queue of this.#refilled(redeemed)) bells.ring(queue)
      return lapsed
    } catch (error) {
      this.#lose(error as Error)
      throw error
    } finally {
      void this.#retireWhenDone()
    }
  }

  /** The queues in which these settlements leave something for others. */
  #refilled(redeemed: readonly Redeemed[]): Set<string> {
    const queues = new Set<string>()
    for (const { settlement } of redeemed) {
      if (PUTS_BACK.has(settlement.type)) queues.add(this.#holder.queue)
      for (const { queue } of followOf(settlement)) queues.add(queue)
    }
    return queues
  }

  /** Stopped, and nothing is left to settle. */
  async #retireWhenDone(): Promise<void> {
    if (this.#state !== 'stopped' || this.#held.size > 0) return
    await this.leave()
    // It holds nothing, so it does no harm if this must wait until the next consumer opens or the broker closes.
    await releaseAbandoned(this.#shared).catch(() => {})
  }

  async #goRound(): Promise<void> {
    try {
      await this.#renewLease()
      await this.#takeOverTheDead()
      this.look()
    } catch (error) {
      this.#lose(error as Error)
    }
    if (this.#state !== 'gone') this.#round = setTimeout(() => void this.#goRound(), this.#nextRest())
  }

  /** Each round without a delivery makes the next rest longer: an idle cluster should sleep. */
  #nextRest(): number {
    this.#rest = Math.min(2 * this.#rest, this.#longestRest)
    return this.#rest
  }

  async #renewLease(): Promise<void> {
    const { file, tables, leaseTime } = this.#shared
    if (performance.now() - this.#renewedAt < leaseTime / RENEWALS) return
    this.#renewedAt = performance.now()
    const doorbell = this.#doorbell?.path ?? null
    if (!(await file.write(() => tables.renewLease(this.#holder.lease, doorbell)))) throw this.#takenOver()
  }

  /** Gives back what consumers hold that are gone, of whatever queue. */
  async #takeOverTheDead(): Promise<void> {
    const { file, tables, bells } = this.#shared
    const others = await file.read(() => tables.leasesExcept(this.#holder.lease))
    const quiet = new Set(this.#pulses.stopped(others))
    const dead = others.filter((lease) => quiet.has(lease) || isCertainlyDead(lease))
    if (dead.length === 0) return
    await file.write(() => {
      for (const lease of dead) if (tables.isStillAt(lease)) tables.releaseLease(lease.id)
    }, BATCH)
    for (const { queue } of dead) bells.ring(queue)
  }

  #takenOver(): BrokerError {
    return new BrokerError(
      `What this consumer of "${this.#holder.queue}" held was given to others, because it showed no sign of life for ${this.#shared.leaseTime} ms: consume again.`,
    )
  }

  #lose(error: Error): void {
    if (this.#state === 'gone') return
    void this.leave()
    this.#options.onLost(error)
  }

  async #takeDownDoorbell(): Promise<void> {
    const doorbell = this.#doorbell
    this.#doorbell = undefined
    await doorbell?.close()
  }
}

/** Messages of a priority that were claimed. */
interface Claimed {
  readonly priority: Priority
  readonly rows: readonly ClaimedRow[]
}

/** The higher first. */
const PRIORITIES: readonly Priority[] = ['high', 'normal']

/** Receipts are numbers that this process never used before, so one of a lost consumer is worth nothing to the next. */
let lastReceipt = 0

/** Milliseconds between two rounds of a consumer to which nothing comes. */
const RESTING = 1_000
/** Signs of life within a lease time: one that comes late must not cost the lease. */
const RENEWALS = 5
/** Settlements that put something back into their queue. */
const PUTS_BACK: ReadonlySet<Settlement['type']> = new Set(['retry', 'requeue'])

/**
 * Tells which leases show no sign of life. It adds up the time that it has watched each one itself: the wall clock may
 * be set, and after a suspended machine has woken up nobody has missed a renewal.
 */
class Pulses {
  readonly #leaseTime: number
  readonly #longestStep: number
  #seen = new Map<number, { readonly beat: number; readonly still: number }>()
  #lookedAt = performance.now()

  /** @param longestStep milliseconds between two looks that count at most */
  constructor(leaseTime: number, longestStep: number) {
    this.#leaseTime = leaseTime
    this.#longestStep = longestStep
  }

  /** Of these leases the ones that have been without a sign of life for the lease time. */
  stopped(leases: readonly Lease[]): Lease[] {
    const step = Math.min(performance.now() - this.#lookedAt, this.#longestStep)
    this.#lookedAt = performance.now()
    const before = this.#seen
    this.#seen = new Map()
    return leases.filter(({ id, beat }) => {
      const last = before.get(id)
      const still = last?.beat === beat ? last.still + step : 0
      this.#seen.set(id, { beat, still })
      return still >= this.#leaseTime
    })
  }
}
