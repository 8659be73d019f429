/**
 * Publishes packages and waits until RabbitMQ has confirmed them. All callers share one channel, on which up to a
 * thousand are on their way. What a lost channel or connection leaves unconfirmed is published again until its time is
 * up, so a package may be kept twice, but none is lost that was confirmed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConfirmChannel, Message } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { Enqueued, Package } from './broker.ts'
import type { Link } from './rabbitmq-link.ts'
import { declareAll, type Route, routeTo } from './rabbitmq-topology.ts'

/** A package and the way that it goes. */
export interface Letter {
  readonly queue: string
  readonly package: Package
  readonly route: Route
  readonly headers?: Readonly<Record<string, string | number>>
}

/** A package on its way to its queue. */
export function letterOf({ queue, package: sealed, delay }: Enqueued): Letter {
  return { queue, package: sealed, route: routeTo(queue, sealed.priority, delay) }
}

export interface PublisherOptions {
  /** Gives the connection that is open, or opens one. */
  readonly connect: () => Promise<Link>
  /** Milliseconds until a package that is not confirmed is given up. */
  readonly timeout: number
}

/** The headers that are ours; all others belong to RabbitMQ. */
export const HEADERS = {
  run: 'qcluster-run',
  attempt: 'qcluster-attempt',
  reason: 'qcluster-reason',
  diedAt: 'qcluster-died-at',
} as const

export class Publisher {
  readonly #options: PublisherOptions
  #session: Promise<Session> | undefined
  #link: Link | undefined
  #lastFailure: BrokerError | undefined
  /** Calls of {@link publish} that are not answered yet. */
  readonly #open = new Set<Promise<unknown>>()

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /**
   * Resolves when RabbitMQ keeps them all.
   * @throws {BrokerError} as soon as one of them cannot be kept; others of the same call may be kept all the same
   */
  async publish(letters: readonly Letter[]): Promise<void> {
    const answered = this.#withinTime(letters)
    this.#open.add(answered)
    try {
      await answered
    } finally {
      this.#open.delete(answered)
    }
  }

  /** Why the server takes nothing from us now. */
  get blocked(): string | undefined {
    return this.#link?.blocked
  }

  /** Resolves when every call of {@link publish} is answered. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.allSettled(this.#open)
  }

  async #withinTime(letters: readonly Letter[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const deadline = performance.now() + this.#options.timeout
    // It also keeps the process, which an idle connection does not.
    const timer = setTimeout(() => reject(this.#timeUp(letters.length)), this.#options.timeout)
    Promise.all(letters.map((letter) => this.#send(letter, deadline))).then(() => resolve(), reject)
    try {
      await promise
    } finally {
      clearTimeout(timer)
    }
  }

  async #send(letter: Letter, deadline: number): Promise<void> {
    const content = Buffer.from(letter.package.body)
    for (let tries = 1; performance.now() < deadline; tries++) {
      const session = await this.#opened()
      try {
        return await session.send(letter, content)
      } catch (error) {
        if (!(error instanceof Unconfirmed) || (error.isCountable && tries >= MOST_TRIES))
          throw asBrokerError(error)
      }
    }
    // Whoever waited was told by the timer.
  }

  #opened(): Promise<Session> {
    this.#session ??= this.#connectAgain()
    return this.#session
  }

  async #connectAgain(): Promise<Session> {
    try {
      const session = await persist(
        () => this.#openSession(),
        (failure) => {
          this.#lastFailure = failure
          return this.#open.size > 0
        },
      )
      this.#lastFailure = undefined
      void session.ended.then(() => this.#forget())
      return session
    } catch (error) {
      this.#forget()
      throw error
    }
  }

  async #openSession(): Promise<Session> {
    this.#link = await this.#options.connect()
    return Session.open(this.#link)
  }

  #forget(): void {
    this.#session = undefined
    this.#link = undefined
  }

  #timeUp(count: number): BrokerError {
    const what = count === 1 ? 'The package' : `At least one of ${count} packages`
    const within = `within ${this.#options.timeout / 1000} seconds`
    if (this.#lastFailure)
      return new BrokerError(`${what} could not be enqueued ${within}. ${this.#lastFailure.message}`, {
        cause: this.#lastFailure,
        isTransient: true,
      })
    const cause = this.blocked
      ? `It takes none now: ${this.blocked}`
      : 'It takes none without a majority of its servers'
    return new BrokerError(
      `${what} was not confirmed by RabbitMQ ${within}, but may be kept all the same. ${cause}. See \`rabbitmq-diagnostics status\`.`,
      { isTransient: true },
    )
  }
}

/** Tries again while the failure is one that may pass and `isWanted` says so, waiting a little longer each time. */
export async function persist<T>(
  attempt: () => Promise<T>,
  isWanted: (failure: BrokerError) => boolean,
): Promise<T> {
  for (let failed = 0; ; failed++) {
    try {
      return await attempt()
    } catch (error) {
      const failure = asBrokerError(error)
      if (!failure.isTransient || !isWanted(failure)) throw failure
      await sleep(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failed) * (0.5 + Math.random() / 2))
    }
  }
}

