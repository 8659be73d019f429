/** RabbitMQ as a broker: quorum queues carry the tasks of any number of clusters on any number of machines. */
import { BrokerError } from '../errors.ts'
import type {
  Broker,
  ConsumeOptions,
  Consumer,
  ControlRequest,
  DeadLetter,
  DeadLetterFate,
  Enqueued,
  HearOptions,
  Listener,
  ListenOptions,
  Notice,
} from './broker.ts'
import { type Address, parseAddresses } from './rabbitmq-address.ts'
import { type Held, RabbitmqBus } from './rabbitmq-bus.ts'
import type { RabbitmqConsumer } from './rabbitmq-consumer.ts'
import { listDeadLetters, reviewDeadLetters, type Server } from './rabbitmq-dead.ts'
import { RabbitmqLanes } from './rabbitmq-lanes.ts'
import { answered, asBrokerError, type Link, openLink } from './rabbitmq-link.ts'
import { RabbitmqNotices } from './rabbitmq-notices.ts'
import { letterOf, Publisher, persist } from './rabbitmq-publisher.ts'
import { checkName, countWaiting, deleteAll, purgeWaiting, routeTo, using } from './rabbitmq-topology.ts'

export interface RabbitmqBrokerOptions {
  /** One URL (`amqp://user:password@host:5672/vhost`, `amqps://…`), or those of several servers, tried in turn. */
  readonly broker: string | readonly string[]
  /** Milliseconds that a package may take to be confirmed, reconnecting included; 10,000 by default. */
  readonly enqueueTimeout?: number
  /** Milliseconds that {@link Broker.connect} tries while nobody answers; 0, the default: once. */
  readonly patience?: number
  /** Names the connections in RabbitMQ's management page. */
  readonly label?: string
}

/** Makes a broker over RabbitMQ; nothing is opened before `connect()`. */
export function rabbitmqBroker(options: RabbitmqBrokerOptions): Broker {
  return new RabbitmqBroker(options)
}

/**
 * Has two connections, each opened when it is first needed: a server that is low on memory does not read from those that
 * publish. So one publishes and does nothing else; it comes back by itself when it is needed. All that is to be answered
 * or settled goes over the other one, whose loss is told to whoever listens there.
 */
class RabbitmqBroker implements Broker {
  readonly #addresses: readonly Address[]
  readonly #timeout: number
  readonly #patience: number
  readonly #label: string
  readonly #consumers = new Set<RabbitmqConsumer>()
  readonly #bus: RabbitmqBus
  readonly #notices: RabbitmqNotices
  #publisher: Publisher | undefined
  #producing: Promise<Link> | undefined
  #consuming: Promise<Link> | undefined

