/** Both lanes of a queue in RabbitMQ as one consumer, each with a prefetch of its own. */
import type { ConsumeOptions, Consumer, Delivery, Receipt, Settlement } from './broker.ts'
import { type ConsumerParts, RabbitmqConsumer } from './rabbitmq-consumer.ts'

/**
 * What is urgent has a queue and a consumer of its own, because a quorum queue has no priorities before RabbitMQ 4.0, two
 * then and 32 from 4.3 on; and in all of them what is prefetched already stands in its way.
 */
export class RabbitmqLanes implements Consumer {
  readonly #options: ConsumeOptions
  readonly #lanes: RabbitmqConsumer[] = []
  /** What one lane brought before both were open. */
  #early: Delivery[] | undefined = []
  #isGone = false

  /** Begins to take deliveries of both lanes; the first come after this has resolved. */
  static async open(options: ConsumeOptions, parts: ConsumerParts): Promise<RabbitmqLanes> {
    const lanes = new RabbitmqLanes(options)
    const given: ConsumeOptions = {
      ...options,
      onDeliveries: (deliveries) => lanes.#take(deliveries),
      onLost: (error) => lanes.#lose(error),
    }
    try {
      for (const priority of ['high', 'normal'] as const)
        lanes.#lanes.push(await RabbitmqConsumer.open(given, { ...parts, priority }))
      setImmediate(() => lanes.#begin())
      return lanes
    } catch (error) {
      await lanes.leave()
      throw error
    }
  }

  constructor(options: ConsumeOptions) {
    this.#options = options
  }

  setPrefetch(prefetch: number): void {
    for (const lane of this.#lanes) lane.setPrefetch(prefetch)
  }

  async settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }> {
    const [high, normal] = this.#lanes as [RabbitmqConsumer, RabbitmqConsumer]
    const isUrgent = ({ receipt }: { receipt: Receipt }) => high.owns(receipt)
    const urgent = settlements.filter(isUrgent)
    if (urgent.length === 0) return normal.settle(settlements)
    const others = settlements.filter((settlement) => !isUrgent(settlement))
    const counts = await Promise.all([high.settle(urgent), normal.settle(others)])
    return { void: counts.reduce((total, count) => total + count.void, 0) }
  }

  async check(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.check()))
  }

  async stop(): Promise<void> {
    const unseen = this.#early?.splice(0) ?? []
    if (unseen.length > 0) await this.settle(unseen.map(({ receipt }) => ({ type: 'requeue', receipt })))
    await Promise.all(this.#lanes.map((lane) => lane.stop()))
  }

  async leave(): Promise<void> {
    this.#isGone = true
    await Promise.all(this.#lanes.map((lane) => lane.leave()))
  }

  #take(deliveries: Delivery[]): void {
    if (this.#early) this.#early.push(...deliveries)
    else this.#options.onDeliveries(deliveries)
  }

  #begin(): void {
    const early = this.#early ?? []
    this.#early = undefined
    if (early.length > 0 && !this.#isGone) this.#options.onDeliveries(early)
  }

  /** Where one lane is lost the other is given up: whoever consumes opens both again. */
  #lose(error: Error): void {
    if (this.#isGone) return
    void this.leave()
    this.#options.onLost(error)
  }
}
