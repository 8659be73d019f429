/** What a client holds: connections that open at first use, and the work that it waits for when it closes. */
import type { Broker } from './brokers/broker.ts'
import type { Store } from './stores/store.ts'

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
export const LONGEST_TIMER = 2_147_483_647

/** Something that is made once, when first asked for. A failure is forgotten: the next to ask tries again. */
export class Lazy<T> {
  readonly #make: () => Promise<T>
  #made: Promise<T> | undefined

  constructor(make: () => Promise<T>) {
    this.#make = make
  }

  get(): Promise<T> {
    this.#made ??= this.#attempt()
    return this.#made
  }

  /** Forgets what was made, and returns it. */
  take(): Promise<T> | undefined {
    const made = this.#made
    this.#made = undefined
    return made
  }

  async #attempt(): Promise<T> {
    try {
      return await this.#make()
    } catch (error) {
      this.take()
      throw error
    }
  }
}

/** A broker or a store, connected at first use, and again at the first use after a failure. */
export class Connection<TPort extends Broker | Store> {
  readonly #port: Lazy<TPort>
  readonly #connected: Lazy<TPort>

  constructor(make: () => Promise<TPort>) {
    this.#port = new Lazy(make)
    this.#connected = new Lazy(() => this.#connect())
  }

  async use<T>(work: (port: TPort) => Promise<T>): Promise<T> {
    const port = await this.#connected.get()
    try {
      return await work(port)
    } catch (error) {
      this.#connected.take()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#connected.take()
    const port = await this.#port.take()
    await port?.close()
  }

  async #connect(): Promise<TPort> {
    const port = await this.#port.get()
    await port.connect()
    return port
  }
}

/** Work that a close waits for. It keeps the process alive, for neither a broker's nor a store's handles do. */
export class Pending {
  readonly #works = new Set<Promise<unknown>>()
  #alive: NodeJS.Timeout | undefined

  async hold<T>(work: Promise<T>): Promise<T> {
    this.#works.add(work)
    this.#alive ??= setInterval(() => {}, LONGEST_TIMER)
    try {
      return await work
    } finally {
      this.#works.delete(work)
      if (this.#works.size === 0) this.#release()
    }
  }

  async settled(): Promise<void> {
    while (this.#works.size > 0) await Promise.allSettled(this.#works)
  }

  #release(): void {
    clearInterval(this.#alive)
    this.#alive = undefined
  }
}
