/** Orders to clusters over the bus, from both ends: who gives them, and the checks of who gets them. */
import { randomUUID } from 'node:crypto'
import { type Client, defaultClient } from './client.ts'
import { FRESH, openEnvelope, sealEnvelope, type Timed } from './envelope.ts'
import { type ErrorRecord, NoAnswerError, SignatureError, toErrorRecord } from './errors.ts'
import type { Signer } from './signing.ts'
import { Stat } from './stat.ts'

/** An order as it travels. */
export interface Order extends Timed {
  /** Told apart from all others; a cluster obeys it once. */
  readonly id: string
  /** The cluster that is meant; null: every one. */
  readonly to: string | null
  readonly order: string
  readonly args: readonly unknown[]
}

/** What a cluster answers to an order, or that it does not. */
export interface Answer extends Timed {
  /** The order's. */
  readonly id: string
  readonly clusterId: string
  /** The cluster's four words. */
  readonly name: string
  /** What it did, or has to say. */
  readonly result?: unknown
  /** Why it did nothing. */
  readonly error?: ErrorRecord
}

/** Which clusters an order is for, what it carries, and how long answers are waited for. */
export interface ControlOptions {
  /** The id of the cluster that is meant; every one of the broker where it is absent. */
  readonly cluster?: string
  readonly args?: readonly unknown[]
  /** Milliseconds to wait for answers; 5,000 by default. */
  readonly patience?: number
  /** The default client where it is absent. */
  readonly client?: Client
}

/**
 * Gives an order to a cluster, or to all of them, and collects what they answer: until every one that is listed has, or
 * the patience is over. For those that have not by then there is a {@link NoAnswerError} among the answers.
 *
 * @param order `ping`, `pause`, `resume`, `scale` (with the number as argument), `reload` or `stop`
 * @throws {BrokerError} when the broker cannot be reached
 *
 * @example
 * for (const { name, result, error } of await control('ping')) console.log(name, error?.message ?? result)
 */
export async function control(order: string, options: ControlOptions = {}): Promise<Answer[]> {
  const { cluster, args = [], patience = 5_000, client = defaultClient() } = options
  const listed = (await Stat.getAll({ client })).filter(isMeant(cluster))
  // One that has just started may not be listed yet.
  const awaited = cluster === undefined ? listed.map(idOf) : [cluster]
  const sent = orderTo(cluster, order, args)
  const answers = await send(sent, {
    client,
    patience,
    isEnough: (ids) => awaited.every((id) => ids.has(id)),
  })
  const silent = listed.filter(({ clusterId }) => !answers.has(clusterId))
  return [...answers.values(), ...silent.map((stat) => noAnswer(stat, sent, patience))]
}

/**
 * Gives an order to one cluster without looking whether it is there.
 * @returns undefined when it has not answered within the patience
 */
export async function ask(
  cluster: string,
  order: string,
  { args = [], patience = 5_000, client = defaultClient() }: Omit<ControlOptions, 'cluster'> = {},
): Promise<Answer | undefined> {
  const answers = await send(orderTo(cluster, order, args), {
    ...{ client, patience, isEnough: (ids) => ids.has(cluster) },
  })
  return answers.get(cluster)
}

function orderTo(cluster: string | undefined, order: string, args: readonly unknown[]): Order {
  return { id: randomUUID(), at: Date.now(), to: cluster ?? null, order, args }
}

interface Sending extends Required<Pick<ControlOptions, 'client' | 'patience'>> {
  /** Whether those who have answered are all that matter. */
  readonly isEnough: (ids: ReadonlyMap<string, Answer>) => boolean
}

async function send(sent: Order, { client, patience, isEnough }: Sending): Promise<Map<string, Answer>> {
  const answers = new Map<string, Answer>()
  await client.atBroker((broker, { signer }) =>
    broker.control({
      to: sent.to,
      body: sealEnvelope('order', sent, signer),
      patience,
      onAnswer: (body) => {
        const answer = readAnswer(body, sent, signer)
        if (answer) answers.set(answer.clusterId, answer)
        return isEnough(answers)
      },
    }),
  )
  return answers
}

/** Signs a cluster's answer. */
export function sealAnswer(answer: Answer, signer: Signer): string {
  return sealEnvelope('answer', answer, signer)
}

/** Lets through only orders of ours to this cluster, fresh ones, and each once. */
export class OrderGate {
  readonly #clusterId: string
  readonly #signer: Signer
  readonly #opened = performance.now()
  /** Id → when it was given, of orders that are fresh enough to be sent again. Only signed ones come in here. */
  readonly #obeyed = new Map<string, number>()

  constructor(clusterId: string, signer: Signer) {
    this.#clusterId = clusterId
    this.#signer = signer
  }

  /** @throws {SignatureError} with the reason to refuse it */
  admit(body: string): Order {
    const order = openEnvelope<Order>('order', body, this.#signer)
    if (order.to !== null && order.to !== this.#clusterId)
      throw refused(order, `it is meant for the cluster ${order.to}`)
    // An order to all that a former cluster obeyed must not be repeated to its successor.
    if (order.at < this.#openedAt()) throw refused(order, 'it was given before this cluster listened')
    if (this.#obeyed.has(order.id)) throw refused(order, 'it was obeyed before')
    this.#remember(order)
    return order
  }

  /** When it was opened, as the clock tells it now: that may have been set back since. */
  #openedAt(): number {
    return Math.floor(Date.now() - (performance.now() - this.#opened))
  }

  #remember({ id, at }: Order): void {
    for (const [old, given] of this.#obeyed) if (given < Date.now() - FRESH) this.#obeyed.delete(old)
    this.#obeyed.set(id, at)
  }
}

const idOf = ({ clusterId }: Stat): string => clusterId

function isMeant(cluster: string | undefined): (stat: Stat) => boolean {
  return ({ clusterId }) => cluster === undefined || clusterId === cluster
}

function noAnswer({ clusterId, name }: Stat, { id, order }: Order, patience: number): Answer {
  const error = toErrorRecord(new NoAnswerError({ order, patience }))
  return { id, at: Date.now(), clusterId, name, error }
}

/** Undefined for what is no answer to this order: anybody who reaches the broker can send something. */
function readAnswer(body: string, { id, to }: Order, signer: Signer): Answer | undefined {
  try {
    const answer = openEnvelope<Answer>('answer', body, signer)
    return answer.id === id && (to === null || answer.clusterId === to) ? answer : undefined
  } catch {
    return undefined
  }
}

function refused({ order, id }: Order, reason: string): SignatureError {
  return new SignatureError(
    `Expected an order that this cluster has not seen, got "${order}" (${id}): ${reason}. It was sent again by somebody, or is late.`,
  )
}
