/**
 * The bus over RabbitMQ: what clusters show of themselves, and orders to them. Nothing is kept by the server: who wants to
 * know asks all, and each one answers for itself.
 *
 * ```
 * qcluster.bus      direct exchange: questions and orders, by whom they are for
 * amq.gen-…         an exclusive queue for each broker object that has something to say or to ask: its station
 * qcluster.present  a queue that nothing is sent to; as many consume it as answer a question to all
 * ```
 */
import { randomUUID } from 'node:crypto'
import type { Channel, ConsumeMessage, Message } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { ControlRequest, Listener, ListenOptions } from './broker.ts'
import { answered, asBrokerError, type Link } from './rabbitmq-link.ts'
import { Outlet } from './rabbitmq-outlet.ts'
import { isMissing, using, workQueue } from './rabbitmq-topology.ts'

export interface BusOptions {
  /** Gives the connection that is listened on. Nothing is said on it: a server that is low on memory goes on reading it. */
  readonly listen: () => Promise<Link>
  /** Gives the connection that is spoken on. */
  readonly speak: () => Promise<Link>
  /** What this broker's consumers of a queue hold. */
  readonly held: (queue: string) => Held
  /** Milliseconds that the server may take to open what is listened and spoken on. */
  readonly timeout: number
}

/** What consumers of a queue hold, and how many consumers they are for the server. */
export interface Held {
  readonly unsettled: number
  readonly consumers: number
}

const EXCHANGE = 'qcluster.bus'
const PRESENT = 'qcluster.present'
/** Whom a question or an order is for. */
const FOR = {
  everybody: 'stats',
  allClusters: 'clusters',
  cluster: (id: string) => `cluster ${id}`,
  holdersOf: (queue: string) => `held ${queue}`,
} as const
/** The longest that answers to a question of ours are waited for: somebody may have gone without a word. Milliseconds. */
const LONGEST_QUESTION = 1_000
/** Answers of those who do not take deliveries any more cannot be counted on; they get this long. */
const SHORT_QUESTION = 200

interface Stat {
  readonly body: string
  readonly until: number
}

export class RabbitmqBus {
  readonly #options: BusOptions
  readonly #stats = new Map<string, Stat>()
  #station: Promise<Station> | undefined

  constructor(options: BusOptions) {
    this.#options = options
  }

  async publishStat(clusterId: string, body: string, ttl: number): Promise<void> {
    this.#stats.set(clusterId, { body, until: performance.now() + ttl })
    await this.#opened()
  }

  async withdrawStat(clusterId: string): Promise<void> {
    this.#stats.delete(clusterId)
  }

  async stats(): Promise<string[]> {
    const station = await this.#opened()
    const present = await station.present()
    const answers: string[][] = []
    const onAnswer = (body: string) => {
      const stats = statsIn(body)
      if (stats) answers.push(stats)
      // Where the queue that counts them was deleted, nobody knows how many there are.
      return answers.length >= present && present > 0
    }
    await station.ask(FOR.everybody, '', LONGEST_QUESTION, onAnswer)
    return answers.flat()
  }

  async control({ to, body, patience, onAnswer }: ControlRequest): Promise<void> {
    const station = await this.#opened()
    await station.ask(to === null ? FOR.allClusters : FOR.cluster(to), body, patience, onAnswer)
  }

  async onControl(options: ListenOptions): Promise<Listener> {
    const station = await this.#opened()
    await station.listen(options)
    return { stop: () => station.unlisten(options) }
  }

  /** What all consumers of a queue hold, wherever they are. */
  async held(queue: string): Promise<number> {
    const station = await this.#opened()
    const consumers = await station.consumersOf(workQueue(queue))
    let [answered, unsettled] = [0, 0]
    const onAnswer = (body: string) => {
      const held = heldIn(body)
      answered += held.consumers
      unsettled += held.unsettled
      return consumers > 0 && answered >= consumers
    }
    await station.ask(
      FOR.holdersOf(queue),
      queue,
      consumers > 0 ? LONGEST_QUESTION : SHORT_QUESTION,
      onAnswer,
    )
    return unsettled
  }

  /** From now on this broker answers for what its consumers of the queue hold. */
  async answerFor(queue: string): Promise<void> {
    const station = await this.#opened()
    await station.bind(FOR.holdersOf(queue))
  }

