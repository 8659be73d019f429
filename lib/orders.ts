/** What a cluster does when it is told to over the bus. */
import type { Cluster } from './cluster.ts'
import { type Answer, type Order, OrderGate, sealAnswer } from './control.ts'
import { ConfigError, toErrorRecord } from './errors.ts'
import type { Signer } from './signing.ts'

/** What an order comes to: a method of the cluster. What it returns is answered; an error that it throws, too. */
type Obey = (cluster: Cluster, ...args: readonly unknown[]) => unknown

/** Every order, by its name. */
const ORDERS: Readonly<Record<string, Obey>> = {
  ping: ({ stat: { status, queue, host, pid, uptime } }) => ({ status, queue, host, pid, uptime }),
  pause: (cluster) => after(cluster.pause(), 'paused'),
  resume: (cluster) => after(cluster.resume(), 'resumed'),
  scale: (cluster, workers) => after(cluster.scale(workers as number), `scaled to ${workers}`),
  reload: (cluster) => after(cluster.reload(), 'reloaded'),
  cancel: (cluster) => cluster.heedCancellations(),
  // Answered before the end: a cluster that has stopped has no voice.
  stop: (cluster) => {
    void cluster.stop()
    return 'stopping'
  },
  inspect: (cluster, id, seen) => cluster.onlookers.next(id as string, seen as number),
}

/** What was heard of an order. One that did not come from us, or comes again, gets no answer. */
export type Heard =
  | { readonly type: 'obeyed'; readonly order: string; readonly answer: string }
  | { readonly type: 'refused'; readonly reason: string; readonly answer?: string }

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
      return await this.#obey(this.#gate.admit(body))
    } catch (error) {
      return { type: 'refused', reason: (error as Error).message }
    }
  }

  async #obey({ id, order, args }: Order): Promise<Heard> {
    try {
      const result = await obeyFor(order)(this.#cluster, ...args)
      return { type: 'obeyed', order, answer: this.#seal({ id, result }) }
    } catch (error) {
      const record = toErrorRecord(error)
      return { type: 'refused', reason: record.message, answer: this.#seal({ id, error: record }) }
    }
  }

  #seal(said: Pick<Answer, 'id' | 'result' | 'error'>): string {
    const { clusterId, name } = this.#cluster
    return sealAnswer({ ...said, at: Date.now(), clusterId, name }, this.#signer)
  }
}

async function after(deed: Promise<void>, words: string): Promise<string> {
  await deed
  return words
}

function obeyFor(order: string): Obey {
  const obey = Object.hasOwn(ORDERS, order) ? ORDERS[order] : undefined
  if (!obey) throw unknownOrder(order)
  return obey
}

function unknownOrder(order: string): ConfigError {
  return new ConfigError(
    `Expected one of the orders ${Object.keys(ORDERS).join(', ')}, got "${order}"; give one of them, or update this cluster.`,
  )
}