  constructor({ broker, enqueueTimeout = 10_000, patience = 0, label = 'qcluster' }: RabbitmqBrokerOptions) {
    this.#addresses = parseAddresses(broker)
    this.#timeout = enqueueTimeout
    this.#patience = patience
    this.#label = label
    const links = { listen: () => this.#quietLink(), speak: () => this.#speakingLink() }
    this.#bus = new RabbitmqBus({
      ...{ ...links, timeout: enqueueTimeout },
      held: (queue) => this.#heldHere(queue),
    })
    this.#notices = new RabbitmqNotices({ ...links, timeout: enqueueTimeout })
  }

  get blocked(): string | undefined {
    return this.#publisher?.blocked
  }

  async connect(): Promise<void> {
    this.#publisher ??= new Publisher({ connect: () => this.#producerLink(), timeout: this.#timeout })
    const deadline = performance.now() + this.#patience
    await persist(
      () => this.#producerLink(),
      () => performance.now() < deadline && this.#publisher !== undefined,
    )
  }

  async close(): Promise<void> {
    // Our connections do not keep the process, and it is not to end before they have.
    const alive = setInterval(() => {}, this.#timeout)
    await this.#disconnect()
    clearInterval(alive)
  }

  ping(): Promise<void> {
    return this.#ask((open) => using(open, () => Promise.resolve()))
  }

  async info(): Promise<string> {
    const { traits, place } = await this.#quietLink()
    const { blocked } = this
    const late = `a consumer that is late ${traits.lateConsumer}`
    return `RabbitMQ ${traits.version} at ${place} (${late}${blocked ? `; takes no messages: ${blocked}` : ''})`
  }

  /** Unlike the port says, RabbitMQ cannot take all or none: where this rejects, some may be kept. */
  async enqueue(batch: readonly Enqueued[]): Promise<void> {
    for (const { queue } of batch) checkName(queue)
    await this.#openPublisher().publish(batch.map(letterOf))
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    checkName(options.queue)
    const publisher = this.#openPublisher()
    const link = await this.#consumerLink()
    link.hold()
    try {
      await this.#bus.answerFor(options.queue)
      return await RabbitmqLanes.open(options, {
        link,
        publish: (letters) => publisher.publish(letters),
        opened: (one) => this.#consumers.add(one),
        gone: (one) => this.#consumers.delete(one),
      })
    } finally {
      link.release()
    }
  }

  queueSize(queue: string): Promise<number> {
    return this.#ask((open) => countWaiting(open, queue))
  }

  lockSize(queue: string): Promise<number> {
    return this.#inTime(this.#bus.held(queue))
  }

  purge(queue: string): Promise<number> {
    return this.#ask((open) => purgeWaiting(open, queue))
  }

  deleteQueue(queue: string): Promise<void> {
    return this.#ask((open) => deleteAll(open, queue))
  }

  deadLetters(queue: string, limit = 100): Promise<DeadLetter[]> {
    return this.#turnOver((server) => listDeadLetters(server, queue, limit))
  }

  reviewDeadLetters(queue: string, judge: (letter: DeadLetter) => DeadLetterFate): Promise<void> {
    const publisher = this.#openPublisher()
    return this.#turnOver((server) =>
      reviewDeadLetters(server, queue, judge, (sealed) =>
        publisher.publish([{ queue, package: sealed, route: routeTo(queue, sealed.priority) }]),
      ),
    )
  }

  publishStat(clusterId: string, body: string, ttl: number): Promise<void> {
    return this.#inTime(this.#bus.publishStat(clusterId, body, ttl))
  }

  withdrawStat(clusterId: string): Promise<void> {
    return this.#bus.withdrawStat(clusterId)
  }

  stats(): Promise<string[]> {
    return this.#inTime(this.#bus.stats())
  }

  control(request: ControlRequest): Promise<void> {
    return this.#bus.control(request)
  }

  async onControl(options: ListenOptions): Promise<Listener> {
    const listener = await this.#inTime(this.#bus.onControl(options))
    return { stop: () => this.#inTime(listener.stop()) }
  }

  notify(notices: readonly Notice[]): void {
    this.#notices.send(notices)
  }

  hear(options: HearOptions): Promise<Listener> {
    return this.#inTime(this.#notices.hear(options))
  }

  async #disconnect(): Promise<void> {
    const publisher = this.#publisher
    this.#publisher = undefined
    await this.#bus.close()
    await Promise.all([...this.#consumers].map((consumer) => consumer.leave()))
    await publisher?.idle()
    const links = [this.#producing, this.#consuming]
    this.#producing = undefined
    this.#consuming = undefined
    await Promise.all(links.map(closeLink))
  }

  #openPublisher(): Publisher {
    if (this.#publisher) return this.#publisher
    throw new BrokerError('The broker is not connected: call connect() first, and not after close().')
  }

  async #speakingLink(): Promise<Link> {
    this.#openPublisher()
    return this.#producerLink()
  }

  async #quietLink(): Promise<Link> {
    this.#openPublisher()
    return this.#consumerLink()
  }

  #heldHere(queue: string): Held {
    const consumers = [...this.#consumers].filter((consumer) => consumer.queue === queue)
    return {
      unsettled: consumers.reduce((total, { unsettled }) => total + unsettled, 0),
      consumers: consumers.reduce((total, { size }) => total + size, 0),
    }
  }

  async #ask<T>(work: (open: () => ReturnType<Link['channel']>) => Promise<T>): Promise<T> {
    const link = await this.#quietLink()
    return this.#inTime(work(() => link.channel()))
  }

  async #turnOver<T>(work: (server: Server) => Promise<T>): Promise<T> {
    const link = await this.#quietLink()
    const inTime = <A>(answer: Promise<A>) => this.#inTime(answer)
    try {
      return await work({ open: () => inTime(link.channel()), inTime })
    } catch (error) {
      throw asBrokerError(error)
    }
  }

  #inTime<T>(answer: Promise<T>): Promise<T> {
    return answered(answer, this.#timeout)
  }

  #producerLink(): Promise<Link> {
    this.#producing ??= this.#open('producer', () => {
      this.#producing = undefined
    })
    return this.#producing
  }

  #consumerLink(): Promise<Link> {
    this.#consuming ??= this.#open('consumer', () => {
      this.#consuming = undefined
    })
    return this.#consuming
  }

  /** Opens a connection; `forget` is called when it is lost, or was never there. */
  async #open(purpose: string, forget: () => void): Promise<Link> {
    try {
      const link = await openLink(this.#addresses, `${this.#label} ${purpose} ${process.pid}`)
      void link.ended.then(forget)
      return link
    } catch (error) {
      forget()
      throw error
    }
  }
}

async function closeLink(opening: Promise<Link> | undefined): Promise<void> {
  const link = await opening?.catch(() => undefined)
  await link?.close()
}
