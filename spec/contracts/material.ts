/** What the contracts work with: packages, outcomes, other processes, and ways to wait for something without sleeping. */
import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'pg'
import type { Delivery, Package } from '../../lib/brokers/index.ts'
import { sweepRuntimeDirectories } from '../../lib/directory.ts'
import type { Outcome } from '../../lib/stores/index.ts'
import type { PeerOrder, PeerReport } from './peer.ts'

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

export function packageOf(taskId: string, given: Partial<Package> = {}): Package {
  return { taskId, run: 1, attempt: 1, body: `signature\n{"id":"${taskId}"}\n[]`, ...given }
}

export function outcomeOf(taskId: string, given: Partial<Outcome> = {}): Outcome {
  return {
    taskId,
    run: 1,
    attempt: 1,
    name: `name of ${taskId}`,
    func: 'add',
    args: '[1,2]',
    cluster: 'default',
    enqueuedAt: 1_000,
    startedAt: 2_000,
    stoppedAt: 3_000,
    success: true,
    result: '3',
    fate: 'ack',
    ...given,
  }
}

/** Collects what comes in batches, and lets a spec wait for it. */
export class Inbox<T> {
  readonly items: T[] = []
  #wanted = 0
  #arrived = Promise.withResolvers<void>()

  /** Give this to whoever delivers. */
  readonly put = (items: readonly T[]): void => {
    this.items.push(...items)
    if (this.items.length >= this.#wanted) this.#arrived.resolve()
  }

  /** Resolves with everything that came so far, as soon as it is at least this many. */
  async atLeast(count: number): Promise<T[]> {
    this.#wanted = count
    this.#arrived = Promise.withResolvers()
    if (this.items.length < count) await this.#arrived.promise
    return this.items
  }
}

export const taskIds = (deliveries: readonly Pick<Delivery, 'taskId'>[]): string[] =>
  deliveries.map(({ taskId }) => taskId)

/** Between two looks at what other processes do, who need the processor more. */
export const pause = (): Promise<void> => delay(10)

/** Asks until the answer is the one, for what a server counts a little later than it happens. */
export async function eventually<T>(ask: () => Promise<T>, expected: T): Promise<void> {
  while ((await ask()) !== expected) await pause()
}

/** A schema of its own in a PostgreSQL: all tables of ours are made in the first one of the search path. */
export class OwnSchema {
  readonly name: string
  /** Of a store in it, whose connections bear its name. */
  readonly options: { readonly store: string }
  readonly #pool: Pool

  static async make(url: string): Promise<OwnSchema> {
    const schema = new OwnSchema(url)
    await schema.#pool.query(`create schema ${schema.name}`)
    return schema
  }

  private constructor(url: string) {
    this.name = `spec_${randomUUID().replaceAll('-', '')}`
    const search = encodeURIComponent(`-c search_path=${this.name}`)
    this.options = { store: `${url}?options=${search}&application_name=${this.name}` }
    this.#pool = new Pool({ connectionString: url, max: 1 })
  }

  /** Cuts every connection to it. */
  async cut(): Promise<void> {
    const all = 'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1'
    await this.#pool.query(all, [this.name])
  }

  async remove(): Promise<void> {
    await this.#pool.query(`drop schema ${this.name} cascade`)
    await this.#pool.end()
  }
}

/** Starts another process; the caller ends it. */
export function peer(order: PeerOrder): Peer {
  return new Peer(fork(new URL('./peer.ts', import.meta.url), [JSON.stringify(order)], { execArgv: [] }))
}

export class Peer {
  readonly process: ChildProcess
  readonly #ended: Promise<unknown[]>

  constructor(process: ChildProcess) {
    this.process = process
    this.#ended = once(process, 'exit')
  }

  /** The next thing it reports. */
  async report(): Promise<PeerReport> {
    const [message] = await once(this.process, 'message')
    return message as PeerReport
  }

  /** The exit code with which it ends by itself. */
  async ended(): Promise<unknown> {
    const [code] = await this.#ended
    return code
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.#ended
    // One that was killed could not remove what it had made.
    sweepRuntimeDirectories()
  }
}
