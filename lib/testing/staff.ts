import { type AnyActorLogic, type AnyActorRef, createActor, matchesState } from 'xstate'
import type { Cause, Measures, PusherReport, ReadyReport, Role } from '../../machines/protocol.ts'
import type { Broker } from '../brokers/broker.ts'
import type { Client } from '../client.ts'
import type { Settings } from '../config.ts'
import type { FrameMessage } from '../process/socket.ts'
import { monitor } from '../roles/monitor.ts'
import { pusher } from '../roles/pusher.ts'
import type { RoleContext } from '../roles/role.ts'
import { scheduler } from '../roles/scheduler.ts'
import { worker } from '../roles/worker.ts'
import type { Store } from '../stores/store.ts'
import type { LoadedTask } from '../tasks/load.ts'
import { TestBoard } from './board.ts'
import type { TestClock } from './clock.ts'
import { Exchange } from './lines.ts'

/** What the machines of a cluster work with. */
export interface StaffParts {
  readonly settings: Settings
  readonly tasks: ReadonlyMap<string, LoadedTask>
  readonly clock: TestClock
  readonly makeBroker: () => Promise<Broker>
  readonly makeStore: () => Promise<Store>
  readonly makeClient: () => Client
  readonly record: (event: string, fields: Record<string, unknown>) => void
  /** Sees what the machines say to one another, as it arrives. */
  readonly onMessage: (message: FrameMessage) => void
}

/** A worker that may have to be ended. */
interface Hired {
  readonly name: string
  readonly board: TestBoard
  readonly cutOff: () => void
}

/**
 * The machines of a cluster in one process, and what a sentinel does for them: it introduces them to one another, and ends
 * a worker whose task does not end.
 */
export class Staff {
  /** What a machine has failed with. */
  failure: { readonly error: unknown } | undefined
  readonly #parts: StaffParts
  readonly #exchange: Exchange
  readonly #actors = new Map<Role, AnyActorRef>()
  readonly #sockets = new Map<Role, string>()
  readonly #measures = new Map<Role, () => Measures>()
  #worker: Hired | undefined
  #workers = 0

  constructor(parts: StaffParts) {
    this.#parts = parts
    this.#exchange = new Exchange(parts.onMessage)
  }

  /** A source opens last: all that it feeds is there by then. */
  async start(): Promise<void> {
    const { makeStore, makeBroker, makeClient } = this.#parts
    const peers = this.#exchange.member()
    await this.#fork('monitor', (role) => monitor(role, { peers, makeStore }))
    await this.#fork('scheduler', (role) => scheduler(role, { makeClient }))
    await this.#fork('pusher', (role) => pusher(role, { peers, makeBroker }))
    this.#introduce('pusher', 'monitor')
    await this.#hire()
    this.#actor('pusher').send({ type: 'pusher.open', workers: [this.#worker?.name] })
  }

  stop(): void {
    for (const actor of this.#actors.values()) actor.stop()
    this.#worker?.board.close()
  }

  /** Has everybody look for what somebody may have changed. */
  stir(): void {
    this.#actor('monitor').send({ type: 'cancellations.made' })
    this.#actor('scheduler').send({ type: 'timetable.changed' })
  }

  /** Ends the worker and everything that it has, and hires another one. */
  async bury(cause: Cause): Promise<void> {
    const { name, board, cutOff } = this.#worker as Hired
    const { running } = board
    board.close()
    this.#actor('worker').stop()
    cutOff()
    const testament = { worker: name, cause, code: null, signal: 'SIGKILL', running }
    this.#actor('monitor').send({ type: 'worker.buried', ...testament })
    this.#actor('pusher').send({ type: 'worker.gone', worker: name })
    await this.#hire()
  }

  /** Whether nobody has anything to do. */
  get isIdle(): boolean {
    const { held = 0, running = 0, waiting = 0, kept = 0, unsaved = 0, unsettled = 0 } = this.#gauges
    const work = held + running + waiting + kept + unsaved + unsettled
    return work + this.#exchange.underWay === 0 && this.#areAtRest
  }

  /** Whether all wait for the code of a task; what is the same for as long as that is so. */
  get standstill(): string | undefined {
    if (!this.#gauges.running || this.#exchange.underWay > 0 || !this.#areAtRest) return undefined
    return JSON.stringify(this.#gauges)
  }

  get #areAtRest(): boolean {
    const rest = {
      scheduler: { running: 'waiting' },
      pusher: { running: 'connected' },
      monitor: { running: 'connected' },
    }
    return Object.entries(rest).every(([role, state]) =>
      matchesState(state, this.#actor(role as Role).getSnapshot().value),
    )
  }

  get #gauges(): Readonly<Record<string, number>> {
    return Object.assign({}, ...[...this.#measures.values()].map((measures) => measures().gauges))
  }

  async #hire(): Promise<void> {
    const { clock, settings, tasks } = this.#parts
    const { cutOff, ...peers } = this.#exchange.member()
    const board = new TestBoard({
      ...{ clock, timeoutGrace: settings.timeoutGrace },
      onOverrun: () => void this.bury('timedOut'),
    })
    this.#workers += 1
    const name = `worker-${this.#workers}`
    this.#worker = { name, board, cutOff }
    const parts = { peers, clock, load: async () => tasks, openBoard: () => board }
    await this.#fork('worker', (role) => worker(role, parts), name)
    this.#introduce('monitor', 'worker')
    this.#introduce('pusher', 'worker')
  }

  #introduce(role: Role, to: Role): void {
    this.#actor(to).send({ type: 'peer.listening', role, socket: this.#sockets.get(role) })
  }

  /** Starts a machine; resolves when it is ready. */
  #fork(role: Role, logicOf: (context: RoleContext) => AnyActorLogic, name: string = role): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const { background: clock } = this.#parts.clock
    const actor = createActor(logicOf(this.#contextOf(role, name)), { id: name, clock })
    this.#actors.set(role, actor)
    actor.on('process.ready', ({ socket }: ReadyReport) => {
      if (socket !== undefined) this.#sockets.set(role, socket)
      resolve()
    })
    actor.on('runs.cancelled', ({ taskIds }: Extract<PusherReport, { type: 'runs.cancelled' }>) =>
      this.#worker?.board.doom(taskIds),
    )
    actor.subscribe({
      error: (error) => {
        this.failure ??= { error }
        reject(error)
      },
    })
    actor.start()
    return promise
  }

  #actor(role: Role): AnyActorRef {
    return this.#actors.get(role) as AnyActorRef
  }

  #contextOf(role: Role, name: string): RoleContext {
    const { settings, record } = this.#parts
    return {
      ...{ role, name, settings, directory: '', events: [], cluster: 'test' },
      title: { show: () => {}, rest: () => {} },
      record: (event, fields = {}) => record(event, fields),
      flush: () => {},
      measure: (measures) => {
        this.#measures.set(role, measures)
        return () => {}
      },
    }
  }
}
