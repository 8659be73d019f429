/** A broker for tests: what is in flight lives in this process, and its clock goes as it is told. */
import { BrokerError } from '../errors.ts'
import type {
  Broker,
  Consumer,
  DeadLetter,
  DeadLetterFate,
  Delivery,
  Enqueued,
  Listener,
  Package,
  Receipt,
  Settlement,
} from './broker.ts'

interface Waiting {
  readonly queue: string
  readonly package: Package
  readonly due: number
  readonly deliveries: number
}

/** Hands out what is due when it is asked to, the urgent first, else in the order that it is due. */
export class MemoryBroker implements Broker {
  readonly #now: () => number
  readonly #held = new Map<Receipt, Waiting>()
  #waiting: Waiting[] = []
  #dead: DeadLetter[] = []
  #receipts = 0

  /** @param now milliseconds of the clock that delays are counted by */
  constructor(now: () => number) {
    this.#now = now
  }

  /** When the next package of a queue is due; undefined where none waits. */
  nextDue(queue: string): number | undefined {
    const dues = this.#of(queue).map(({ due }) => due)
    return dues.length === 0 ? undefined : Math.min(...dues)
  }

  /** Takes all that is due now. */
  take(queue: string): Delivery[] {
    const due = this.#of(queue).filter((one) => one.due <= this.#now())
    this.#waiting = this.#waiting.filter((one) => !due.includes(one))
    return due.toSorted(byUrgency).map((one) => this.#handOut(one))
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    for (const settlement of settlements) await this.#settle(settlement)
  }

  async enqueue(batch: readonly Enqueued[]): Promise<void> {
    for (const { queue, package: sealed, delay = 0 } of batch)
      this.#waiting.push({ queue, package: sealed, due: this.#now() + delay, deliveries: 0 })
  }

  async queueSize(queue: string): Promise<number> {
    return this.#of(queue).length
  }

  async lockSize(queue: string): Promise<number> {
    return [...this.#held.values()].filter((one) => one.queue === queue).length
  }

  async purge(queue: string): Promise<number> {
    const { length } = this.#of(queue)
    this.#waiting = this.#waiting.filter((one) => one.queue !== queue)
    return length
  }

  async deleteQueue(queue: string): Promise<void> {
    await this.purge(queue)
    this.#dead = this.#dead.filter((one) => one.queue !== queue)
  }

  async deadLetters(queue: string, limit = 100): Promise<DeadLetter[]> {
    return this.#dead
      .filter((one) => one.queue === queue)
      .toReversed()
      .slice(0, limit)
  }

  async reviewDeadLetters(queue: string, judge: (letter: DeadLetter) => DeadLetterFate): Promise<void> {
    for (const letter of this.#dead.filter((one) => one.queue === queue)) {
      const fate = judge(letter)
      if (fate === 'keep') continue
      if (fate !== 'remove') await this.enqueue([{ queue, package: fate.replay }])
      this.#dead = this.#dead.filter((one) => one !== letter)
    }
  }

  async connect(): Promise<void> {}
  async close(): Promise<void> {}
  async ping(): Promise<void> {}
  async info(): Promise<string> {
    return 'memory of this process'
  }

  consume(): Promise<Consumer> {
    throw new BrokerError('A broker in memory is taken from, not consumed; use a TestCluster.')
  }

  /** Nobody is on its bus: there is one process. */
  async publishStat(): Promise<void> {}
  async withdrawStat(): Promise<void> {}
  async stats(): Promise<string[]> {
    return []
  }
  async control(): Promise<void> {}
  async onControl(): Promise<Listener> {
    return { stop: async () => {} }
  }

  #of(queue: string): Waiting[] {
    return this.#waiting.filter((one) => one.queue === queue)
  }

  #handOut(one: Waiting): Delivery {
    const receipt = ++this.#receipts
    const handed = { ...one, deliveries: one.deliveries + 1 }
    this.#held.set(receipt, handed)
    return { ...one.package, deliveries: handed.deliveries, receipt }
  }

  async #settle(settlement: Settlement): Promise<void> {
    const held = this.#held.get(settlement.receipt)
    if (!held) return
    this.#held.delete(settlement.receipt)
    if ('follow' in settlement) await this.enqueue(settlement.follow ?? [])
    const { queue } = held
    if (settlement.type === 'requeue') this.#waiting.push(held)
    if (settlement.type === 'retry') await this.enqueue([{ queue, ...settlement }])
    if (settlement.type === 'deadLetter')
      this.#dead.push({ ...settlement.package, queue, reason: settlement.reason, diedAt: this.#now() })
  }
}

function byUrgency(a: Waiting, b: Waiting): number {
  return rankOf(a) - rankOf(b) || a.due - b.due
}

const rankOf = ({ package: { priority } }: Waiting): number => (priority === 'high' ? 0 : 1)
