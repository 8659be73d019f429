/** One consumer of a lane of a queue in RabbitMQ: takes deliveries, settles them, and says so when it does not get any more. */
import type { Channel, ConsumeMessage, Message } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { ConsumeOptions, Consumer, Delivery, Priority, Settlement } from './broker.ts'
import { asBrokerError, type Link } from './rabbitmq-link.ts'
import { letterOf } from './rabbitmq-publisher.ts'
import { HEADERS, type Letter } from './rabbitmq-session.ts'
import { declareAll, routeTo, routeToDead, using, workQueue } from './rabbitmq-topology.ts'

/** What a consumer needs of its broker. */
export interface ConsumerParts {
  readonly link: Link
  /** Of what priority its deliveries are; `normal` when absent. */
  readonly priority?: Priority
  /** Publishes over the connection of the producers: this one must stay readable when the server blocks those. */
  readonly publish: (letters: readonly Letter[]) => Promise<void>
  /** The consumer takes deliveries. */
  readonly opened: (consumer: RabbitmqConsumer) => void
  /** The consumer is done with, or lost. */
  readonly gone: (consumer: RabbitmqConsumer) => void
}

/**
 * Milliseconds that an acknowledgement waits for those of the deliveries before it, to be told with them. Workers that run
 * beside each other end their tasks out of order: of 100 tiny ones, 36 had a frame of their own without this, and 7 have it.
 */
const TOGETHER = 20

/** A delivery of ours; the object itself is the receipt. Tags start anew on each channel and would be mistaken. */
class Held {
  readonly owner: RabbitmqConsumer
  readonly tag: number
  /** Which part of the prefetch it takes up. */
  readonly share: Share
  state: 'held' | 'settling' | 'acknowledging' | 'settled' = 'held'

  constructor(owner: RabbitmqConsumer, tag: number, share: Share) {
    this.owner = owner
    this.tag = tag
    this.share = share
  }
}

/** A consumer in the sense of AMQP, whose prefetch is fixed. Several make up ours. */
interface Share {
  readonly prefetch: number
  tag: string
  unsettled: number
}

/**
 * Takes deliveries while it is `taking`; `stopped`, it keeps its channel until all it has is settled; `gone`, its receipts
 * are void.
 */
export class RabbitmqConsumer implements Consumer {
  readonly #options: ConsumeOptions
  readonly #parts: ConsumerParts
  readonly #channel: Channel
  /** In the order of their tags; what is settled at its head is cut off. */
  readonly #held: Held[] = []
  #unsettled = 0
  /** Since the last look at whether it gets what waits. */
  #taken = 0
  #wasStarved = false
  #arrived: Delivery[] = []
  #shares: Share[] = []
  /** Shares that take no more, while something of theirs is unsettled. */
  #ending: Share[] = []
  #prefetch: number
  #adjusting: Promise<void> = Promise.resolve()
  /** Until then acknowledgements wait for those before them. */
  #together: NodeJS.Timeout | undefined
  #state: 'taking' | 'stopped' | 'gone' = 'taking'

  /** Declares the queue and begins to take deliveries; the first come after this has resolved. */
  static async open(options: ConsumeOptions, parts: ConsumerParts): Promise<RabbitmqConsumer> {
    const channel = await parts.link.channel()
    const consumer = new RabbitmqConsumer(options, parts, channel)
    try {
      await declareAll(() => parts.link.channel(), options.queue)
      await consumer.#addShare(options.prefetch)
    } catch (error) {
      await consumer.leave()
      throw asBrokerError(error)
    }
    parts.opened(consumer)
    return consumer
  }

