/** What is published and kept by nobody: questions, answers and notices. All of it goes over the connection of the producers. */
import type { Channel, Message, Options } from 'amqplib'
import { BrokerError } from '../errors.ts'
import { answered, asBrokerError, type Link } from './rabbitmq-link.ts'

export interface OutletOptions {
  readonly connect: () => Promise<Link>
  /** Milliseconds that the server may take to open it. */
  readonly timeout: number
  /** Declares what is published to. */
  readonly prepare?: (channel: Channel) => Promise<void>
  /** What was published with `mandatory` and nobody listens for. */
  readonly onReturned?: (message: Message) => void
  /** Nothing gets through any more: the server takes nothing now, or the channel is lost. */
  readonly onClosed?: (error: BrokerError) => void
}

/** A channel that is opened at the first word, and again at the first after it was lost. It does not keep the process. */
export class Outlet {
  readonly #options: OutletOptions
  #mouth: Promise<Mouth> | undefined

  constructor(options: OutletOptions) {
    this.#options = options
  }

  /** @throws {BrokerError} when it cannot be opened */
  open(): Promise<Mouth> {
    this.#mouth ??= this.#begin()
    return this.#mouth
  }

  /** It is closed until somebody opens it anew. */
  async close(): Promise<void> {
    const mouth = await this.#mouth?.catch(() => undefined)
    await mouth?.close()
  }

  #begin(): Promise<Mouth> {
    const mouth: Promise<Mouth> = this.#open(() => {
      if (this.#mouth === mouth) this.#mouth = undefined
    })
    return mouth
  }

  /** @param forget lets the next word open it anew */
  async #open(forget: () => void): Promise<Mouth> {
    const opening = this.#makeMouth(forget)
    try {
      return await answered(opening, this.#options.timeout)
    } catch (error) {
      forget()
      // It may be opened all the same, when nobody waits for it any more.
      void opening.then((late) => late.close()).catch(() => {})
      throw asBrokerError(error)
    }
  }

  async #makeMouth(onGone: () => void): Promise<Mouth> {
    const link = await this.#options.connect()
    refuseBlocked(link)
    const channel = await link.channel()
    const mouth = new Mouth(link, channel, { ...this.#options, onGone })
    await this.#options.prepare?.(channel)
    return mouth
  }
}

/** An open {@link Outlet}. */
export class Mouth {
  readonly #link: Link
  readonly #channel: Channel
  /** More is buffered than should be. */
  #isFull = false

  constructor(link: Link, channel: Channel, options: OutletOptions & { readonly onGone: () => void }) {
    this.#link = link
    this.#channel = channel
    const { onReturned, onClosed, onGone } = options
    let reason: BrokerError | undefined
    const onBlocked = () => onClosed?.(blocked(link))
    link.on('blocked', onBlocked)
    channel.on('return', (message) => onReturned?.(message))
    channel.on('drain', () => {
      this.#isFull = false
    })
    channel.on('error', (error) => {
      reason = asBrokerError(error)
    })
    channel.on('close', () => {
      link.off('blocked', onBlocked)
      onGone()
      onClosed?.(reason ?? new BrokerError('The channel was closed.', { isTransient: true }))
    })
  }

  /** Whether what is said now has a chance to be heard. */
  get isOpen(): boolean {
    return !this.#isFull && this.#link.blocked === undefined
  }

  /** @throws {BrokerError} when the server takes nothing now, or the channel is gone */
  say(exchange: string, key: string, body: string, options: Options.Publish = {}): void {
    refuseBlocked(this.#link)
    try {
      this.#isFull = !this.#channel.publish(exchange, key, Buffer.from(body), options)
    } catch (error) {
      throw asBrokerError(error)
    }
  }

  async close(): Promise<void> {
    await this.#channel.close().catch(() => {})
  }
}

function refuseBlocked(link: Link): void {
  if (link.blocked !== undefined) throw blocked(link)
}

function blocked({ place, blocked: why }: Link): BrokerError {
  return new BrokerError(
    `RabbitMQ at ${place} takes no messages now (${why}), so nobody can be asked there: clusters work on with what they have. Free what it lacks: see \`rabbitmq-diagnostics alarms\`.`,
    { isTransient: true },
  )
}
