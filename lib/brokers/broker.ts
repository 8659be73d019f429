/** The port to what is in flight: tasks that wait for a run or have one; and the bus, by which clusters are seen and steered. */

/** Urgent packages are handed out before all others. There are two levels, because that is what every broker can do. */
export type Priority = 'high' | 'normal'

/** One copy of a task on its way. The broker reads the three numbers and never opens the body. */
export interface Package {
  readonly taskId: string
  readonly run: number
  readonly attempt: number
  /** The signed text of `lib/package.ts`. */
  readonly body: string
  /** `normal` when absent. */
  readonly priority?: Priority
}

/** Names one delivery of one package to one consumer. Only the broker that made it looks inside. */
export type Receipt = { readonly __receipt: unique symbol } | number | string | object

/** A package handed to a consumer. Whoever takes it settles it. */
export interface Delivery extends Package {
  /** How often the broker has handed this package out, this time included: 1 for the first. */
  readonly deliveries: number
  /** There may be another copy of it: whoever sent it had to send it again, not knowing whether the first one was kept. */
  readonly isResent?: boolean
  readonly receipt: Receipt
}

/** What becomes of a delivery. */
export type Settlement =
  /** Done with; forget it. What follows from it is enqueued before. */
  | { readonly type: 'ack'; readonly receipt: Receipt; readonly follow?: readonly Enqueued[] }
  /** Replace it by `package`, handed out no sooner than `delay` milliseconds from now. */
  | {
      readonly type: 'retry'
      readonly receipt: Receipt
      readonly package: Package
      readonly delay: number
      readonly reason: string
    }
  /** Hand it out again, now, to anyone. */
  | { readonly type: 'requeue'; readonly receipt: Receipt }
  /** Move it (as `package`) to the dead letters, where a person looks at it. What follows from it is enqueued before. */
  | {
      readonly type: 'deadLetter'
      readonly receipt: Receipt
      readonly package: Package
      readonly reason: string
      readonly follow?: readonly Enqueued[]
    }

/** From which queue deliveries are taken, how many at a time, and who hears of them. */
export interface ConsumeOptions {
  readonly queue: string
  /** The most deliveries of each priority that may be unsettled at a time: the urgent do not wait for room. */
  readonly prefetch: number
  /** Called with what arrived, in batches, in order. Must not throw. */
  readonly onDeliveries: (deliveries: Delivery[]) => void
  /** Called once when the broker is lost: every receipt of this consumer is void from then on. */
  readonly onLost: (error: Error) => void
}

/** Takes deliveries from one queue, and settles them. */
export interface Consumer {
  /** Changes the bound on unsettled deliveries of each priority, without a gap and without losing one. */
  setPrefetch(prefetch: number): void
  /**
   * Carries out settlements, in order, all in one go where the broker can.
   * Resolves when they are in the broker's hands, with the number of void receipts
   * (the delivery was no longer ours, so nothing was done). Rejects with a BrokerError when the broker is lost.
   * What follows from a delivery is in the broker's keeping before that is gone: whoever dies in between leaves both.
   */
  settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }>
  /** Looks whether it still gets what waits, and is lost when it does not. For brokers that can lose a consumer unnoticed. */
  check?(): Promise<void>
  /** Takes no more deliveries; receipts stay valid and can be settled. */
  stop(): Promise<void>
  /** Lets go of everything: what is unsettled goes back to its queue. Does nothing where it is lost, or done with. */
  leave(): Promise<void>
}

/** A package to enqueue, and where. */
export interface Enqueued {
  readonly queue: string
  readonly package: Package
  /** Milliseconds before it may be handed out. */
  readonly delay?: number
}

/** A package that was given up, and why. */
export interface DeadLetter extends Package {
  readonly queue: string
  readonly reason: string
  /** Milliseconds since the epoch. */
  readonly diedAt: number
}

/** What becomes of a dead letter: it stays, it is forgotten, or this package is enqueued in its place. */
export type DeadLetterFate = 'keep' | 'remove' | { readonly replay: Package }