  constructor(options: ConsumeOptions, parts: ConsumerParts, channel: Channel) {
    this.#options = options
    this.#parts = parts
    this.#channel = channel
    this.#prefetch = options.prefetch
    parts.link.hold()
    let reason: Error | undefined
    channel.on('error', (error) => {
      reason = error
    })
    channel.on('close', () => this.#lose(reason))
  }

  get queue(): string {
    return this.#options.queue
  }

  /** Deliveries that are not settled. */
  get unsettled(): number {
    return this.#unsettled
  }

  /** As how many consumers of the queue the server counts it; those of what is urgent are counted apart. */
  get size(): number {
    return this.#parts.priority === 'high' ? 0 : this.#shares.length
  }

  /** Whether it has given this receipt. */
  owns(receipt: unknown): boolean {
    return receipt instanceof Held && receipt.owner === this
  }

  setPrefetch(prefetch: number): void {
    this.#prefetch = prefetch
    this.#adjust()
  }

  async settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }> {
    // What is settled makes room: not before a lower prefetch has reached the server.
    await this.#adjusting
    const redeemed = settlements.filter(({ receipt }) => this.#redeem(receipt))
    const copied: Promise<void>[] = []
    for (const settlement of redeemed) {
      const held = settlement.receipt as Held
      if (settlement.type === 'requeue') this.#putBack(held)
      else if (settlement.type === 'ack' && !settlement.follow) held.state = 'acknowledging'
      else copied.push(this.#replace(held, this.#lettersOf(settlement)))
    }
    this.#acknowledge()
    if (copied.length > 0) await this.#acknowledgeCopied(redeemed, copied)
    return { void: settlements.length - redeemed.length }
  }

  async stop(): Promise<void> {
    if (this.#state === 'taking') this.#state = 'stopped'
    this.#acknowledgeRest()
    this.#adjust()
    await this.#adjusting
    await this.#retireWhenDone()
  }

  /** Starved twice in a row is lost: what was there once may have been on its way. */
  async check(): Promise<void> {
    const isIdle = this.#state === 'taking' && this.#unsettled === 0 && this.#taken === 0
    this.#taken = 0
    const waiting = isIdle ? await this.#countWaiting() : 0
    const isStarved = waiting > 0 && this.#taken === 0
    if (isStarved && this.#wasStarved) this.#lose(new Error(`${waiting} wait there, and none came`))
    this.#wasStarved = isStarved
  }

  async leave(): Promise<void> {
    if (this.#state === 'gone') return
    this.#end()
    await this.#channel.close().catch(() => {})
  }

  get #source(): string {
    return workQueue(this.#options.queue, this.#parts.priority)
  }

  async #countWaiting(): Promise<number> {
    const name = this.#source
    const { messageCount } = await using(
      () => this.#parts.link.channel(),
      (channel) => channel.checkQueue(name),
    )
    return messageCount
  }

  // ---- taking

  #take(share: Share, message: ConsumeMessage): void {
    if (this.#state !== 'taking') {
      this.#returnUnseen(message)
      return
    }
    const held = new Held(this, message.fields.deliveryTag, share)
    this.#held.push(held)
    this.#unsettled++
    this.#taken++
    share.unsettled++
    this.#arrived.push(this.#deliveryOf(message, held))
    // Later, so that what comes in one packet is one batch, and the first comes after `consume` has resolved.
    if (this.#arrived.length === 1) setImmediate(() => this.#handOut())
  }

  #handOut(): void {
    const deliveries = this.#arrived
    this.#arrived = []
    if (this.#state === 'taking') this.#options.onDeliveries(deliveries)
    else this.#returnUntaken(deliveries)
  }

  #deliveryOf({ properties, content }: Message, receipt: Held): Delivery {
    const { messageId, headers = {} } = properties
    return {
      taskId: typeof messageId === 'string' ? messageId : '',
      run: countOf(headers[HEADERS.run]),
      attempt: countOf(headers[HEADERS.attempt]),
      body: content.toString(),
      deliveries: 1 + countOf(headers[this.#parts.link.traits.returnsHeader]),
      ...(headers[HEADERS.resent] === true && { isResent: true }),
      receipt,
    }
  }

  #returnUntaken(deliveries: readonly Delivery[]): void {
    for (const { receipt } of deliveries) if (this.#redeem(receipt)) this.#putBack(receipt as Held)
    void this.#retireWhenDone()
  }

  /** It came while we were stopping. */
  #returnUnseen(message: Message): void {
    if (this.#state === 'stopped') this.#channel.nack(message, false, true)
  }

  // ---- settling

  /** True once for each receipt of ours. */
  #redeem(receipt: unknown): boolean {
    if (this.#state === 'gone' || !(receipt instanceof Held)) return false
    if (receipt.owner !== this || receipt.state !== 'held') return false
    receipt.state = 'settling'
    return true
  }

  /** Acknowledges all up to the first unsettled one, and the others when that one has taken too long. */
  #acknowledge(): void {
    if (this.#state === 'gone') return
    const last = this.#cutHead()
    if (last) this.#channel.ack(messageOf(last), true)
    if (this.#held.some(isAcknowledging)) this.#acknowledgeSoon()
    this.#makeRoom()
  }

  /** Cuts off what is settled or to be acknowledged at the head; returns the last to be acknowledged. */
  #cutHead(): Held | undefined {
    const end = this.#held.findIndex(({ state }) => state !== 'acknowledging' && state !== 'settled')
    const acknowledged = this.#held.splice(0, end < 0 ? this.#held.length : end).filter(isAcknowledging)
    for (const held of acknowledged) this.#settled(held)
    return acknowledged.at(-1)
  }

  #acknowledgeSoon(): void {
    if (this.#state === 'stopped') this.#acknowledgeRest()
    else
      this.#together ??= setTimeout(() => {
        this.#acknowledgeRest()
        this.#makeRoom()
      }, TOGETHER)
  }

  #acknowledgeRest(): void {
    clearTimeout(this.#together)
    this.#together = undefined
    for (const held of this.#held.filter(isAcknowledging)) {
      this.#channel.ack(messageOf(held))
      this.#settled(held)
    }
  }

  #putBack(held: Held): void {
    this.#channel.nack(messageOf(held), false, true)
    this.#settled(held)
  }

  #settled(held: Held): void {
    held.state = 'settled'
    held.share.unsettled--
    this.#unsettled--
  }

  /** The copy and what follows first: what is lost in between is there twice, not gone. */
  async #replace(held: Held, letters: readonly Letter[]): Promise<void> {
    await this.#parts.publish(letters)
    held.state = 'acknowledging'
  }

