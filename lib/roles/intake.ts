import type { Broker, Consumer, Delivery, Receipt, Settlement } from '../brokers/broker.ts'

/** A receipt, and the consumer whose it is: after a pause several have receipts out. */
interface Claim {
  readonly consuming: Promise<Consumer>
  readonly receipt: Receipt
}

export interface IntakeOptions {
  readonly queue: string
  readonly onDeliveries: (deliveries: readonly Delivery[]) => void
  /** The broker hands out what waits. */
  readonly onOpened: () => void
  /** Called once for each time that the broker is lost: every receipt is void then. */
  readonly onLost: (error: Error) => void
}

/** Opens and closes consumers on a queue, one at a time, and settles each delivery with the one that took it. */
export class Intake {
  readonly #options: IntakeOptions
  /** Of the consumers that are not lost; closed ones among them, for the sake of their receipts. */
  #consumers = new Set<Promise<Consumer>>()
  #open: Promise<Consumer> | undefined
  #prefetch = 0

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  /** Takes deliveries until {@link close}. */
  open(broker: Broker, prefetch: number): void {
    this.#prefetch = prefetch
    const consuming = broker.consume({
      queue: this.#options.queue,
      prefetch,
      onDeliveries: (deliveries) =>
        this.#options.onDeliveries(
          deliveries.map((delivery) => ({
            ...delivery,
            receipt: { consuming, receipt: delivery.receipt } satisfies Claim,
          })),
        ),
      onLost: (error) => this.#lose(consuming, error),
    })
    this.#open = consuming
    this.#consumers.add(consuming)
    consuming.then(
      // Runs of a former connection may have ended meanwhile.
      (consumer) => {
        if (this.#prefetch !== prefetch) consumer.setPrefetch(this.#prefetch)
        if (this.#open === consuming) this.#options.onOpened()
      },
      (error: Error) => this.#lose(consuming, error),
    )
  }

  /** Takes no more. Receipts stay good: what is held is still pushed, run and settled. */
  close(): void {
    const closed = this.#open
    this.#open = undefined
    // That it never opened, or that the broker went, is told by onLost.
    closed?.then((consumer) => consumer.stop()).catch(() => {})
  }

  /** Has the consumer look whether it still gets what waits. */
  check(): void {
    // What fails here is told by onLost, if it matters.
    this.#open?.then((consumer) => consumer.check?.()).catch(() => {})
  }

  setPrefetch(prefetch: number): void {
    this.#prefetch = prefetch
    this.#open?.then((consumer) => consumer.setPrefetch(prefetch)).catch(() => {})
  }

  /** Hands settlements to the consumers whose receipts they carry; resolves when all are in the broker's hands. */
  async settle(settlements: readonly Settlement[]): Promise<void> {
    const shares = Map.groupBy(settlements, ({ receipt }) => (receipt as Claim).consuming)
    await Promise.all(
      [...shares].map(async ([consuming, share]) => {
        const consumer = await consuming
        await consumer.settle(share.map(unclaimed))
      }),
    )
  }

  #lose(consuming: Promise<Consumer>, error: Error): void {
    if (!this.#consumers.has(consuming)) return
    this.#consumers.clear()
    this.#open = undefined
    this.#options.onLost(error)
  }
}

function unclaimed(settlement: Settlement): Settlement {
  return { ...settlement, receipt: (settlement.receipt as Claim).receipt }
}
