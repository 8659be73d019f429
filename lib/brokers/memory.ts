/** A broker for tests: what is in flight lives in this process, and its delays go by a clock that it is given. */
import { type Clock, systemClock } from '../clock.ts'
import { BrokerError } from '../errors.ts'
import type {
  Broker,
  ConsumeOptions,
  Consumer,
  ControlRequest,
  DeadLetter,
  DeadLetterFate,
  Delivery,
  Enqueued,
  Listener,
  ListenOptions,
  Package,
  Priority,
  Receipt,
  Settlement,
} from './broker.ts'

/** A package that waits or is handed out. Those that are given back take their old place. */
interface Entry {
  readonly package: Package
  readonly place: number
  readonly deliveries: number
}

/** Its time has not come. */
interface Delayed {
  readonly package: Package
  readonly due: number
  /** Undefined while no broker is open. */
  timer: unknown
}

interface Held {
  readonly entry: Entry
  readonly consumer: MemoryConsumer
}

const URGENT_FIRST = ['high', 'normal'] as const satisfies Priority[]

/** Queues in this process, for any number of brokers. */
export class MemoryQueues {
  readonly clock: Clock
  readonly bus: MemoryBus
  readonly #queues = new Map<string, Queue>()
  readonly #onEnqueue: (one: Enqueued) => void
  #isHeld = false
  #open = 0

  /**
   * @param clock what delays go by; the machine's where it is absent
   * @param onEnqueue sees everything that is enqueued, by whomever
   */
  constructor(clock = systemClock, onEnqueue: (one: Enqueued) => void = () => {}) {
    this.clock = clock
    this.#onEnqueue = onEnqueue
    this.bus = new MemoryBus(clock)
  }

  /** Whether nobody is handed anything. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Hands out nothing more until {@link release}. */
  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
    for (const queue of this.#queues.values()) queue.wake()
  }

  /** One more broker of these queues. */
  broker(): Broker {
    return new MemoryBroker(this)
  }