  #lettersOf(settlement: Exclude<Settlement, { type: 'requeue' }>): Letter[] {
    const follow = settlement.type === 'retry' ? [] : (settlement.follow ?? [])
    const copy = settlement.type === 'ack' ? [] : [this.#copyOf(settlement)]
    return [...follow.map(letterOf), ...copy]
  }

  #copyOf(settlement: Extract<Settlement, { type: 'retry' | 'deadLetter' }>): Letter {
    const { queue } = this.#options
    const { package: sealed, reason } = settlement
    if (settlement.type === 'retry')
      return { queue, package: sealed, route: routeTo(queue, sealed.priority, settlement.delay) }
    const headers = { [HEADERS.reason]: reason, [HEADERS.diedAt]: Date.now() }
    return { queue, package: sealed, route: routeToDead(queue), headers }
  }

  /** An original whose copy is not confirmed goes back: whoever gets it carries out its fate again. */
  async #acknowledgeCopied(
    settlements: readonly Settlement[],
    copied: readonly Promise<void>[],
  ): Promise<void> {
    const outcomes = await Promise.allSettled(copied)
    if (this.#state !== 'gone') {
      this.#acknowledge()
      for (const { receipt } of settlements) {
        const held = receipt as Held
        if (held.state === 'settling') this.#putBack(held)
      }
    }
    this.#makeRoom()
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed) throw asBrokerError(failed.reason)
  }

  /** After something was settled. */
  #makeRoom(): void {
    if (this.#state === 'stopped') void this.#retireWhenDone()
    else if (this.#ending.length > 0) this.#adjust()
  }

  async #retireWhenDone(): Promise<void> {
    if (this.#state === 'stopped' && this.#unsettled === 0 && this.#shares.length === 0) await this.leave()
  }

  // ---- the prefetch

  #adjust(): void {
    this.#adjusting = this.#adjusting.then(() => this.#adjustShares()).catch((error) => this.#lose(error))
  }

  /**
   * A prefetch is fixed when AMQP's consumer starts. So ours is made up of several: to raise it, one is added; to lower
   * it, the last ones are cancelled, and what they gave is settled as ever. Deliveries never pause meanwhile.
   */
  async #adjustShares(): Promise<void> {
    const wanted = this.#state === 'taking' ? this.#prefetch : 0
    while (sum(this.#shares, 'prefetch') > wanted) await this.#dropShare()
    this.#ending = this.#ending.filter(({ unsettled }) => unsettled > 0)
    const missing = wanted - sum(this.#shares, 'prefetch')
    const free = missing - sum(this.#ending, 'unsettled')
    // In halves: neither one by one as each is settled, nor not at all before the last one is.
    if (missing > 0 && free >= missing / 2) await this.#addShare(free)
  }

  async #addShare(prefetch: number): Promise<void> {
    const share: Share = { prefetch, tag: '', unsettled: 0 }
    await this.#channel.prefetch(prefetch)
    const take = (message: ConsumeMessage | null) =>
      message ? this.#take(share, message) : this.#lose(new Error('the server has cancelled the consumer'))
    const { consumerTag } = await this.#channel.consume(this.#source, take)
    share.tag = consumerTag
    this.#shares.push(share)
  }

  async #dropShare(): Promise<void> {
    const share = this.#shares.pop() as Share
    await this.#channel.cancel(share.tag)
    if (share.unsettled > 0) this.#ending.push(share)
  }

  // ---- the end

  #lose(reason: Error | undefined): void {
    if (this.#state === 'gone') return
    const wasStopped = this.#state === 'stopped'
    const hadSome = this.#unsettled > 0
    void this.leave()
    if (!wasStopped || hadSome) void this.#tellLost(reason)
  }

  /** Where the connection is gone, it knows why, and says so next. */
  async #tellLost(reason: Error | undefined): Promise<void> {
    const error = reason ?? (await this.#parts.link.ended)
    this.#options.onLost(error instanceof BrokerError ? error : lost(this.#options.queue, error))
  }

  #end(): void {
    this.#state = 'gone'
    clearTimeout(this.#together)
    this.#held.length = 0
    this.#unsettled = 0
    this.#parts.link.release()
    this.#parts.gone(this)
  }
}

const isAcknowledging = ({ state }: Held): boolean => state === 'acknowledging'

/** All that amqplib reads of a message to settle it. */
const messageOf = ({ tag }: Held): Message => ({ fields: { deliveryTag: tag } }) as Message

/** Headers are a stranger's until the signature is checked; what is no count is none. */
const countOf = (header: unknown): number => (Number.isSafeInteger(header) ? (header as number) : 0)

function sum<K extends string>(shares: readonly Record<K, number>[], key: K): number {
  return shares.reduce((total, share) => total + share[key], 0)
}

function lost(queue: string, reason: Error): BrokerError {
  return new BrokerError(`RabbitMQ hands out no more of the queue "${queue}": ${reason.message}.`, {
    cause: reason,
    isTransient: true,
  })
}