  async close(): Promise<void> {
    const station = await this.#station?.catch(() => undefined)
    this.#station = undefined
    await station?.close()
  }

  #opened(): Promise<Station> {
    this.#station ??= this.#open()
    return answered(this.#station, this.#options.timeout)
  }

  async #open(): Promise<Station> {
    try {
      const { listen } = this.#options
      const answer = (key: string, body: string) => this.#answer(key, body)
      const station = await Station.open(await listen(), this.#options, answer)
      void station.ended.then(() => this.#forget())
      return station
    } catch (error) {
      this.#forget()
      throw asBrokerError(error)
    }
  }

  #forget(): void {
    this.#station = undefined
  }

  #answer(key: string, body: string): string {
    if (key !== FOR.everybody) return JSON.stringify(this.#options.held(body))
    const now = performance.now()
    return JSON.stringify(
      [...this.#stats.values()].filter(({ until }) => until > now).map((stat) => stat.body),
    )
  }
}

/** Undefined for what is no list: anybody who reaches the server can answer something. */
function statsIn(answer: string): string[] | undefined {
  const found = parsed(answer)
  return Array.isArray(found) ? found.filter((one) => typeof one === 'string') : undefined
}

/** Nothing in what is no such answer. */
function heldIn(answer: string): Held {
  const { unsettled, consumers } = Object(parsed(answer)) as Partial<Record<keyof Held, unknown>>
  return isCount(unsettled) && isCount(consumers) ? { unsettled, consumers } : { unsettled: 0, consumers: 0 }
}

function parsed(answer: string): unknown {
  try {
    return JSON.parse(answer)
  } catch {
    return undefined
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

interface Question {
  readonly onAnswer: (body: string) => boolean
  readonly finish: () => void
  readonly fail: (error: BrokerError) => void
}

type AnswerTo = (key: string, body: string) => string

type Speech = Pick<BusOptions, 'speak' | 'timeout'>

/** An address on the bus for as long as its channel is open. It does not keep the process. */
class Station {
  readonly ended: Promise<BrokerError>
  readonly #link: Link
  readonly #channel: Channel
  readonly #outlet: Outlet
  readonly #answer: AnswerTo
  readonly #listeners = new Set<ListenOptions>()
  readonly #questions = new Map<string, Question>()
  readonly #bound = new Set<string>()
  #queue = ''
  /** Why the channel was closed, where it was not the connection that was lost. */
  #reason: Error | undefined

  static async open(link: Link, options: Speech, answer: AnswerTo): Promise<Station> {
    const station = new Station(link, await link.channel(), options, answer)
    await station.#open()
    return station
  }

  constructor(link: Link, channel: Channel, { speak, timeout }: Speech, answer: AnswerTo) {
    this.#link = link
    this.#channel = channel
    this.#answer = answer
    this.#outlet = new Outlet({
      ...{ connect: speak, timeout },
      onReturned: ({ properties }) => this.#questions.get(properties.correlationId)?.finish(),
      onClosed: (error) => this.#failAll(error),
    })
    this.ended = this.#watch()
  }

  /** How many stations answer a question to all, this one included. */
  present(): Promise<number> {
    return this.consumersOf(PRESENT)
  }

  /** Asked on a channel of its own, which a queue that is not there ends. */
  async consumersOf(queue: string): Promise<number> {
    const counting = using(
      () => this.#link.channel(),
      (channel) => channel.checkQueue(queue),
    )
    const { consumerCount } = await counting.catch(noneWhereMissing)
    return consumerCount
  }

  /**
   * Resolves when the time is over, an answer suffices, or nobody hears it.
   * @throws {BrokerError} as soon as it is known that no answer can come
   */
  async ask(key: string, body: string, patience: number, onAnswer: (body: string) => boolean): Promise<void> {
    const mouth = await this.#outlet.open()
    const id = randomUUID()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, patience)
    this.#questions.set(id, { onAnswer, finish: resolve, fail: reject })
    const expiration = Math.ceil(patience)
    try {
      mouth.say(EXCHANGE, key, body, { mandatory: true, replyTo: this.#queue, correlationId: id, expiration })
      await promise
    } finally {
      clearTimeout(timer)
      this.#questions.delete(id)
    }
  }

  async listen(options: ListenOptions): Promise<void> {
    this.#listeners.add(options)
    await this.bind(FOR.allClusters)
    await this.bind(FOR.cluster(options.clusterId))
  }

  async unlisten(options: ListenOptions): Promise<void> {
    if (!this.#listeners.delete(options)) return
    await this.#unbind(FOR.cluster(options.clusterId))
    if (this.#listeners.size === 0) await this.#unbind(FOR.allClusters)
  }

  async bind(key: string): Promise<void> {
    if (this.#bound.has(key)) return
    await this.#channel.bindQueue(this.#queue, EXCHANGE, key)
    this.#bound.add(key)
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    await this.#channel.close().catch(() => {})
  }

  async #open(): Promise<void> {
    await this.#channel.assertExchange(EXCHANGE, 'direct', { durable: true })
    // Named by the server: after a broken connection, a name of ours would stay taken for a while.
    this.#queue = (await this.#channel.assertQueue('', { exclusive: true })).queue
    await this.#channel.consume(this.#queue, (message) => this.#hear(message), { noAck: true })
    await this.bind(FOR.everybody)
    await this.#bePresent()
  }

  /** Whoever deletes that queue cancels all who are counted by it: each makes it anew and is counted again. */
  async #bePresent(): Promise<void> {
    await this.#channel.assertQueue(PRESENT, { durable: true, arguments: { 'x-queue-type': 'classic' } })
    // Nothing is ever sent to it; where it cannot be made again the channel is closed, which is heard.
    const hear = (message: object | null) => {
      if (message === null) void this.#bePresent().catch(() => {})
    }
    await this.#channel.consume(PRESENT, hear, { noAck: true })
  }

  async #unbind(key: string): Promise<void> {
    if (!this.#bound.delete(key)) return
    // A lost channel has no bindings any more.
    await this.#channel.unbindQueue(this.#queue, EXCHANGE, key).catch(() => {})
  }

  #hear(message: ConsumeMessage | null): void {
    if (message === null) {
      this.#cancelled()
      return
    }
    const { fields, properties, content } = message
    const body = content.toString()
    if (fields.exchange === '') this.#hearAnswer(properties.correlationId, body)
    else if (fields.routingKey === FOR.allClusters) this.#hearOrder(message, [...this.#listeners])
    else if (fields.routingKey.startsWith(FOR.cluster('')))
      this.#hearOrder(
        message,
        [...this.#listeners].filter(({ clusterId }) => fields.routingKey === FOR.cluster(clusterId)),
      )
    else this.#reply(message, this.#answer(fields.routingKey, body))
  }

  #cancelled(): void {
    this.#reason = new Error('its queue was deleted')
    void this.#channel.close().catch(() => {})
  }

  #hearAnswer(id: unknown, body: string): void {
    const question = this.#questions.get(id as string)
    if (question?.onAnswer(body)) question.finish()
  }

