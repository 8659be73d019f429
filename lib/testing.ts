/**
 * Tests tasks without a server, in milliseconds: `qcluster/testing`.
 *
 * @example
 * await using cluster = await TestCluster.start({ tasks: [add] })
 * const task = await asyncTask(add, [2, 3], { delay: 60 })
 * await cluster.advance(60)
 * expect(await task.result()).to.equal(5)
 */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Broker, Enqueued } from './brokers/broker.ts'
import { MemoryQueues } from './brokers/memory.ts'
import { Client, substituteDefault } from './client.ts'
import { type Options, resolveSettings, type Settings } from './config.ts'
import { ConfigError, type ErrorRecord } from './errors.ts'
import { openPackage } from './package.ts'
import type { FrameMessage } from './process/socket.ts'
import type { WorkerToMonitor } from './roles/frames.ts'
import { Signer } from './signing.ts'
import { retentionOf } from './stores/index.ts'
import { MemoryTables } from './stores/memory.ts'
import { isInTask } from './tasks/current.ts'
import { definitionOf, type TaskFunction } from './tasks/define.ts'
import type { LoadedTask } from './tasks/load.ts'
import { emitSafely } from './tasks/signals.ts'
import { TestClock } from './testing/clock.ts'
import {
  type EnqueuedTask,
  type HookCall,
  hookIn,
  isOf,
  seenEnqueued,
  seenRun,
  type TestRun,
} from './testing/spies.ts'
import { Staff } from './testing/staff.ts'

export type { EnqueuedTask, HookCall, TestRun } from './testing/spies.ts'

/** Options of the table that matter to one process. */
type OwnOptions = Pick<
  Options,
  | 'name'
  | 'concurrency'
  | 'timeout'
  | 'timeoutGrace'
  | 'maxAttempts'
  | 'maxDeliveries'
  | 'retry'
  | 'ackFailures'
  | 'cached'
  | 'saveLimit'
  | 'saveLimitPer'
  | 'saveFor'
  | 'compress'
  | 'maxPayload'
>

/**
 * The tasks, how time begins, and options of the table that matter to one process. Of these `saveLimit` is 0 unless it is
 * given: all is kept.
 */
export interface TestClusterOptions extends OwnOptions {
  /** The functions that `defineTask` made. */
  readonly tasks: readonly TaskFunction[]
  /** What its clock shows at first; the time of this machine when absent. */
  readonly startAt?: Date
  /** Whether whoever enqueues waits until all that is due by then has run; then `drain()` is hardly needed. */
  readonly inline?: boolean
}

/** Something that happened, as the log of a cluster tells it: `task.started`, `task.finished`, `schedule.met`, … */
export interface TestEvent {
  readonly event: string
  readonly func?: string
  readonly taskId?: string
  readonly [field: string]: unknown
}

/** Milliseconds of real time that a task may take before the clock goes on without it, where it is to go on. */
const PATIENCE = 100

/**
 * A cluster in this process, for tests: the machines and the code of a real one, over a broker and a store in memory, and
 * by a clock that stands still. Nothing runs until {@link drain} or {@link advance}. As long as it is there it serves the
 * default client, so that what is tested need not know of it.
 */
export class TestCluster implements AsyncDisposable {
  /** What the default client is replaced by: to enqueue with, and to look for outcomes. */
  readonly client: Client
  /** All that happened, in order. */
  readonly events: TestEvent[] = []
  readonly #clock: TestClock
  readonly #tables: MemoryTables
  readonly #queues: MemoryQueues
  readonly #staff: Staff
  readonly #name: string
  readonly #enqueued: EnqueuedTask[] = []
  readonly #runs: TestRun[] = []
  readonly #restoreDefault: () => void
  /** Drainings under way: with `inline` each of several callers has its own. */
  #drainings = 0