  /** A broker of these queues has opened. */
  opened(): void {
    if (this.#open++ === 0) for (const queue of this.#queues.values()) queue.watchTime()
  }

  /** A broker has closed. Where it was the last one nothing keeps the process, and what waits for its time stays. */
  closed(): void {
    if (--this.#open === 0) for (const queue of this.#queues.values()) queue.unwatchTime()
  }

  queue(name: string): Queue {
    const known = this.#queues.get(name) ?? new Queue(name, this)
    this.#queues.set(name, known)
    return known
  }

  /** Whether all that is in a queue has still to come due. */
  isIdle(name: string): boolean {
    return this.queue(name).isIdle
  }

  enqueue(batch: readonly Enqueued[]): void {
    for (const one of batch) {
      this.#onEnqueue(one)
      this.queue(one.queue).add(one.package, one.delay ?? 0)
    }
  }
}

/** What waits, what is handed out, and what has died. */
class Queue {
  readonly held = new Map<Receipt, Held>()
  readonly consumers = new Set<MemoryConsumer>()
  dead: DeadLetter[] = []
  readonly #name: string
  readonly #queues: MemoryQueues
  readonly #ready: Record<Priority, Entry[]> = { high: [], normal: [] }
  readonly #delayed = new Set<Delayed>()
  #places = 0
  #receipts = 0
  #isWoken = false

  constructor(name: string, queues: MemoryQueues) {
    this.#name = name
    this.#queues = queues
  }

  get size(): number {
    return this.#delayed.size + this.#ready.high.length + this.#ready.normal.length
  }

  get isIdle(): boolean {
    return this.held.size + this.#ready.high.length + this.#ready.normal.length === 0
  }

  add(sealed: Package, delay: number): void {
    if (delay > 0) this.#delay(sealed, delay)
    else this.#ready[priorityOf(sealed)].push({ package: sealed, place: this.#places++, deliveries: 0 })
    this.wake()
  }

  giveBack(entry: Entry): void {
    const lane = this.#ready[priorityOf(entry.package)]
    const index = lane.findIndex(({ place }) => place > entry.place)
    lane.splice(index < 0 ? lane.length : index, 0, entry)
    this.wake()
  }

  /** Hands out, a turn later, what somebody has room for. */
  wake(): void {
    if (this.#isWoken || this.consumers.size === 0) return
    this.#isWoken = true
    setImmediate(() => {
      this.#isWoken = false
      if (this.#queues.isHeld) return
      for (const consumer of this.consumers) this.#handOut(consumer)
    })
  }

  /** Forgets what waits. */
  purge(): number {
    const { size } = this
    this.unwatchTime()
    this.#delayed.clear()
    this.#ready.high = []
    this.#ready.normal = []
    return size
  }

  /** From now on what is delayed comes due. */
  watchTime(): void {
    for (const delayed of this.#delayed) this.#watch(delayed)
  }

  unwatchTime(): void {
    for (const { timer } of this.#delayed) this.#queues.clock.clearTimeout(timer)
  }

  bury(sealed: Package, reason: string): void {
    this.dead.push({ ...sealed, queue: this.#name, reason, diedAt: this.#queues.clock.now() })
  }

  #delay(sealed: Package, delay: number): void {
    const delayed: Delayed = { package: sealed, due: this.#queues.clock.now() + delay, timer: undefined }
    this.#delayed.add(delayed)
    this.#watch(delayed)
  }

  #watch(delayed: Delayed): void {
    const { clock } = this.#queues
    const left = () => Math.max(0, delayed.due - clock.now())
    const release = () => {
      this.#delayed.delete(delayed)
      this.add(delayed.package, left())
    }
    // A timer may be early by a part of a millisecond, and holds no more than 31 bits of them.
    delayed.timer = clock.setTimeout(release, Math.min(left(), LONGEST_TIMER))
  }

  #handOut(consumer: MemoryConsumer): void {
    const deliveries = URGENT_FIRST.flatMap((priority) =>
      this.#ready[priority].splice(0, consumer.roomFor(priority)).map((entry) => this.#hold(entry, consumer)),
    )
    if (deliveries.length > 0) consumer.deliver(deliveries)
  }

  #hold(waiting: Entry, consumer: MemoryConsumer): Delivery {
    const receipt = ++this.#receipts
    const entry = { ...waiting, deliveries: waiting.deliveries + 1 }
    this.held.set(receipt, { entry, consumer })
    return { ...entry.package, deliveries: entry.deliveries, receipt }
  }
}

const priorityOf = ({ priority = 'normal' }: Package): Priority => priority

const LONGEST_TIMER = 2 ** 31 - 1

class MemoryConsumer implements Consumer {
  readonly #queues: MemoryQueues
  readonly #queue: Queue
  readonly #options: ConsumeOptions
  #prefetch: number

  constructor(queues: MemoryQueues, options: ConsumeOptions) {
    this.#queues = queues
    this.#queue = queues.queue(options.queue)
    this.#options = options
    this.#prefetch = options.prefetch
    this.#queue.consumers.add(this)
    this.#queue.wake()
  }

  roomFor(priority: Priority): number {
    const mine = this.#mine.filter(([, { entry }]) => priorityOf(entry.package) === priority)
    return Math.max(0, this.#prefetch - mine.length)
  }

  deliver(deliveries: Delivery[]): void {
    this.#options.onDeliveries(deliveries)
  }

  setPrefetch(prefetch: number): void {
    this.#prefetch = prefetch
    this.#queue.wake()
  }

  async settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }> {
    const carriedOut = settlements.filter((one) => this.#settle(one))
    this.#queue.wake()
    return { void: settlements.length - carriedOut.length }
  }

  async stop(): Promise<void> {
    this.#queue.consumers.delete(this)
  }

  async leave(): Promise<void> {
    this.#queue.consumers.delete(this)
    for (const [receipt, { entry }] of this.#mine) {
      this.#queue.held.delete(receipt)
      this.#queue.giveBack(entry)
    }
  }

  get #mine(): [Receipt, Held][] {
    return [...this.#queue.held].filter(([, { consumer }]) => consumer === this)
  }

  #settle(settlement: Settlement): boolean {
    const held = this.#queue.held.get(settlement.receipt)
    if (held?.consumer !== this) return false
    this.#queue.held.delete(settlement.receipt)
    if ('follow' in settlement) this.#queues.enqueue(settlement.follow ?? [])
    if (settlement.type === 'requeue') this.#queue.giveBack(held.entry)
    if (settlement.type === 'retry') this.#queue.add(settlement.package, settlement.delay)
    if (settlement.type === 'deadLetter') this.#queue.bury(settlement.package, settlement.reason)
    return true
  }
}

class MemoryBroker implements Broker {
  readonly #queues: MemoryQueues
  readonly #consumers = new Set<MemoryConsumer>()
  #isOpen = false

  constructor(queues: MemoryQueues) {
    this.#queues = queues
  }

  async connect(): Promise<void> {
    if (this.#isOpen) return
    this.#isOpen = true
    this.#queues.opened()
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#queues.closed()
    await Promise.all([...this.#consumers].map((consumer) => consumer.leave()))
    this.#consumers.clear()
  }

  async ping(): Promise<void> {
    this.#opened()
  }

  async info(): Promise<string> {
    this.#opened()
    return `memory of Node.js ${process.versions.node}`
  }

  async enqueue(batch: readonly Enqueued[]): Promise<void> {
    this.#opened().enqueue(batch)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    const consumer = new MemoryConsumer(this.#opened(), options)
    this.#consumers.add(consumer)
    return consumer
  }

  async queueSize(queue: string): Promise<number> {
    return this.#opened().queue(queue).size
  }

  async lockSize(queue: string): Promise<number> {
    return this.#opened().queue(queue).held.size
  }

  async purge(queue: string): Promise<number> {
    return this.#opened().queue(queue).purge()
  }

  async deleteQueue(name: string): Promise<void> {
    const queue = this.#opened().queue(name)
    queue.purge()
    queue.held.clear()
    queue.dead = []
  }

  async deadLetters(queue: string, limit = 100): Promise<DeadLetter[]> {
    return this.#opened().queue(queue).dead.toReversed().slice(0, limit)
  }

  async reviewDeadLetters(name: string, judge: (letter: DeadLetter) => DeadLetterFate): Promise<void> {
    const queue = this.#opened().queue(name)
    for (const letter of [...queue.dead]) {
      const fate = judge(letter)
      if (fate === 'keep') continue
      if (fate !== 'remove') queue.add(fate.replay, 0)
      queue.dead = queue.dead.filter((one) => one !== letter)
    }
  }

  async publishStat(clusterId: string, body: string, ttl: number): Promise<void> {
    this.#opened().bus.show(clusterId, body, ttl)
  }

  async withdrawStat(clusterId: string): Promise<void> {
    this.#opened().bus.withdraw(clusterId)
  }

  async stats(): Promise<string[]> {
    return this.#opened().bus.shown()
  }

  async control(request: ControlRequest): Promise<void> {
    await this.#opened().bus.order(request)
  }

  async onControl(options: ListenOptions): Promise<Listener> {
    return this.#opened().bus.listen(options)
  }

  #opened(): MemoryQueues {
    if (this.#isOpen) return this.#queues
    throw new BrokerError(
      'The broker in memory is not open: call connect() first, and nothing after close().',
    )
  }
}

/** What clusters show and are told. */
class MemoryBus {
  readonly #clock: Clock
  readonly #stats = new Map<string, { readonly body: string; readonly until: number }>()
  readonly #listeners = new Set<ListenOptions>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  show(clusterId: string, body: string, ttl: number): void {
    this.#stats.set(clusterId, { body, until: this.#clock.now() + ttl })
  }

  withdraw(clusterId: string): void {
    this.#stats.delete(clusterId)
  }

  shown(): string[] {
    return [...this.#stats.values()].filter(({ until }) => until > this.#clock.now()).map(({ body }) => body)
  }

  listen(options: ListenOptions): Listener {
    this.#listeners.add(options)
    return { stop: async () => void this.#listeners.delete(options) }
  }

  async order({ to, body, patience, onAnswer }: ControlRequest): Promise<void> {
    const meant = [...this.#listeners].filter(({ clusterId }) => to === null || clusterId === to)
    if (meant.length === 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = this.#clock.setTimeout(resolve, patience)
    for (const { onOrder } of meant)
      void onOrder(body).then((answer) => {
        if (answer !== undefined && onAnswer(answer)) resolve()
      })
    await promise
    this.#clock.clearTimeout(timer)
  }
}