/** An order to clusters over the bus. The broker carries texts and never opens one: who reads them checks their signature. */
export interface ControlRequest {
  /** The cluster that is meant; null: every one that listens. */
  readonly to: string | null
  readonly body: string
  /** Milliseconds that answers are waited for; an order that nobody has taken by then is forgotten. */
  readonly patience: number
  /** Called with each answer as it comes. True: no other is waited for. Must not throw. */
  readonly onAnswer: (body: string) => boolean
}

/** For which cluster orders are heard, and who hears them. */
export interface ListenOptions {
  readonly clusterId: string
  /** Called with each order to this cluster or to all. What it resolves with is the answer, undefined is none. Must not reject. */
  readonly onOrder: (body: string) => Promise<string | undefined>
  /** Called once when the broker is lost: no order is heard from then on. */
  readonly onLost: (error: Error) => void
}

/** Hears the orders to one cluster, or the notices to one address. */
export interface Listener {
  /** Hears no more; answers under way may be lost. */
  stop(): Promise<void>
}

/** Something for whoever listens at an address. The broker carries the text and never opens it. */
export interface Notice {
  readonly to: string
  readonly body: string
}

/** At which address notices are heard, and by whom. */
export interface HearOptions {
  readonly address: string
  /** Called with each notice as it comes. Must not throw. */
  readonly onNotice: (body: string) => void
  /** Called once when nothing is heard any more: notices may have been missed. */
  readonly onLost: (error: Error) => void
}

/** A broker. All methods reject with a {@link BrokerError} that says what was expected, what was got and what to do. */
export interface Broker {
  /** Why it takes no packages now, such as `low on memory`; undefined while it does, or cannot know. */
  readonly blocked?: string | undefined
  /** Opens the broker, making what it needs. Safe to call again after a loss. */
  connect(): Promise<void>
  /** Ends every connection, watcher and timer; unsettled deliveries go back to their queue. */
  close(): Promise<void>
  ping(): Promise<void>
  /** One line for people, such as `SQLite 3.50.4`. */
  info(): Promise<string>
  /** Resolves when the broker has all of them in its keeping: all or none. */
  enqueue(batch: readonly Enqueued[]): Promise<void>
  consume(options: ConsumeOptions): Promise<Consumer>
  /** Packages waiting in the queue, delayed ones included. */
  queueSize(queue: string): Promise<number>
  /** Packages handed out and not yet settled. */
  lockSize(queue: string): Promise<number>
  /** Forgets what waits; returns how many. What is handed out stays. */
  purge(queue: string): Promise<number>
  /** Forgets the queue with all that is in it, dead letters included. */
  deleteQueue(queue: string): Promise<void>
  /** The newest dead letters of a queue first. */
  deadLetters(queue: string, limit?: number): Promise<DeadLetter[]>
  /**
   * Goes through the dead letters of a queue, the oldest first, and does with each what `judge` says. One leaves only when
   * its replay is in the broker's keeping: whoever dies in between leaves both, never neither.
   */
  reviewDeadLetters(queue: string, judge: (letter: DeadLetter) => DeadLetterFate): Promise<void>

  /** Shows a cluster's stat to everybody at this broker, in place of its last one, for `ttl` milliseconds. */
  publishStat(clusterId: string, body: string, ttl: number): Promise<void>
  /** Takes a cluster's stat back before its time. */
  withdrawStat(clusterId: string): Promise<void>
  /** The stats that are shown now, in no order. May take up to a second to collect. */
  stats(): Promise<string[]>
  /** Resolves when the patience is over or the answers suffice, at once where nobody listens. */
  control(request: ControlRequest): Promise<void>
  onControl(options: ListenOptions): Promise<Listener>

  /**
   * Sends notices, each to all who listen at its address now; one for nobody is dropped, and so is any while the broker
   * takes none. Brokers without it leave it to the store to wake whoever waits.
   */
  notify?(notices: readonly Notice[]): void
  /** Hears notices from when it resolves. */
  hear?(options: HearOptions): Promise<Listener>
}
