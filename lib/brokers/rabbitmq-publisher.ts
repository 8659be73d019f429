/**
 * Publishes packages and waits until RabbitMQ has confirmed them. All callers share one channel, on which up to a
 * thousand are on their way. What a lost channel or connection leaves unconfirmed is published again until its time is
 * up, so a package may be kept twice, but none is lost that was confirmed. What has not been sent when its time is up is
 * never sent. What is in line is not given up while RabbitMQ confirms what is before it: a hundred thousand may be enqueued
 * in one call.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '../errors.ts'
import type { Enqueued } from './broker.ts'
import { asBrokerError, type Link } from './rabbitmq-link.ts'
import { type Letter, type Parcel, Session } from './rabbitmq-session.ts'
import { routeTo } from './rabbitmq-topology.ts'

/** A package on its way to its queue. */
export function letterOf({ queue, package: sealed, delay }: Enqueued): Letter {
  return { queue, package: sealed, route: routeTo(queue, sealed.priority, delay) }
}

export interface PublisherOptions {
  /** Gives the connection that is open, or opens one. */
  readonly connect: () => Promise<Link>
  /** Milliseconds until a package that is not confirmed is given up; of one in line, from the last confirmation. */
  readonly timeout: number
}

/** A parcel, and whoever waits for it. */
interface Posted extends Parcel {
  /** How many letters are published in one call. */
  readonly company: number
  /** When its time is up; while it is in line, later where others have been confirmed since. */
  deadline: number
  readonly resolve: () => void
  readonly reject: (error: BrokerError) => void
}

export class Publisher {
  readonly #options: PublisherOptions
  /** What is not answered yet, the oldest first. */
  readonly #open = new Set<Posted>()
  /** What is to be sent, or sent again; also what has had its answer meanwhile. */
  readonly #waiting = new Line<Posted>()
  readonly #whenIdle: (() => void)[] = []
  /** Rings when the time of the oldest is up. It also keeps the process, which an idle connection does not. */
  #timer: NodeJS.Timeout | undefined
  #session: Session<Posted> | undefined
  #opening: Promise<void> | undefined
  #link: Link | undefined
  #lastFailure: BrokerError | undefined
  /** When the server last confirmed something. */
  #confirmedAt = Number.NEGATIVE_INFINITY

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /**
   * Resolves when RabbitMQ keeps them all.
   * @throws {BrokerError} as soon as one of them cannot be kept; others of the same call may be kept all the same
   */
  async publish(letters: readonly Letter[]): Promise<void> {
    const deadline = performance.now() + this.#options.timeout
    await Promise.all(letters.map((letter) => this.#post(letter, letters.length, deadline)))
  }

  /** Why the server takes nothing from us now. */
  get blocked(): string | undefined {
    return this.#link?.blocked
  }

  /** Resolves when every call of {@link publish} is answered. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  #post(letter: Letter, company: number, deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const posted = { letter, company, deadline, resolve, reject, tries: 0, isReturned: false }
      this.#open.add(posted)
      this.#waiting.push(posted)
      this.#watchTime()
      this.#send()
    })
  }

  #send(): void {
    if (this.#session) this.#session.send()
    else this.#opening ??= this.#openSession()
  }

  async #openSession(): Promise<void> {
    this.#lastFailure = undefined
    try {
      this.#session = await persist(
        () => this.#tryToOpen(),
        (failure) => {
          this.#lastFailure = failure
          return this.#open.size > 0
        },
      )
      this.#lastFailure = undefined
      void this.#session.ended.then(() => this.#lose())
    } catch (error) {
      for (const posted of this.#open) this.#answer(posted, error as BrokerError)
    }
    this.#opening = undefined
    this.#session?.send()
  }

  async #tryToOpen(): Promise<Session<Posted>> {
    this.#link = await this.#options.connect()
    return Session.open<Posted>(this.#link, {
      take: () => this.#take(),
      putBack: (posted) => this.#waiting.push(posted),
      send: () => this.#send(),
      answer: (posted, error) => this.#answer(posted, error),
    })
  }

  #lose(): void {
    this.#session = undefined
    this.#link = undefined
    if (this.#open.size > 0) this.#send()
  }

  /** The next one that still waits for an answer. */
  #take(): Posted | undefined {
    this.#forgetAnswered()
    const next = this.#waiting.shift()
    if (next) next.deadline = this.#deadlineOf(next)
    return next
  }

  #deadlineOf({ tries, deadline }: Posted): number {
    return tries > 0 ? deadline : Math.max(deadline, this.#confirmedAt + this.#options.timeout)
  }

  #forgetAnswered(): void {
    for (let next = this.#waiting.first; next && !this.#open.has(next); next = this.#waiting.first)
      this.#waiting.shift()
  }

  #answer(posted: Posted, error?: BrokerError): void {
    if (!this.#open.delete(posted)) return
    if (error) posted.reject(error)
    else {
      this.#confirmedAt = performance.now()
      posted.resolve()
    }
    if (this.#open.size > 0) return
    this.#timer?.unref()
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** One timer for all: they wait equally long, so the oldest is the next. */
  #watchTime(): void {
    this.#timer ??= setTimeout(() => this.#giveUp(), this.#options.timeout)
    if (this.#open.size === 1) this.#timer.ref()
  }

  #giveUp(): void {
    this.#timer = undefined
    for (const posted of this.#open) {
      const rest = this.#deadlineOf(posted) - performance.now()
      if (rest > 0) {
        this.#timer = setTimeout(() => this.#giveUp(), rest)
        break
      }
      this.#answer(posted, this.#timeUp(posted))
    }
    this.#forgetAnswered()
  }

  #timeUp({ company, tries }: Posted): BrokerError {
    const what = company === 1 ? 'The package' : `At least one of ${company} packages`
    const within = `within ${this.#options.timeout / 1000} seconds`
    if (this.#lastFailure)
      return new BrokerError(`${what} could not be enqueued ${within}. ${this.#lastFailure.message}`, {
        cause: this.#lastFailure,
        isTransient: true,
      })
    const fate =
      tries === 0
        ? `was not taken by RabbitMQ ${within}, and is not enqueued`
        : `was not confirmed by RabbitMQ ${within}, but may be kept all the same`
    const cause = this.blocked
      ? `It takes none now: ${this.blocked}`
      : 'It takes none without a majority of its servers'
    return new BrokerError(`${what} ${fate}. ${cause}. See \`rabbitmq-diagnostics status\`.`, {
      isTransient: true,
    })
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

const FIRST_PAUSE = 100
const LONGEST_PAUSE = 2_000

/** First in, first out, however long it gets: an array alone moves all that is left with each that goes. */
class Line<T> {
  #items: T[] = []
  #gone = 0

  get first(): T | undefined {
    return this.#items[this.#gone]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    if (this.#gone === this.#items.length) return undefined
    const item = this.#items[this.#gone++]
    if (this.#gone * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#gone)
      this.#gone = 0
    }
    return item
  }
}
