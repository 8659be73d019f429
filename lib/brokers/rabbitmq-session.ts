/** One channel to publish on for as long as it lasts, and what is on its way there. */
import type { ConfirmChannel, Message, Options } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { Package } from './broker.ts'
import { asBrokerError, type Link } from './rabbitmq-link.ts'
import { declareAll, type Route } from './rabbitmq-topology.ts'

/** A package and the way that it goes. */
export interface Letter {
  readonly queue: string
  readonly package: Package
  readonly route: Route
  readonly headers?: Readonly<Record<string, string | number>>
}

/** A letter that is to be kept by the server. */
export interface Parcel {
  readonly letter: Letter
  /** How often it was sent. */
  tries: number
  /** The server has found no queue for it. */
  isReturned: boolean
}

/** Where parcels come from, and where is told what became of each. */
export interface Desk<TParcel extends Parcel> {
  /** The next one to send. */
  readonly take: () => TParcel | undefined
  /** It is to be sent again. */
  readonly putBack: (parcel: TParcel) => void
  /** What waits can be sent, by the session that is open now. */
  readonly send: () => void
  /** It is kept, or cannot be. */
  readonly answer: (parcel: TParcel, error?: BrokerError) => void
}

/** The headers that are ours; all others belong to RabbitMQ. */
export const HEADERS = {
  run: 'qcluster-run',
  attempt: 'qcluster-attempt',
  /** On what was sent before and not confirmed: a copy of it may be kept as well. */
  resent: 'qcluster-resent',
  reason: 'qcluster-reason',
  diedAt: 'qcluster-died-at',
} as const

/** Unconfirmed packages on a channel at a time; more of them are not faster. */
const WINDOW = 1_000
/** How often a package goes out on channels that the server then closes: it may be the one that it closes them for. */
const MOST_TRIES = 3
/** Milliseconds without any confirmation: a queue whose leader has died may never send the ones that are missing. */
const STALLED = 5_000
/** Milliseconds after a sign of the server in which it is taken to be well. */
const TRUSTED = 1_000
/** Where there is no queue: what is published to it is confirmed and gone. */
const NOWHERE = 'qcluster.nowhere'

/**
 * Sends what waits at its desk, up to a window of what is not confirmed, while the server takes it. One that is low on
 * memory says so only to those who publish, and has swallowed by then what it was sent: it keeps that when it has memory
 * again, though whoever waited was told long ago that it does not. So after a silence an empty message goes ahead of all.
 */
export class Session<TParcel extends Parcel> {
  /** Resolves when the channel is lost, and all is put back that was sent and not confirmed. */
  readonly ended: Promise<void>
  readonly #link: Link
  readonly #channel: ConfirmChannel
  readonly #desk: Desk<TParcel>
  readonly #lanes = new Map<string, Lane>()
  readonly #sent = new Set<TParcel>()
  #isProbing = false
  /** When something was sent though nothing was on its way. */
  #askedAt = 0
  /** When the server last confirmed something. */
  #heardAt = Number.NEGATIVE_INFINITY
  #state: 'open' | 'closed' = 'open'
  #closedBy: Error | undefined

  static async open<TParcel extends Parcel>(link: Link, desk: Desk<TParcel>): Promise<Session<TParcel>> {
    return new Session(link, await link.confirmChannel(), desk)
  }

  constructor(link: Link, channel: ConfirmChannel, desk: Desk<TParcel>) {
    this.#link = link
    this.#channel = channel
    this.#desk = desk
    channel.on('return', (message) => this.#noteReturned(message))
    channel.on('error', (error) => {
      this.#closedBy = error
    })
    this.ended = this.#watch()
  }

  /** Sends what can be sent now; what cannot is sent as soon as it can. */
  send(): void {
    while (this.#isReady()) {
      const parcel = this.#desk.take()
      if (!parcel) return
      const lane = this.#laneOf(parcel.letter)
      if (lane.isDeclared) this.#publish(parcel)
      else this.#publishLater(parcel, lane)
    }
  }

  #isReady(): boolean {
    if (this.#state === 'closed' || this.#sent.size >= WINDOW || this.#link.blocked !== undefined)
      return false
    return performance.now() - this.#heardAt < TRUSTED || this.#probe()
  }

  /** Asks for a sign of the server where none is to come; nothing is sent before it has. */
  #probe(): false {
    if (this.#sent.size > 0 || this.#isProbing) return false
    this.#isProbing = true
    this.#askedAt = performance.now()
    this.#write({ exchange: '', key: NOWHERE }, Buffer.alloc(0), {}, (error) => {
      this.#isProbing = false
      if (error === null) this.#hear()
      else if (this.#closedBy) this.#refuseAll(this.#closedBy)
    })
    return false
  }

  /** Who may not even publish nothing may publish none of these either. */
  #refuseAll(reason: Error): void {
    for (let parcel = this.#desk.take(); parcel; parcel = this.#desk.take())
      this.#desk.answer(parcel, asBrokerError(reason))
  }

