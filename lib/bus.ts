/** A cluster's end of the bus: the line that its machine opens, loses and opens again. */
import { fromCallback } from 'xstate'
import { type BusOrder, busMachine, type LineReport } from '../machines/bus.ts'
import type { Broker } from './brokers/broker.ts'

/** What passes over the line. */
export interface BusParts {
  readonly clusterId: string
  readonly makeBroker: () => Promise<Broker>
  /** The signed stat of this moment. */
  readonly stat: () => string
  /** Hears an order and answers it, or not. Must not reject. */
  readonly onOrder: (body: string) => Promise<string | undefined>
  /** Sees what all clusters show, each time that a line has opened. */
  readonly onStats: (bodies: readonly string[]) => void
}

/** Milliseconds for which a stat is shown: gone within 5 s of the cluster's death, and not at a hiccup. */
const SHOWN = 4_500
/** Milliseconds after which the stat is published again though nobody had anything to report. */
const LONGEST_SILENCE = 2_000

/** What the bus's machine is provided with. */
export class Bus {
  readonly #parts: BusParts
  readonly #closing = new Set<Promise<void>>()

  constructor(parts: BusParts) {
    this.#parts = parts
  }

  machine() {
    return busMachine.provide({
      actors: {
        line: fromCallback<BusOrder>(({ sendBack, receive }) => {
          const line = new Line(this.#parts, sendBack)
          receive(() => line.publish())
          return () => this.#close(line)
        }),
      },
    })
  }

  /** Resolves when every line that the machine has let go of is closed. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing)
  }

  #close(line: Line): void {
    const closing = line.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}

/** One connection to the broker. */
class Line {
  readonly #parts: BusParts
  readonly #report: (report: LineReport) => void
  readonly #broker: Promise<Broker>
  readonly #silence: NodeJS.Timeout

  constructor(parts: BusParts, report: (report: LineReport) => void) {
    this.#parts = parts
    this.#report = report
    this.#broker = parts.makeBroker()
    this.#silence = setInterval(() => this.publish(), LONGEST_SILENCE)
    this.#silence.unref()
    this.#open().then(() => this.#begin(), this.#lose)
  }

  publish(): void {
    this.#silence.refresh()
    this.#publish().catch(this.#lose)
  }

  async close(): Promise<void> {
    clearInterval(this.#silence)
    const broker = await this.#broker
    // Where the broker is away it forgets us by itself, and where it is busy it does so before it is closed.
    await Promise.allSettled([broker.withdrawStat(this.#parts.clusterId), broker.close()])
  }

  async #open(): Promise<void> {
    const { clusterId, onOrder } = this.#parts
    const broker = await this.#broker
    await broker.connect()
    await broker.onControl({ clusterId, onOrder, onLost: this.#lose })
  }

  #begin(): void {
    this.#report({ type: 'line.opened' })
    // A broker may be unable to ask the others, and carry our own word all the same; where it is lost, it says so.
    this.#lookAround().catch(() => {})
  }

  /** Nobody waits for it: a broker may take a second to collect them. */
  async #lookAround(): Promise<void> {
    const broker = await this.#broker
    this.#parts.onStats(await broker.stats())
  }

  async #publish(): Promise<void> {
    const broker = await this.#broker
    await broker.publishStat(this.#parts.clusterId, this.#parts.stat(), SHOWN)
  }

  readonly #lose = (): void => {
    this.#report({ type: 'line.lost' })
  }
}
