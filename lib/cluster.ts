import { EventEmitter } from 'node:events'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ActorRefFrom, createActor, fromPromise, type SnapshotFrom, waitFor } from 'xstate'
import {
  type ClusterEvent,
  type ClusterLimits,
  type ClusterReport,
  clusterMachine,
  type Heritage,
  isAwaited,
} from '../machines/cluster.ts'
import type { ProcessStat, Vitals } from '../machines/protocol.ts'
import { processStat } from '../machines/slots.ts'
import { brokerOptionsOf, createBroker } from './brokers/index.ts'
import { Bus } from './bus.ts'
import { Client, offerDefaults } from './client.ts'
import type { Options, Settings } from './config.ts'
import { childEnvironment, resolveSettings } from './config.ts'
import { makeRuntimeDirectory, sweepRuntimeDirectories } from './directory.ts'
import {
  ConfigError,
  EXIT,
  NotRunningError,
  ProcessExitError,
  TaskLoadError,
  toErrorRecord,
} from './errors.ts'
import { Hub, type InspectionObserver, sourceOf } from './inspection/hub.ts'
import { Onlookers } from './inspection/remote.ts'
import {
  createLoggerLater,
  createRecorder,
  type EventName,
  type Logger,
  type LogRecord,
  type OwnLogger,
  relayTo,
} from './logger.ts'
import { humanName, newClusterId } from './names.ts'
import { OrderDesk } from './orders.ts'
import { orphans } from './orphans.ts'
import { entryFile } from './process/entry.ts'
import { fromProcess } from './process/fork.ts'
import { inspectionOf } from './process/inspection.ts'
import { TITLE_ROOM } from './process/title.ts'
import { Flights } from './roles/flights.ts'
import type { RoleInput } from './roles/role.ts'
import { Signer } from './signing.ts'
import { composeStat, countStrangers, openStats, type Stat, type StatParts, sealStat } from './stat.ts'
import { isEmpty } from './tasks/enqueue.ts'
import { type ExecutedTask, emitSafely, isHeard, type SignalName, type Signals } from './tasks/signals.ts'

/** Whether something has come about, and a promise of it. */
export interface Signal {
  readonly isSet: boolean
  wait(): Promise<void>
}

/** The options of the table, and what only code can give. */
export interface ClusterOptions extends Options {
  /**
   * A winston logger of your own in place of the log on stderr. It stays in this process; `logLevel` decides what it gets,
   * and its own level what it shows.
   */
  readonly logger?: OwnLogger
  /** Sees every machine of every process from the first moment, as {@link Cluster.inspect} shows them. It stays in this process. */
  readonly inspect?: InspectionObserver
}

/**
 * A supervised cluster of processes that run tasks.
 *
 * @example
 * await using cluster = new Cluster({ tasks: ['./tasks.ts'], workers: 4 })
 * await cluster.start()
 * @see https://django-q2.readthedocs.io/en/master/cluster.html
 */
