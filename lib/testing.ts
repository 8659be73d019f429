/**
 * Tests tasks without a server, in milliseconds: `qcluster/testing`.
 *
 * @example
 * await using cluster = await TestCluster.start({ tasks: [add] })
 * const task = await asyncTask(add, [2, 3], { client: cluster.client, delay: 60 })
 * await cluster.advance(60)
 * expect(await task.result()).to.equal(5)
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { MemoryBroker } from './brokers/memory.ts'
import { Client } from './client.ts'
import { type Options, resolveSettings, type Settings } from './config.ts'
import { ConfigError } from './errors.ts'
import { openPackage } from './package.ts'
import { Dispatcher } from './roles/dispatcher.ts'
import { Outcomes } from './roles/outcomes.ts'
import { Runner } from './roles/runner.ts'
import { Sequels } from './roles/sequel.ts'
import { Signer } from './signing.ts'
import { createStore, storeOptionsOf } from './stores/index.ts'
import type { Store } from './stores/store.ts'
import { definitionOf, type TaskFunction } from './tasks/define.ts'
import type { LoadedTask } from './tasks/load.ts'

/** Options of the table that matter to one process, and the tasks themselves. */
export interface TestClusterOptions
  extends Pick<Options, 'name' | 'timeout' | 'maxAttempts' | 'retry' | 'ackFailures' | 'cached'> {
  /** The functions that `defineTask` made. */
  readonly tasks: readonly TaskFunction[]
}

/** Something that happened to a task, as the log of a cluster tells it: `task.started`, `task.finished`, `task.failed`, … */
export interface TestEvent {
  readonly event: string
  readonly func?: string
  readonly taskId?: string
  readonly [field: string]: unknown
}

/**
 * A cluster in this process, for tests: pusher, worker and monitor decide by the code of a real one, over a broker in memory
 * and a store in a folder of its own. Nothing runs until {@link drain} or {@link advance}, one task after the other.
 */
export class TestCluster implements AsyncDisposable {
  /** Whom to enqueue with: `asyncTask(add, [1, 2], { client })`, or `configure(client)` for all. */
  readonly client: Client
  /** All that happened, in order. */
  readonly events: TestEvent[] = []
  readonly #settings: Settings
  readonly #store: Store
  readonly #broker = new MemoryBroker(() => this.now)
  readonly #dispatcher: Dispatcher
  readonly #outcomes: Outcomes
  /** Milliseconds by which its clock is ahead. */
  #ahead = 0

  /** Makes one. Dispose of it: it has a folder. */
  static async start({ tasks, ...options }: TestClusterOptions): Promise<TestCluster> {
    const dataDir = await mkdtemp(join(tmpdir(), 'qcluster-test-'))
    const given = { dataDir, secretKey: 'test', saveLimit: 0, ...options }
    const settings = await resolveSettings(given, { file: null, env: {} })
    const store = await createStore(storeOptionsOf(settings))
    await store.connect()
    return new TestCluster(settings, store, tasks)
  }

