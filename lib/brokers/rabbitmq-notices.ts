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
import type { Link } from './rabbitmq-link.ts'
import { asBrokerError } from './rabbitmq-publisher.ts'

const EXCHANGE = 'qcluster.notices'

/** A listener that does not keep up misses the oldest notices: an old one is refused in the end, and the store knows all. */
const SHORT_LIVED = { 'x-max-length': 10_000, 'x-message-ttl': 30_000 }

/** A channel to send notices on, for as long as it lasts. */
interface Outlet {
  readonly link: Link
  readonly channel: Channel
  /** More is buffered than should be. */
  isFull: boolean
}

export class RabbitmqNotices {
  readonly #connect: () => Promise<Link>
  #outlet: Promise<Outlet> | undefined

  constructor(connect: () => Promise<Link>) {
    this.#connect = connect
  }

  /** What cannot be sent is dropped: whoever waits looks into the store now and then. */
  send(notices: readonly Notice[]): void {
    this.#outlet ??= this.#open()
    this.#outlet.then(
      (outlet) => publish(outlet, notices),
      () => this.#forget(),
    )
  }

  async hear(options: HearOptions): Promise<Listener> {
    const link = await this.#connect()
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

  async #open(): Promise<Outlet> {
    const link = await this.#connect()
    const channel = await link.channel()
    const outlet: Outlet = { link, channel, isFull: false }
    channel.on('error', () => {}) // 'close' follows.
    channel.on('close', () => this.#forget())
    channel.on('drain', () => {
      outlet.isFull = false
    })
    await declare(channel)
    return outlet
  }

  #forget(): void {
    this.#outlet = undefined
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

function publish(outlet: Outlet, notices: readonly Notice[]): void {
  if (outlet.isFull || outlet.link.blocked !== undefined) return
  for (const { to, body } of notices) outlet.isFull = !tryPublish(outlet.channel, to, body)
}

/** False when the channel is full, or gone, which it tells by itself. */
function tryPublish(channel: Channel, to: string, body: string): boolean {
  try {
    return channel.publish(EXCHANGE, to, Buffer.from(body))
  } catch {
    return false
  }
}