  /**
   * Makes one. Dispose of it: until then it stands in for the default client.
   * @throws {ConfigError} when an option is wrong, or something is no task
   */
  static async start({
    tasks,
    startAt,
    inline = false,
    ...options
  }: TestClusterOptions): Promise<TestCluster> {
    const given = { secretKey: 'test', saveLimit: 0, ...options }
    const settings = await resolveSettings(given, { file: null, env: {} })
    const cluster = new TestCluster(settings, new Map(tasks.map(loaded)), {
      clock: new TestClock(startAt?.getTime() ?? Date.now()),
      inline,
    })
    await cluster.#tables.connect()
    await cluster.#staff.start()
    await cluster.drain()
    return cluster
  }

  private constructor(
    settings: Settings,
    tasks: ReadonlyMap<string, LoadedTask>,
    { clock, inline }: { readonly clock: TestClock; readonly inline: boolean },
  ) {
    const signer = new Signer(settings.secretKey)
    this.#clock = clock
    this.#name = settings.name
    this.#tables = new MemoryTables(clock)
    this.#queues = new MemoryQueues(clock, (one) => {
      this.#enqueued.push(seenEnqueued(one, openPackage(one.package, one.queue, signer)))
    })
    this.#staff = new Staff({
      ...{ settings, tasks, clock },
      makeBroker: async () => this.#queues.broker(),
      makeStore: async () => this.#tables.store(retentionOf(settings)),
      makeClient: () => this.#makeClient(settings, false),
      record: (event, fields) => this.#note({ ...fields, event }),
      onMessage: (message) => this.#overhear(message),
    })
    this.client = this.#makeClient(settings, inline)
    this.#restoreDefault = substituteDefault(this.client)
  }

  /** What its clock shows: milliseconds since the epoch. */
  get now(): number {
    return this.#clock.now()
  }

  /** Everything that was enqueued, or one task, by whomever: hooks, links and tasks of schedules too. In order. */
  enqueued(): EnqueuedTask[]
  enqueued<TArgs extends unknown[]>(task: TaskFunction<TArgs>): EnqueuedTask<TArgs>[]
  enqueued(task?: TaskFunction): EnqueuedTask[] {
    return this.#enqueued.filter(isOf(task))
  }

  /** Every run that has ended, or those of one task, each attempt for itself. In order. */
  runs(): TestRun[]
  runs<TArgs extends unknown[], TResult>(
    task: TaskFunction<TArgs, TResult>,
  ): TestRun<TArgs, Awaited<TResult>>[]
  runs(task?: TaskFunction): TestRun[] {
    return this.#runs.filter(isOf(task))
  }

  /** The hooks that were enqueued, or those that are told of one task, with what they are told. */
  hooked(): HookCall[]
  hooked<TArgs extends unknown[], TResult>(task: TaskFunction<TArgs, TResult>): HookCall<Awaited<TResult>>[]
  hooked(task?: TaskFunction): HookCall[] {
    return this.#enqueued.flatMap(hookIn).filter(({ record }) => isOf(task)(record))
  }

  /**
   * Runs all that is due, and what follows from it, until nothing is due any more. No time passes meanwhile, and a task
   * that does not end is waited for: see {@link advance}.
   * @throws what a machine has failed with
   */
  async drain(): Promise<void> {
    await this.#drain(Number.POSITIVE_INFINITY)
  }

  /**
   * Lets so many seconds pass. What comes due meanwhile happens at its time and in its order: delays, schedules, retries, the
   * end of a timeout or of a time to live. A task that does not end is waited for a tenth of a second, real time; then the
   * clock goes on.
   * @throws what a machine has failed with
   */
  async advance(seconds: number): Promise<void> {
    const end = this.now + seconds * 1000
    await this.#drain(PATIENCE)
    for (let next = await this.#next(); next <= end; next = await this.#next()) {
      this.#clock.moveTo(next)
      await this.#drain(PATIENCE)
    }
    this.#clock.moveTo(end)
    await this.#drain(PATIENCE)
  }

  /** Kills the worker, as if its process had ended now: what it runs has crashed. Another one takes its place. */
  async crash(): Promise<void> {
    await this.#staff.bury('crashed')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#restoreDefault()
    this.#staff.stop()
    await this.client.close()
    await this.#tables.close()
  }

  /** Again and again: what has run may have made a schedule, or have cancelled something. */
  async #drain(patience: number): Promise<void> {
    this.#drainings += 1
    this.#queues.release()
    try {
      let seen: number
      do {
        seen = this.#enqueued.length + this.#runs.length
        this.#staff.stir()
        await this.#calm(patience)
      } while (this.#enqueued.length + this.#runs.length > seen)
    } finally {
      this.#drainings -= 1
      if (this.#drainings === 0) this.#queues.hold()
    }
  }

  /** Resolves when nobody has had anything to do for some turns, or when only a task's own code has, for too long. */
  async #calm(patience: number): Promise<void> {
    let stood: { readonly still: string; readonly since: number } | undefined
    for (let idle = 0; idle < TURNS; ) {
      await turn()
      this.#clock.moveTo(this.now)
      if (this.#staff.failure) throw this.#staff.failure.error
      idle = this.#staff.isIdle && this.#queues.isIdle(this.#name) ? idle + 1 : 0
      const still = this.#staff.standstill
      if (still === undefined) stood = undefined
      else if (stood?.still !== still) stood = { still, since: performance.now() }
      else if (performance.now() - stood.since > patience) return
      // Its code may wait for something that does not come sooner for being asked.
      else await sleep(1)
    }
  }

  /** When something comes due next. */
  async #next(): Promise<number> {
    const { due, next } = await this.client.atStore(({ schedules }) => schedules.agenda(this.#name, 1))
    const planned = due.length > 0 || next === null ? Number.POSITIVE_INFINITY : next
    return Math.min(this.#clock.next, planned)
  }

  #makeClient(settings: Settings, inline: boolean): Client {
    return new Client(settings, {
      resolve: async () => settings,
      clock: this.#clock,
      makeStore: async (_, retention) => this.#tables.store(retention),
      makeBroker: async () => (inline ? this.#inlining(this.#queues.broker()) : this.#queues.broker()),
    })
  }

  /** A broker at which only tasks need not wait for what they enqueue. */
  #inlining(broker: Broker): Broker {
    const enqueue = broker.enqueue.bind(broker)
    return Object.assign(broker, {
      enqueue: async (batch: readonly Enqueued[]) => {
        await enqueue(batch)
        if (!isInTask()) await this.drain()
      },
    })
  }

  #overhear(message: FrameMessage): void {
    if (message.kind !== 'ended') return
    const { outcomes } = message as Extract<WorkerToMonitor, { kind: 'ended' }>
    this.#runs.push(...outcomes.filter(({ withdrawn }) => !withdrawn).map(seenRun))
  }

  #note(event: TestEvent): void {
    this.events.push(event)
    if (event.event === 'task.finished' || event.event === 'task.failed') void this.#signal(event)
  }

  /** What the process of a cluster does when it hears of an outcome. */
  async #signal({ event, taskId, task, func, group, run, attempt, error }: TestEvent): Promise<void> {
    const success = event === 'task.finished'
    const executed = {
      id: taskId,
      name: task,
      func,
      ...(group !== undefined && { group }),
      run,
      attempt,
      success,
    }
    const told = { ...executed, ...(!success && { error: error as ErrorRecord }) } as never
    const unheard = (signal: string, failure: Error) =>
      this.#note({ event: 'signal.failed', signal, error: failure })
    await emitSafely('postExecute', unheard, told)
    if (!success) await emitSafely('onError', unheard, told)
  }
}

/** Turns of the event loop without anything to do after which nothing is under way any more. */
const TURNS = 5

function loaded(fn: TaskFunction): [string, LoadedTask] {
  const definition = definitionOf(fn)
  if (!definition)
    throw new ConfigError('A TestCluster needs tasks that defineTask made, got a plain function; define it.')
  return [definition.name, { func: definition.name, definition, fn: fn as unknown as LoadedTask['fn'] }]
}