  private constructor(settings: Settings, store: Store, tasks: readonly TaskFunction[]) {
    this.#settings = settings
    this.#store = store
    this.client = new Client(settings, {
      resolve: async () => settings,
      makeBroker: async () => this.#broker,
    })
    const signer = new Signer(settings.secretKey)
    this.#outcomes = this.#makeOutcomes()
    this.#dispatcher = new Dispatcher({
      ...{ queue: settings.name, concurrency: 1, maxDeliveries: settings.maxDeliveries, signer },
      open: (sealed) => openPackage(sealed, settings.name, signer),
      settle: (settlements) => this.#broker.settle(settlements),
      notify: () => {},
      report: () => {},
      refused: (reason) => this.#note('package.refused', { reason }),
    })
    this.#introduce(this.#makeRunner(new Map(tasks.map(loaded))))
  }

  /** The clock that delays and retries are counted by: milliseconds since the epoch. */
  get now(): number {
    return Date.now() + this.#ahead
  }

  /** How often a task was started: all of them, or those of one function. */
  runsOf(task?: TaskFunction): number {
    const func = task && definitionOf(task)?.name
    return this.events.filter((one) => one.event === 'task.started' && (!func || one.func === func)).length
  }

  /** Runs all that is due, and what follows from it, until nothing is due any more. */
  async drain(): Promise<void> {
    this.#outcomes.heed()
    // Nothing is taken before it is known what nobody wants any more.
    this.#dispatcher.hearMonitor({ kind: 'cancelled', cancellations: await this.#store.cancellations.list() })
    for (;;) {
      this.#dispatcher.take(this.#broker.take(this.#settings.name))
      while (this.#dispatcher.size > 0) await turn()
      if ((this.#broker.nextDue(this.#settings.name) ?? Number.POSITIVE_INFINITY) > this.now) return
    }
  }

  /** Lets so many seconds pass: what comes due meanwhile runs in its order, retries included. */
  async advance(seconds: number): Promise<void> {
    const end = this.now + seconds * 1000
    await this.drain()
    for (let due = this.#next(); due <= end; due = this.#next()) {
      this.#ahead += Math.max(0, due - this.now)
      await this.drain()
    }
    this.#ahead += Math.max(0, end - this.now)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close()
    await this.#store.close()
    await rm(this.#settings.dataDir, { recursive: true })
  }

  #next(): number {
    return this.#broker.nextDue(this.#settings.name) ?? Number.POSITIVE_INFINITY
  }

  #makeOutcomes(): Outcomes {
    const { name, maxAttempts, retry, ackFailures, cached } = this.#settings
    return new Outcomes({
      ...{ queue: name, maxAttempts, retry: retry * 1000, ackFailures, cached, saveSuccesses: true },
      store: this.#store,
      sequels: new Sequels({ store: this.#store, packing: this.#settings, cached }),
      cancellations: this.#store.cancellations,
      release: (taskIds) => this.#store.uniques.release(taskIds),
      report: () => {},
      record: (event, fields) => this.#note(event, fields),
      sealNotices: () => [],
    })
  }

  #makeRunner(tasks: ReadonlyMap<string, LoadedTask>): Runner {
    return new Runner({
      ...{ worker: WORKER, tasks, concurrency: 1, timeout: this.#settings.timeout, packing: this.#settings },
      board: { start: () => {}, finish: () => {}, close: () => {} },
      report: () => {},
      show: () => {},
      record: (event, fields) => this.#note(event, fields),
      flush: () => {},
    })
  }

  /** What sockets do between processes. Each message comes in a turn of its own, as there. */
  #introduce(runner: Runner): void {
    const [dispatcher, outcomes] = [this.#dispatcher, this.#outcomes]
    outcomes.save()
    dispatcher.attend((message) => setImmediate(() => outcomes.hearPusher(message)))
    outcomes.attend((message) => setImmediate(() => dispatcher.hearMonitor(message)))
    outcomes.welcome(WORKER, ({ keys }) => setImmediate(() => runner.released(keys)))
    runner.meetMonitor(
      (message) => message.kind === 'ended' && setImmediate(() => outcomes.hear(WORKER, message.outcomes)),
      () => {},
    )
    dispatcher.seat(WORKER, [], (message) => {
      if (message.kind === 'jobs') setImmediate(() => runner.take(message.jobs))
      if (message.kind === 'cancelled') setImmediate(() => runner.cancel(message.cancellations))
    })
    runner.meetPusher((message) => setImmediate(() => dispatcher.hear(WORKER, message)))
  }

  #note(event: string, fields: Record<string, unknown>): void {
    this.events.push({ ...fields, event })
  }
}

const WORKER = 'test'

function loaded(fn: TaskFunction): [string, LoadedTask] {
  const definition = definitionOf(fn)
  if (!definition)
    throw new ConfigError('A TestCluster needs tasks that defineTask made, got a plain function; define it.')
  return [definition.name, { func: definition.name, definition, fn: fn as unknown as LoadedTask['fn'] }]
}
