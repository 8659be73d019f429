/** What the contracts work with: packages, outcomes, other processes, and ways to wait for something that happens. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
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

/**
 * Between two looks at what other processes do, who need the processor more. A spec whose time is over may still wait for
 * something: that keeps nobody from ending.
 */
export const pause = (): Promise<void> => delay(10, undefined, { ref: false })

/** Asks until the answer is the one, for what a server counts a little later than it happens. */
export async function eventually<T>(ask: () => Promise<T>, expected: T): Promise<void> {
  while ((await ask()) !== expected) await pause()
}

/** What a promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error('it was fulfilled')
    },
    (error: Error) => error,
  )
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