export class Cluster {
  /** Unique over all clusters; `name` is the same in four words. */
  readonly clusterId = newClusterId()
  readonly name = humanName(this.clusterId.replaceAll('-', ''))
  readonly pid = process.pid
  readonly host = hostname()
  readonly #options: Options
  readonly #ownLogger: OwnLogger | undefined
  readonly #events = new EventEmitter()
  readonly #recorder = createRecorder({ level: 'debug', send: (record) => this.#hear(record) })
  #settings: Settings | undefined
  #logger: Logger | undefined
  /** Why nothing was forked: thrown to the caller as it is. */
  #refusal: Error | undefined
  readonly #bus = new Bus({
    clusterId: this.clusterId,
    makeBroker: () => createBroker(brokerOptionsOf(this.#settings as Settings)),
    stat: () => sealStat(this.stat, this.#signer as Signer),
    onOrder: (body) => this.#hearOrder(body),
    onStats: (bodies) => this.#noteNeighbours(bodies),
  })
  #signer: Signer | undefined
  #orders: OrderDesk | undefined
  #startedAt = Date.now()
  #sentinelVitals: Vitals | undefined
  #directory: { readonly path: string; remove(): void } | undefined
  /** The machine that decides: subscribe to it, or look at its snapshot. */
  readonly actor: ActorRefFrom<typeof clusterMachine>
  /** @internal What is seen of the cluster's machines, for whoever shows them. */
  readonly hub: Hub
  /** @internal Whoever inspects it over the bus. */
  readonly onlookers: Onlookers

  /** @param options checked by {@link start}, which rejects with a ConfigError that lists all findings */
  constructor(options: ClusterOptions = {}) {
    const { logger, inspect, ...others } = options
    // Settings that are complete are known by their identity.
    this.#options = logger === undefined && inspect === undefined ? options : others
    this.#ownLogger = logger
    offerDefaults(this.#options)
    this.actor = createActor(this.#machine())
    // A failure is told by start() and stop(), from the snapshot.
    this.actor.subscribe({ error: () => inspectionOf(this.actor.system).noteFailure() })
    this.hub = new Hub(sourceOf(this.actor, () => this.#settings?.inspectPayloads ?? false, this.clusterId))
    this.onlookers = new Onlookers(this.hub)
    if (inspect) this.inspect(inspect)
    this.actor.start()
  }

  /** The queue that it serves; the default until {@link start} has read the settings. */
  get queue(): string {
    return this.#settings?.name ?? this.#options.name ?? 'default'
  }

  /** Seconds a run may take, or null. */
  get timeout(): number | null {
    return this.#settings?.timeout ?? null
  }

  get isStarting(): boolean {
    return this.actor.getSnapshot().matches('starting')
  }

  /** True from the moment tasks are taken until everything has ended. */
  get isRunning(): boolean {
    return this.actor.getSnapshot().matches('running') || this.isStopping
  }

  get isStopping(): boolean {
    return this.actor.getSnapshot().matches('stopping')
  }

  get hasStopped(): boolean {
    return this.actor.getSnapshot().status !== 'active'
  }

  /** The sentinel's process. */
  get sentinel(): { readonly pid: number; readonly isAlive: boolean; readonly state: unknown } | null {
    const snapshot = this.actor.getSnapshot()
    const { sentinel } = snapshot.context
    return sentinel && { pid: sentinel.pid, isAlive: !this.hasStopped, state: snapshot.value }
  }

  /** What the cluster does now: the same as `Stat.get` shows of it elsewhere. */
  get stat(): Stat {
    const { report, past } = this.actor.getSnapshot().context
    const living = [...this.#sentinelStat(), ...(report?.processes ?? [])]
    return composeStat({
      ...{ clusterId: this.clusterId, name: this.name, queue: this.queue, host: this.host, pid: this.pid },
      life: this.#life,
      startedAt: this.#startedAt,
      reincarnations: (report ?? past).reincarnations,
      workerCount: report?.workers ?? this.#settings?.workers ?? 0,
      queueLimit: this.#settings?.queueLimit ?? 0,
      counters: (report ?? past).counters,
      processes: this.hasStopped ? [] : living,
    })
  }

  /** Set while tasks are taken. */
  get startEvent(): Signal {
    return this.#signal(() => this.isRunning)
  }

  /** Set from the first order to stop. */
  get stopEvent(): Signal {
    return this.#signal(() => this.isStopping || this.hasStopped)
  }

  /** How the cluster ended, as an exit code of the command line. */
  get exitCode(): number {
    const { error, interrupted, deadlineReached } = this.actor.getSnapshot().context
    if (error) return error.exitCode ?? EXIT.incomplete
    return interrupted > 0 || deadlineReached ? EXIT.incomplete : EXIT.clean
  }

  /**
   * Starts the processes; resolves with this process's id when tasks are taken, or when a stop came first.
   * @throws ConfigError, also where it was started before, or a ProcessExitError with the reason when it cannot start
   */
  async start(): Promise<number> {
    if (!this.actor.getSnapshot().can({ type: 'cluster.start' }))
      throw new ConfigError('This cluster was started before; make a new Cluster for each start().')
    this.actor.send({ type: 'cluster.start' })
    const snapshot = await waitFor(this.actor, (one) => one.status !== 'active' || one.matches('running'))
    if (snapshot.matches('failed')) {
      await this.#close()
      throw this.#failure()
    }
    return this.pid
  }

  /**
   * Lets no task come in; what was taken is finished. Resolves when it is so, at once where it is so already,
   * or when {@link resume} takes it back.
   * @throws NotRunningError where it does not run, or stops meanwhile
   */
  pause(): Promise<void> {
    return this.#switch('pause')
  }

  /**
   * Lets tasks come in again. Resolves when it is so, at once where it is so already, or when {@link pause} takes it back.
   * @throws NotRunningError where it does not run, or stops meanwhile
   */
  resume(): Promise<void> {
    return this.#switch('resume')
  }

  /**
   * Changes the number of workers; resolves when all are ready. Surplus ones are told to leave then, the youngest first,
   * and finish what they have.
   * @throws ConfigError when the number is none, or NotRunningError where it does not run, or stops meanwhile
   */
  async scale(workers: number): Promise<void> {
    if (!Number.isSafeInteger(workers) || workers < 1)
      throw new ConfigError(
        `Expected a whole number of workers of at least 1, got ${workers}; to take no tasks, pause() or stop().`,
      )
    await this.#order({ type: 'cluster.scale', workers }, 'cluster.scaled')
  }

  /**
   * Replaces the workers one by one, each by one that has loaded the task modules anew: it is ready before the old one is
   * told to leave, and that one finishes what it has. Resolves when all are replaced.
   * @throws TaskLoadError when the new code cannot be loaded; the old workers go on then
   * @throws NotRunningError where it does not run, or stops meanwhile
   */
  async reload(): Promise<void> {
    const { error } = await this.#order({ type: 'cluster.reload' }, 'cluster.reloaded')
    if (error) throw new TaskLoadError(error.message, { cause: error })
  }

  /** @internal Somebody has cancelled tasks: the store knows which. */
  heedCancellations(): string {
    if (!this.hasStopped) this.actor.send({ type: 'cancellations.made' })
    return 'heeded'
  }

  /** Stops by the documented procedure. False when there is nothing to stop. */
  async stop(): Promise<boolean> {
    const isFirst = this.isStarting || this.actor.getSnapshot().matches('running')
    if (isFirst) this.actor.send({ type: 'cluster.stop' })
    await this.ended()
    return isFirst
  }

  /** Stops now: tasks get their abort signal at once, and are requeued. */
  abort(): void {
    this.actor.send({ type: 'cluster.abort' })
  }

  /** Kills every process of the cluster. */
  kill(): void {
    this.actor.send({ type: 'cluster.kill' })
  }

  /** Resolves when every process has ended, at once where none was started. */
  async ended(): Promise<void> {
    if (this.actor.getSnapshot().matches('idle')) return
    await waitFor(this.actor, (one) => one.status !== 'active')
    await this.#close()
  }

  /**
   * Listens to what happens: `task.started`, `task.finished`, `task.failed`, … Returns what ends it. An event below the
   * log's level is heard by a listener that came after {@link start} as soon as every process knows of it.
   */
  on<E extends EventName>(event: E, listener: (record: LogRecord<E>) => void): () => void {
    const isNew = this.#events.listenerCount(event) === 0
    this.#events.on(event, listener)
    if (isNew && !this.hasStopped) this.actor.send({ type: 'events.wanted', events: this.#wantedEvents() })
    return () => this.#events.off(event, listener)
  }

  /**
   * Shows every actor of every process to an observer: the present first, then registrations, events and snapshots, as
   * XState's own `inspect` does. The actors are stand-ins with ids that are unique over all processes; contexts, results and
   * the fields of events are left out unless `inspectPayloads` is set. Nobody tells anything unless somebody looks.
   *
   * @example
   * const end = cluster.inspect(createWebSocketInspector().inspect)
   * @returns what ends it
   */
  inspect(observer: InspectionObserver): () => void {
    return this.hub.observe(observer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** What must be there before anything is forked. A stop that comes meanwhile leaves nothing behind. */
  async #prepare(signal: AbortSignal): Promise<ClusterLimits> {
    const settings = await resolveSettings(this.#options)
    const logger = this.#ownLogger ? relayTo(this.#ownLogger) : createLoggerLater(settings)
    if (signal.aborted) return limitsOf(settings)
    sweepRuntimeDirectories()
    this.#directory = makeRuntimeDirectory()
    this.#settings = settings
    this.#startedAt = Date.now()
    this.#signer = new Signer(settings.secretKey)
    this.#orders = new OrderDesk(this, this.#signer)
    this.#logger = logger
    if (settings.handleSignals) this.#handleSignals()
    this.#serveListeners()
    return limitsOf(settings)
  }

  /** Ends when nothing waits or is taken, in a cluster that runs once; else never. */
  async #emptiness(signal: AbortSignal): Promise<void> {
    const { runOnce, poll } = this.#settings as Settings
    if (!runOnce) return new Promise(() => {})
    await using client = Client.of(this.#settings as Settings)
    while (!signal.aborted && !(await client.atBroker(isEmpty).catch(() => false))) await sleep(poll * 1000)
  }

  /** Waits until it has come about, or the opposite was ordered after it. */
  async #switch(order: 'pause' | 'resume'): Promise<void> {
    this.#demandRunning(order)
    this.actor.send({ type: `cluster.${order}` })
    const isOver = (one: SnapshotFrom<typeof clusterMachine>) =>
      !one.matches('running') || !isAwaited(one.context, `sentinel.${order}`)
    const snapshot = await waitFor(this.actor, isOver)
    if (!snapshot.matches('running')) this.#demandRunning(order)
  }

  /** Gives an order and waits for the report that ends it. */
  async #order<T extends ClusterReport['type']>(order: ClusterEvent, ending: T) {
    this.#demandRunning(order.type)
    const { promise, resolve, reject } = Promise.withResolvers<Extract<ClusterReport, { type: T }>>()
    const hearing = this.actor.on(ending, (report) => resolve(report as Extract<ClusterReport, { type: T }>))
    const watching = this.actor.subscribe((one) => {
      if (!one.matches('running')) reject(this.#notRunning(order.type))
    })
    this.actor.send(order)
    try {
      return await promise
    } finally {
      hearing.unsubscribe()
      watching.unsubscribe()
    }
  }

  #demandRunning(order: string): void {
    if (!this.actor.getSnapshot().matches('running')) throw this.#notRunning(order)
  }

  #notRunning(order: string): NotRunningError {
    const { value } = this.actor.getSnapshot()
    const state = typeof value === 'string' ? value : (Object.keys(value)[0] as string)
    return new NotRunningError({ order: order.replace('cluster.', ''), state })
  }

  #machine() {
    return clusterMachine.provide({
      actions: {
        announce: (_, { event, ...fields }) =>
          this.#recorder.record(
            event as EventName,
            { cluster: this.name, queue: this.queue, ...fields } as never,
          ),
        keepFlight: ({ context }, { code, signal }) => {
          const worker = context.sentinel?.name ?? ''
          this.#flights().keep('sentinel', { worker, code, signal, cause: 'crashed', running: [] })
        },
      },
      actors: {
        prepare: fromPromise<ClusterLimits>(async ({ signal }) => {
          try {
            return await this.#prepare(signal)
          } catch (error) {
            this.#refusal = error as Error
            throw error
          }
        }),
        emptiness: fromPromise<void>(({ signal }) => this.#emptiness(signal)),
        bus: this.#bus.machine(),
        orphans: orphans({
          directory: () => this.#directory?.path as string,
          onKill: (killed) =>
            this.#recorder.record('orphans.killed', {
              cluster: this.name,
              processes: killed.map(({ name }) => name).join(', '),
            }),
        }),
        sentinel: fromProcess<{ type: string }, Heritage | null>({
          module: entryFile,
          titleRoom: TITLE_ROOM,
          environment: () => childEnvironment(this.#settings as Settings),
          killAfter: 30_000,
          onVitals: (_, vitals) => {
            this.#sentinelVitals = vitals
          },
          onRecords: (records) => {
            for (const record of records) this.#hear(record as LogRecord)
          },
          childInput: (heritage): RoleInput => ({
            ...(heritage && { heritage }),
            role: 'sentinel',
            settings: this.#settings as Settings,
            directory: this.#directory?.path as string,
            cluster: this.name,
            events: this.#wantedEvents(),
          }),
        }),
      },
    })
  }

  #flights(): Flights {
    return new Flights({
      settings: this.#settings as Settings,
      directory: this.#directory?.path as string,
      cluster: this.name,
      record: (event, fields) => this.#recorder.record(event as EventName, fields as never),
    })
  }

  #wantedEvents(): string[] {
    return this.#events.eventNames().map(String)
  }

  get #life(): StatParts['life'] {
    const snapshot = this.actor.getSnapshot()
    if (snapshot.matches({ running: 'paused' })) return 'paused'
    return LIVES.find((life) => snapshot.matches(life)) ?? 'stopped'
  }

  #sentinelStat(): ProcessStat[] {
    const { sentinel } = this.actor.getSnapshot().context
    if (!sentinel) return []
    const known = { id: 'sentinel', role: 'sentinel', state: 'starting', ...sentinel } as const
    return [processStat(known, this.#sentinelVitals)]
  }

  async #hearOrder(body: string): Promise<string | undefined> {
    const heard = await (this.#orders as OrderDesk).hear(body)
    const cluster = this.name
    if (heard.type === 'obeyed') this.#recorder.record('order.obeyed', { cluster, order: heard.order })
    else this.#recorder.record('order.refused', { cluster, reason: heard.reason })
    return heard.answer
  }

  /** Whoever starts a second cluster by mistake is to know it. */
  #noteNeighbours(bodies: readonly string[]): void {
    const { name: cluster, queue } = this
    const strangers = countStrangers(bodies, queue, this.#signer as Signer)
    if (strangers > 0) this.#recorder.record('cluster.unlike', { cluster, queue, count: strangers })
    const others = openStats(bodies, this.#signer as Signer)
      .filter(
        (stat) => stat.queue === queue && stat.clusterId !== this.clusterId && stat.status !== 'Stopping',
      )
      .map(({ name }) => name)
    if (others.length > 0) this.#recorder.record('cluster.shared', { cluster, queue, others })
  }

  #hear(record: LogRecord): void {
    this.#logger?.write(record)
    this.#events.emit(record.event, record)
  }

  /** Those that have come by now: nobody asks for events that nobody wants. */
  #serveListeners(): void {
    if (isHeard('postExecute')) {
      this.on('task.finished', (record) => this.#emit('postExecute', executed(record)))
      this.on('task.failed', (record) => this.#emit('postExecute', executed(record)))
    }
    if (isHeard('onError'))
      this.on('task.failed', (record) => this.#emit('onError', { ...executed(record), error: record.error }))
  }

  #emit<N extends SignalName>(name: N, ...told: Signals[N]): void {
    const unheard = (signal: string, error: Error) =>
      this.#recorder.record('signal.failed', { signal, error: toErrorRecord(error) })
    void emitSafely(name, unheard, ...told)
  }

  /** The first signal stops, the second aborts, the third kills. */
  #handleSignals(): void {
    const orders = [() => void this.stop(), () => this.abort(), () => this.kill()]
    const obey = () => (orders.shift() ?? (() => this.kill()))()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, obey)
    this.actor.subscribe({
      complete: () => {
        for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, obey)
      },
    })
  }

  #signal(isSet: () => boolean): Signal {
    return {
      isSet: isSet(),
      wait: async () => void (await waitFor(this.actor, () => isSet() || this.hasStopped)),
    }
  }

  #failure(): Error {
    const { error } = this.actor.getSnapshot().context
    return (
      this.#refusal ??
      new ProcessExitError(`The cluster failed to start: ${error?.message ?? 'unknown reason'}`, {
        cause: error,
        exitCode: this.exitCode,
      })
    )
  }

  async #close(): Promise<void> {
    this.hub.flush()
    await this.#bus.closed()
    const [logger, directory] = [this.#logger, this.#directory]
    this.#logger = undefined
    this.#directory = undefined
    await logger?.close()
    directory?.remove()
    // Those of children that were killed.
    sweepRuntimeDirectories()
  }
}

function limitsOf({ grace, maxRestarts, restartWindow }: Settings): ClusterLimits {
  return { maxRestarts, grace: grace * 1000, restartWindow: restartWindow * 1000 }
}

function executed(record: LogRecord<'task.finished' | 'task.failed'>): ExecutedTask {
  const { taskId: id, task: name, func, group, run = 1, attempt = 1 } = record
  return {
    ...{ id, name, func, ...(group !== undefined && { group }), run, attempt },
    ...(record.event === 'task.failed' ? { success: false, error: record.error } : { success: true }),
  }
}

const LIVES = ['starting', 'running', 'stopping'] as const