  #hearOrder(message: ConsumeMessage, listeners: readonly ListenOptions[]): void {
    for (const { onOrder } of listeners)
      void onOrder(message.content.toString()).then((answer) => {
        if (answer !== undefined) this.#reply(message, answer)
      })
  }

  #reply({ properties: { replyTo, correlationId } }: Message, body: string): void {
    if (typeof replyTo !== 'string') return
    const reply = async () => {
      const mouth = await this.#outlet.open()
      mouth.say('', replyTo, body, { correlationId: String(correlationId) })
    }
    // Where it cannot be said, whoever waited has been told, or will be by its patience.
    reply().catch(() => {})
  }

  #failAll(error: BrokerError): void {
    for (const { fail } of this.#questions.values()) fail(error)
  }

  async #watch(): Promise<BrokerError> {
    this.#channel.on('error', (error) => {
      this.#reason = error
    })
    await new Promise<void>((resolve) => this.#channel.on('close', resolve))
    const error = this.#reason
      ? asBrokerError(this.#reason)
      : this.#listeners.size + this.#questions.size > 0
        ? await this.#link.ended
        : closed()
    for (const { onLost } of this.#listeners) onLost(error)
    this.#listeners.clear()
    this.#failAll(error)
    // It is on the other connection, which may last.
    void this.#outlet.close()
    return error
  }
}

function noneWhereMissing(error: unknown): { readonly consumerCount: number } {
  if (isMissing(error)) return { consumerCount: 0 }
  throw error
}

const closed = (): BrokerError =>
  new BrokerError('The bus was closed: call connect() first.', { isTransient: true })
