/** What a cluster does when it is told to over the bus. */
import type { Cluster } from './cluster.ts'
import { type Order, OrderGate, sealAnswer } from './control.ts'
import { ConfigError, toErrorRecord } from './errors.ts'
import type { Signer } from './signing.ts'

/** What an order comes to: a method of the cluster. What it returns is answered; an error that it throws, too. */
type Obey = (cluster: Cluster, ...args: readonly unknown[]) => unknown

/** Every order, by its name. */
export const ORDERS: Readonly<Record<string, Obey>> = {
  ping: ({ stat: { status, queue, host, pid, uptime } }) => ({ status, queue, host, pid, uptime }),
}

/** What was heard of an order: nobody obeys one that is refused, and it gets no answer. */
export type Heard =
  | { readonly type: 'obeyed'; readonly order: string; readonly answer: string }
  | { readonly type: 'refused'; readonly reason: string }

/** Hears the orders to one cluster: checks each, carries it out, and words the answer. */
export class OrderDesk {
  readonly #cluster: Cluster
  readonly #signer: Signer
  readonly #gate: OrderGate

  constructor(cluster: Cluster, signer: Signer) {
    this.#cluster = cluster
    this.#signer = signer
    this.#gate = new OrderGate(cluster.clusterId, signer)
  }

  async hear(body: string): Promise<Heard> {
    try {
      const order = this.#gate.admit(body)
      return { type: 'obeyed', order: order.order, answer: await this.#answer(order) }
    } catch (error) {
      return { type: 'refused', reason: (error as Error).message }
    }
  }

  async #answer(order: Order): Promise<string> {
    const { clusterId, name } = this.#cluster
    const done = await this.#carryOut(order)
    return sealAnswer({ id: order.id, at: Date.now(), clusterId, name, ...done }, this.#signer)
  }

  async #carryOut({ order, args }: Order) {
    try {
      const obey = Object.hasOwn(ORDERS, order) ? ORDERS[order] : undefined
      if (!obey) throw unknownOrder(order)
      return { result: await obey(this.#cluster, ...args) }
    } catch (error) {
      return { error: toErrorRecord(error) }
    }
  }
}

function unknownOrder(order: string): ConfigError {
  return new ConfigError(
    `Expected one of the orders ${Object.keys(ORDERS).join(', ')}, got "${order}"; give one of them, or update this cluster.`,
  )
}
