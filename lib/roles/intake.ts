import type { Broker, Consumer, Delivery, Receipt, Settlement } from '../brokers/broker.ts'

/** A consumer of the broker's, from the moment that it is asked for. */
interface Source {
  readonly consuming: Promise<Consumer>
  /** Receipts of it that are out. */
  claims: number
}

/** A receipt, and whose it is: after a pause several have receipts out. */
interface Claim {
  readonly source: Source
  readonly receipt: Receipt
}

export interface IntakeOptions {
  readonly queue: string
  readonly onDeliveries: (deliveries: readonly Delivery[]) => void
  /** The broker hands out what waits. */
  readonly onOpened: () => void
  /** Called once for each time that deliveries are lost: every receipt is void then. */
  readonly onLost: (error: Error) => void
}

/** Opens and closes consumers on a queue, one at a time, and settles each delivery with the one that took it. */
export class Intake {
  readonly #options: IntakeOptions
  /** The one that is open, and those that are closed and have receipts out. */
  readonly #sources = new Set<Source>()
  #open: Source | undefined
  #prefetch = 0

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  /** Consumers that are not done with. */
  get size(): number {
    return this.#sources.size
  }

  /** Takes deliveries until {@link close}. */
  open(broker: Broker, prefetch: number): void {
    this.#prefetch = prefetch
    const consuming = broker.consume({
      queue: this.#options.queue,
      prefetch,
      onDeliveries: (deliveries) => this.#take(source, deliveries),
      onLost: (error) => this.#lose(source, error),
    })
    const source: Source = { consuming, claims: 0 }
    this.#open = source
    this.#sources.add(source)
    consuming.then(
      // Runs of a former connection may have ended meanwhile.
      (consumer) => {
        if (this.#prefetch !== prefetch) consumer.setPrefetch(this.#prefetch)
        if (this.#open === source) this.#options.onOpened()
      },
      (error: Error) => this.#lose(source, error),
    )
  }

  /** Takes no more. Receipts stay good: what is held is still pushed, run and settled. */
  close(): void {
    const closed = this.#open
    this.#open = undefined
    // That it never opened, or that the broker went, is told by onLost.
    closed?.consuming
      .then((consumer) => consumer.stop())
      .then(() => this.#forgetIfDone(closed))
      .catch(() => {})
  }

  /** Has the consumer look whether it still gets what waits. */
  check(): void {
    // What fails here is told by onLost, if it matters.
    this.#open?.consuming.then((consumer) => consumer.check?.()).catch(() => {})
  }

  setPrefetch(prefetch: number): void {
    this.#prefetch = prefetch
    this.#open?.consuming.then((consumer) => consumer.setPrefetch(prefetch)).catch(() => {})
  }

  /** Hands settlements to the consumers whose receipts they carry; resolves when all are in the broker's hands. */
  async settle(settlements: readonly Settlement[]): Promise<void> {
    const shares = Map.groupBy(settlements, ({ receipt }) => (receipt as Claim).source)
    await Promise.all([...shares].map(([source, share]) => this.#settle(source, share)))
  }

  #take(source: Source, deliveries: readonly Delivery[]): void {
    source.claims += deliveries.length
    this.#options.onDeliveries(
      deliveries.map((delivery) => ({
        ...delivery,
        receipt: { source, receipt: delivery.receipt } satisfies Claim,
      })),
    )
  }

  async #settle(source: Source, share: readonly Settlement[]): Promise<void> {
    const consumer = await source.consuming
    try {
      await consumer.settle(share.map(unclaimed))
    } finally {
      source.claims -= share.length
      this.#forgetIfDone(source)
    }
  }

  #forgetIfDone(source: Source): void {
    if (source !== this.#open && source.claims === 0) this.#sources.delete(source)
  }

  /** Where one is lost all others are let go of, so that nothing stays held there under receipts that are void here. */
  #lose(source: Source, error: Error): void {
    if (!this.#sources.delete(source)) return
    for (const { consuming } of this.#sources) consuming.then((consumer) => consumer.leave()).catch(() => {})
    this.#sources.clear()
    this.#open = undefined
    this.#options.onLost(error)
  }
}

function unclaimed(settlement: Settlement): Settlement {
  return { ...settlement, receipt: (settlement.receipt as Claim).receipt }
}