/** What RabbitMQ or amqplib say, as an error of ours. */
export function asBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  const { message, code } = error as Error & { code?: unknown }
  if (code === 403)
    return new BrokerError(
      `RabbitMQ does not allow it: ${message}. Give the user configure, write and read on '^(qcluster\\..*|amq\\.gen.*|amq\\.default)$' (rabbitmqctl set_permissions).`,
      { cause: error },
    )
  return new BrokerError(`RabbitMQ refuses: ${message}.`, { cause: error, isTransient: true })
}

const FIRST_PAUSE = 100
const LONGEST_PAUSE = 2_000
/** Unconfirmed packages on a channel at a time; more of them are not faster. */
const WINDOW = 1_000
/** How often a package goes out on channels that the server then closes: it may be the one that it closes them for. */
const MOST_TRIES = 3
/** Milliseconds without any confirmation: a queue whose leader has died may never send the ones that are missing. */
const STALLED = 5_000

/** A package that was not confirmed and may be sent again. */
class Unconfirmed extends Error {
  /** Whether it counts as a try: the package may itself be the cause. */
  readonly isCountable: boolean

  constructor(message: string, isCountable: boolean) {
    super(message)
    this.isCountable = isCountable
  }
}

interface Sent {
  readonly letter: Letter
  readonly size: number
  readonly answer: (error: Error | null) => void
  isReturned: boolean
}

/** One channel to publish on, and the queues that were declared before it was used for them. */
class Session {
  /** Resolves when the channel is closed. */
  readonly ended: Promise<void>
  readonly #link: Link
  readonly #channel: ConfirmChannel
  readonly #declared = new Map<string, { readonly rungs: number; readonly done: Promise<void> }>()
  readonly #sent = new Set<Sent>()
  readonly #queued: (() => void)[] = []
  #progressAt = performance.now()
  #closedBy: Error | undefined

  static async open(link: Link): Promise<Session> {
    return new Session(link, await link.confirmChannel())
  }