  #hear(): void {
    this.#heardAt = performance.now()
    this.send()
  }

  /** Another session may have taken the place of this one by then, and have found nothing to send. */
  #publishLater(parcel: TParcel, lane: Lane): void {
    const sendAgain = () => {
      this.#desk.putBack(parcel)
      this.#desk.send()
    }
    lane.declared.then(sendAgain, (error) => {
      if (this.#state === 'closed') sendAgain()
      else this.#desk.answer(parcel, asBrokerError(error))
    })
  }

  #publish(parcel: TParcel): void {
    const { letter } = parcel
    const { taskId, run, attempt, body } = letter.package
    const content = Buffer.from(body)
    const { largestMessage } = this.#link.traits
    if (content.length > largestMessage) {
      this.#desk.answer(parcel, this.#tooLarge(letter, content.length, largestMessage))
      return
    }
    if (this.#sent.size === 0) this.#askedAt = performance.now()
    this.#sent.add(parcel)
    parcel.tries++
    parcel.isReturned = false
    const properties = {
      messageId: taskId,
      persistent: true,
      mandatory: true,
      headers: {
        [HEADERS.run]: run,
        [HEADERS.attempt]: attempt,
        ...(parcel.tries > 1 && { [HEADERS.resent]: true }),
        ...letter.headers,
      },
    }
    this.#write(letter.route, content, properties, (error) => this.#settle(parcel, error))
  }

  /** What amqplib throws at it counts as sent: the channel is of no use any more, and answers when it is closed. */
  #write(
    { exchange, key }: Pick<Route, 'exchange' | 'key'>,
    content: Buffer,
    properties: Options.Publish,
    answer: (error: Error | null) => void,
  ): void {
    try {
      this.#channel.publish(exchange, key, content, properties, answer)
    } catch (error) {
      if ((error as Error).name !== 'IllegalOperationError') this.#closedBy ??= error as Error
      this.#close()
    }
  }

  #settle(parcel: TParcel, error: Error | null): void {
    this.#sent.delete(parcel)
    if (parcel.isReturned) this.#declareAgain(parcel)
    else if (error === null) this.#desk.answer(parcel)
    else if (error.message === 'message nacked') this.#desk.answer(parcel, refused(parcel.letter))
    else {
      this.#putBackLost(parcel)
      return
    }
    this.#hear()
  }

  #declareAgain(parcel: TParcel): void {
    const { letter } = parcel
    this.#lanes.delete(laneName(letter))
    this.#putBackCounted(
      parcel,
      `there is no queue for what goes to "${letter.queue}", and it cannot be made`,
    )
  }

  /** The channel is gone; where the server closed it, some package on it may be the cause. */
  #putBackLost(parcel: TParcel): void {
    if (!this.#closedBy) {
      this.#desk.putBack(parcel)
      return
    }
    const { message } = this.#closedBy
    const [, size, limit] = /message size (\d+) is larger than configured max size (\d+)/.exec(message) ?? []
    if (size === undefined) this.#putBackCounted(parcel, message)
    else if (Number(size) === Buffer.byteLength(parcel.letter.package.body))
      this.#desk.answer(parcel, this.#tooLarge(parcel.letter, Number(size), Number(limit)))
    else this.#desk.putBack(parcel)
  }

  /** The parcel may itself be the cause. */
  #putBackCounted(parcel: TParcel, reason: string): void {
    if (parcel.tries < MOST_TRIES) this.#desk.putBack(parcel)
    else this.#desk.answer(parcel, asBrokerError(new Error(reason)))
  }

  /** What a letter needs is declared once, and again when a delay needs more rungs than any before. */
  #laneOf(letter: Letter): Lane {
    const name = laneName(letter)
    const known = this.#lanes.get(name)
    const { rungs } = letter.route
    if (known && known.rungs >= rungs) return known
    const declared = declareAll(() => this.#link.channel(), letter.queue, letter.route)
    const lane: Lane = { rungs, declared, isDeclared: false }
    this.#lanes.set(name, lane)
    declared.then(
      () => {
        lane.isDeclared = true
      },
      () => this.#lanes.delete(name),
    )
    return lane
  }

  #noteReturned({ properties, fields }: Message): void {
    const { messageId, headers } = properties
    for (const parcel of this.#sent) {
      const { package: sealed, route } = parcel.letter
      if (
        sealed.taskId !== messageId ||
        sealed.run !== headers?.[HEADERS.run] ||
        route.key !== fields.routingKey
      )
        continue
      parcel.isReturned = true
      return
    }
  }

  #closeWhenStalled(): void {
    const isAsking = this.#state === 'open' && (this.#sent.size > 0 || this.#isProbing)
    const silence = performance.now() - Math.max(this.#askedAt, this.#heardAt)
    if (!isAsking || this.#link.blocked !== undefined || silence < STALLED) return
    this.#close()
  }

  #close(): void {
    this.#state = 'closed'
    this.#channel.close().catch(() => {})
  }

  #watch(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const patrol = setInterval(() => this.#closeWhenStalled(), STALLED / 5).unref()
    const onUnblocked = () => {
      this.#askedAt = performance.now()
      this.send()
    }
    this.#link.on('unblocked', onUnblocked)
    // The confirmations that are missing fail before: amqplib's own listener was there first.
    this.#channel.on('close', () => {
      this.#state = 'closed'
      this.#link.off('unblocked', onUnblocked)
      clearInterval(patrol)
      resolve()
    })
    return promise
  }

  #tooLarge({ package: { taskId } }: Letter, size: number, limit: number): BrokerError {
    return new BrokerError(
      `The package of task ${taskId} is too large for RabbitMQ ${this.#link.traits.version}: expected at most ${limit} bytes, got ${size}. Pass a reference to the data, or raise max_message_size there.`,
    )
  }
}

/** What is declared together, up to some rung of the ladder. */
interface Lane {
  readonly rungs: number
  readonly declared: Promise<void>
  isDeclared: boolean
}

function laneName({ queue, route: { priority } }: Letter): string {
  return priority === 'high' ? `${queue}\n${priority}` : queue
}

function refused({ queue, package: { taskId } }: Letter): BrokerError {
  return new BrokerError(
    `RabbitMQ refused the package of task ${taskId}: the queue "${queue}" is full, or has no majority of its servers. See \`rabbitmqctl list_queues name messages policy\`.`,
    { isTransient: true },
  )
}
