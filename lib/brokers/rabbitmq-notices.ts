/**
 * Notices over RabbitMQ. Nothing is kept by the server: a notice that nobody listens for is dropped there.
 *
 * ```
 * qcluster.notices   direct exchange: notices, by their address
 * amq.gen-…          an exclusive queue for each that listens at an address
 * ```
 */
import type { Channel } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { HearOptions, Listener, Notice } from './broker.ts'
import { asBrokerError, type Link } from './rabbitmq-link.ts'
import { type Mouth, Outlet } from './rabbitmq-outlet.ts'

const EXCHANGE = 'qcluster.notices'

/** A listener that does not keep up misses the oldest notices: an old one is refused in the end, and the store knows all. */
const SHORT_LIVED = { 'x-max-length': 10_000, 'x-message-ttl': 30_000 }

export interface NoticesOptions {
  /** Gives the connection that is listened on. */
  readonly listen: () => Promise<Link>
  /** Gives the connection that is spoken on. */
  readonly speak: () => Promise<Link>
  /** Milliseconds that the server may take to open what is spoken on. */
  readonly timeout: number
}

export class RabbitmqNotices {
  readonly #listen: () => Promise<Link>
  readonly #outlet: Outlet

  constructor({ listen, speak, timeout }: NoticesOptions) {
    this.#listen = listen
    this.#outlet = new Outlet({ connect: speak, timeout, prepare: declare })
  }

  /** What cannot be sent is dropped: whoever waits looks into the store now and then. */
  send(notices: readonly Notice[]): void {
    this.#outlet
      .open()
      .then((mouth) => sendAll(mouth, notices))
      .catch(() => {})
  }

  async hear(options: HearOptions): Promise<Listener> {
    const link = await this.#listen()
    const channel = await link.channel()
    const ear = new Ear(options, link, channel)
    try {
      await ear.open()
    } catch (error) {
      await ear.stop()
      throw asBrokerError(error)
    }
    return ear
  }
}

/** Listens at one address until it is stopped or lost. */
class Ear implements Listener {
  readonly #options: HearOptions
  readonly #link: Link
  readonly #channel: Channel
  #isOpen = false

  constructor(options: HearOptions, link: Link, channel: Channel) {
    this.#options = options
    this.#link = link
    this.#channel = channel
    let reason: Error | undefined
    channel.on('error', (error) => {
      reason = error
    })
    channel.on('close', () => void this.#lose(reason))
  }

  async open(): Promise<void> {
    await declare(this.#channel)
    // Named by the server: after a broken connection, a name of ours would stay taken for a while.
    const { queue } = await this.#channel.assertQueue('', { exclusive: true, arguments: SHORT_LIVED })
    await this.#channel.bindQueue(queue, EXCHANGE, this.#options.address)
    const hear = (message: { readonly content: Buffer } | null) =>
      message ? this.#options.onNotice(message.content.toString()) : void this.#cancelled()
    await this.#channel.consume(queue, hear, { noAck: true })
    this.#isOpen = true
  }

  async stop(): Promise<void> {
    this.#isOpen = false
    await this.#channel.close().catch(() => {})
  }

  async #cancelled(): Promise<void> {
    await this.#lose(new Error('its queue was deleted'))
    await this.stop()
  }

  async #lose(reason: Error | undefined): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    const error = reason ?? (await this.#link.ended)
    this.#options.onLost(error instanceof BrokerError ? error : asBrokerError(error))
  }
}

async function declare(channel: Channel): Promise<void> {
  await channel.assertExchange(EXCHANGE, 'direct', { durable: true })
}

function sendAll(mouth: Mouth, notices: readonly Notice[]): void {
  for (const { to, body } of notices) if (mouth.isOpen) mouth.say(EXCHANGE, to, body)
}