  constructor(link: Link, channel: ConfirmChannel) {
    this.#link = link
    this.#channel = channel
    channel.on('return', (message) => this.#noteReturned(message))
    channel.on('error', (error) => {
      this.#closedBy = error
    })
    this.ended = new Promise((resolve) => channel.on('close', resolve))
    const patrol = setInterval(() => this.#closeWhenStalled(), STALLED / 5).unref()
    void this.ended.then(() => {
      clearInterval(patrol)
      for (const proceed of this.#queued.splice(0)) proceed()
    })
  }

  /** @throws {Unconfirmed} when it may be sent again, a {@link BrokerError} when that would not help */
  async send(letter: Letter, content: Buffer): Promise<void> {
    this.#refuseTooLarge(letter, content.length)
    await this.#declare(letter)
    if (this.#sent.size >= WINDOW) await new Promise<void>((resolve) => this.#queued.push(resolve))
    await new Promise<void>((resolve, reject) =>
      this.#publish(letter, content, (error) => (error ? reject(error) : resolve())),
    )
  }

  #publish(letter: Letter, content: Buffer, answer: Sent['answer']): void {
    const sent: Sent = { letter, size: content.length, answer, isReturned: false }
    const { taskId, run, attempt } = letter.package
    if (this.#sent.size === 0) this.#progressAt = performance.now()
    this.#sent.add(sent)
    const properties = {
      messageId: taskId,
      persistent: true,
      mandatory: true,
      headers: { [HEADERS.run]: run, [HEADERS.attempt]: attempt, ...letter.headers },
    }
    try {
      this.#channel.publish(letter.route.exchange, letter.route.key, content, properties, (error) =>
        this.#settle(sent, error),
      )
    } catch (error) {
      this.#settle(sent, error as Error)
    }
  }

  #settle(sent: Sent, error: Error | null): void {
    this.#sent.delete(sent)
    this.#progressAt = performance.now()
    sent.answer(this.#verdict(sent, error))
    this.#queued.shift()?.()
  }

  #verdict({ letter, size, isReturned }: Sent, error: Error | null): Error | null {
    if (isReturned) {
      this.#declared.delete(laneOf(letter))
      return new Unconfirmed(
        `there is no queue for what goes to "${letter.queue}", and it cannot be made`,
        true,
      )
    }
    if (error === null) return null
    if (error.message === 'message nacked') return refused(letter)
    return this.#loss(letter, size)
  }

  /** The channel is gone; where the server closed it, some package on it may be the cause. */
  #loss(letter: Letter, size: number): Error {
    if (!this.#closedBy) return new Unconfirmed('the connection was lost', false)
    const [, tooLarge, limit] =
      /message size (\d+) is larger than configured max size (\d+)/.exec(this.#closedBy.message) ?? []
    if (tooLarge === undefined) return new Unconfirmed(this.#closedBy.message, true)
    return Number(tooLarge) === size
      ? this.#tooLarge(letter, size, Number(limit))
      : new Unconfirmed('a neighbour was too large', false)
  }

  /** Once for each queue, and again when a delay needs more rungs than any before. */
  #declare(letter: Letter): Promise<void> {
    const lane = laneOf(letter)
    const known = this.#declared.get(lane)
    const { rungs } = letter.route
    if (known && known.rungs >= rungs) return known.done
    const done = declareAll(() => this.#link.channel(), letter.queue, letter.route)
    this.#declared.set(lane, { rungs, done })
    done.catch(() => this.#declared.delete(lane))
    return done
  }

  #noteReturned({ properties, fields }: Message): void {
    const { messageId, headers } = properties
    for (const sent of this.#sent) {
      const { package: sealed, route } = sent.letter
      if (
        sealed.taskId !== messageId ||
        sealed.run !== headers?.[HEADERS.run] ||
        route.key !== fields.routingKey
      )
        continue
      sent.isReturned = true
      return
    }
  }

  #closeWhenStalled(): void {
    if (this.#sent.size === 0 || this.#link.blocked || performance.now() - this.#progressAt < STALLED) return
    this.#channel.close().catch(() => {})
  }

  #refuseTooLarge(letter: Letter, size: number): void {
    const { largestMessage } = this.#link.traits
    if (size > largestMessage) throw this.#tooLarge(letter, size, largestMessage)
  }

  #tooLarge({ package: { taskId } }: Letter, size: number, limit: number): BrokerError {
    return new BrokerError(
      `The package of task ${taskId} is too large for RabbitMQ ${this.#link.traits.version}: expected at most ${limit} bytes, got ${size}. Pass a reference to the data, or raise max_message_size there.`,
    )
  }
}

/** What is declared together. */
function laneOf({ queue, route: { priority } }: Letter): string {
  return priority === 'high' ? `${queue}\n${priority}` : queue
}

function refused({ queue, package: { taskId } }: Letter): BrokerError {
  return new BrokerError(
    `RabbitMQ refused the package of task ${taskId}: the queue "${queue}" is full, or has no majority of its servers. See \`rabbitmqctl list_queues name messages policy\`.`,
    { isTransient: true },
  )
}
