/** What a client hears over the broker of the tasks that somebody here waits for. */
import { randomUUID } from 'node:crypto'
import type { Broker, Listener } from '../brokers/broker.ts'
import type { Connection } from '../connection.ts'
import { Memory } from '../memory.ts'
import { EVERYBODY, openNotice, type Tidings } from '../notices.ts'
import type { Signer } from '../signing.ts'

export interface NewsOptions {
  readonly broker: Connection<Broker>
  readonly signer: Signer
  readonly onTidings: (tidings: Tidings) => void
  /** Called when it begins to hear, and when it hears no more: what was told meanwhile is in the store only. */
  readonly onGap: () => void
}

/** Milliseconds after an enqueueing in which nobody need look: should its outcome get lost, few have waited for it by then. */
const FRESH = 1_000

/** Tasks that were enqueued with our address and are remembered; who waits for an older one hears of all tasks. */
const REMEMBERED = 10_000

/**
 * Listens at an address of the client's own, to which the outcomes of what it enqueues are sent from then on, and, for as
 * long as somebody waits for anything else, where all hear of everything.
 */
export class News {
  readonly #address = randomUUID()
  readonly #own: Ear
  readonly #all: Ear
  readonly #promised = new Memory<string, true>(REMEMBERED)
  /** When a task was enqueued of which nothing was told yet; none of before a gap. */
  #untold = new Memory<string, number>(REMEMBERED)

  constructor(options: NewsOptions) {
    this.#own = new Ear(this.#address, {
      ...options,
      onTidings: (tidings) => {
        for (const id of [...tidings.ids, ...tidings.outcomes.map(({ taskId }) => taskId)])
          this.#untold.set(id, Number.NEGATIVE_INFINITY)
        options.onTidings(tidings)
      },
      onGap: () => {
        this.#untold = new Memory(REMEMBERED)
        options.onGap()
      },
    })
    const onTidings = (tidings: Tidings) => options.onTidings(this.#withoutOwn(tidings))
    this.#all = new Ear(EVERYBODY, { ...options, onTidings })
  }

  /** Our address, for a task that is about to be enqueued; undefined while nobody listens there. */
  addressFor(taskId: string): string | undefined {
    if (!this.#own.isOpen) return undefined
    this.#promised.set(taskId, true)
    this.#untold.set(taskId, performance.now())
    return this.#address
  }

  /** Whether its first outcome is still to come, and to be told to us: nobody need look for it. */
  isToBeTold(taskId: string): boolean {
    return performance.now() - (this.#untold.get(taskId) ?? Number.NEGATIVE_INFINITY) < FRESH
  }

  /** Whether it would hear of it. */
  hears(key: string): boolean {
    return this.#earFor(key).isOpen
  }

  /** Begins to listen for it where it does not yet. */
  attend(key: string): void {
    this.#own.open()
    this.#earFor(key).open()
  }

  /** Hears no more of everything when none of these needs it. */
  tidy(keys: readonly string[]): void {
    if (!keys.some((key) => this.#earFor(key) === this.#all)) this.#all.close()
  }

  stop(): void {
    this.#own.close()
    this.#all.close()
  }

  #withoutOwn(tidings: Tidings): Tidings {
    return { ...tidings, ids: tidings.ids.filter((id) => !this.#promised.has(id)) }
  }

  #earFor(key: string): Ear {
    return this.#promised.has(key) ? this.#own : this.#all
  }
}

/** Listens at one address from the first call of {@link open} on, and again after a loss at the next one. */
class Ear {
  readonly #address: string
  readonly #options: NewsOptions
  #listening: Promise<Listener | undefined> | undefined
  isOpen = false

  constructor(address: string, options: NewsOptions) {
    this.#address = address
    this.#options = options
  }

  open(): void {
    if (this.#listening) return
    const listening = this.#listen()
    this.#listening = listening
    void listening.then((listener) => {
      if (listening !== this.#listening) return
      if (listener) this.#begin()
      else this.#forget()
    })
  }

  /** The broker may be away for a while; nobody need wait for that. */
  close(): void {
    void this.#listening?.then((listener) => listener?.stop()).catch(() => {})
    this.#forget()
  }

  /** Where the broker cannot be reached whoever waits looks into the store; the next to attend tries again. */
  #listen(): Promise<Listener | undefined> {
    return this.#options.broker.use((port) => this.#hear(port)).catch(() => undefined)
  }

  #begin(): void {
    this.isOpen = true
    this.#options.onGap()
  }

  async #hear(broker: Broker): Promise<Listener | undefined> {
    return broker.hear?.({
      address: this.#address,
      onNotice: (body) => this.#receive(body),
      onLost: () => {
        this.#forget()
        this.#options.onGap()
      },
    })
  }

  #receive(body: string): void {
    const tidings = this.#opened(body)
    if (tidings) this.#options.onTidings(tidings)
  }

  /** What is not ours tells us nothing: the store is looked into as if it had not come. */
  #opened(body: string): Tidings | undefined {
    try {
      return openNotice(body, this.#options.signer)
    } catch {
      return undefined
    }
  }

  #forget(): void {
    this.#listening = undefined
    this.isOpen = false
  }
}
