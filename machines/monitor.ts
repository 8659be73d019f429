import { assign, cancel, emit, fromCallback, fromPromise, raise, sendTo, setup, spawnChild } from 'xstate'
import type {
  CancellationsMade,
  MonitorOrder,
  MonitorReport,
  OrphanedReport,
  PeerListening,
  ReadyReport,
  Testament,
} from './protocol.ts'
import { announceLossOf, reconnectDelay, STEADY } from './pusher.ts'

export interface MonitorContext {
  /** How often the store was lost or could not be opened since it last lasted. */
  readonly attempts: number
  /** True when it was told not to wait for the store any more. */
  readonly aborted: boolean
  readonly socket: string
}

/** Orders to the outcomes, the actor that owns the sockets, the batches and every fate that is not settled. */
export type OutcomesOrder =
  | PeerListening
  | CancellationsMade
  | ({ readonly type: 'worker.buried' } & Testament)
  /** The store is there: save. */
  | { readonly type: 'outcomes.save' }
  /** Answer `outcomes.finished` when all is saved and settled. */
  | { readonly type: 'outcomes.finish' }
  /** Requeue what is not being saved now, and while the store is away whatever comes. */
  | { readonly type: 'outcomes.abandon' }
  /** Report `outcomes.deserted` as soon as no worker is connected. */
  | { readonly type: 'outcomes.awaitDesertion' }
  /** Kill the workers that are still connected. */
  | { readonly type: 'outcomes.desert' }

export type OutcomesReport =
  | { readonly type: 'outcomes.listening'; readonly socket: string }
  | { readonly type: 'store.lost'; readonly reason: string }
  | { readonly type: 'outcomes.finished' }
  | { readonly type: 'outcomes.deserted' }
  | MonitorReport

export type MonitorEvent =
  | MonitorOrder
  | OutcomesReport
  | OrphanedReport
  | { readonly type: 'grace.over' | 'cancellations.due' }

/** Milliseconds between two looks at what is cancelled: an order that says so may get lost. */
export const HEED = 10_000

const monitorSetup = setup({
  types: {} as {
    context: MonitorContext
    events: MonitorEvent
    emitted: ReadyReport | MonitorReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    outcomes: fromCallback<OutcomesOrder>(() => {}),
    connectStore: fromPromise<void>(async () => {}),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string; reason?: string }) => {},
    noteSocket: assign({ socket: ({ event }) => (event as { socket: string }).socket }),
    reportReady: emit(({ context }) => ({ type: 'process.ready', socket: context.socket }) as const),
    passReport: emit(({ event }) => event as MonitorReport),
    passOrder: sendTo('outcomes', ({ event }) => event as OutcomesOrder),
    save: sendTo('outcomes', { type: 'outcomes.save' } satisfies OutcomesOrder),
    finish: sendTo('outcomes', { type: 'outcomes.finish' } satisfies OutcomesOrder),
    heed: sendTo('outcomes', { type: 'cancellations.made' } satisfies OutcomesOrder),
    heedLater: raise({ type: 'cancellations.due' }, { id: 'heed', delay: 'HEED' }),
    heedNoMore: cancel('heed'),
    abandon: sendTo('outcomes', { type: 'outcomes.abandon' } satisfies OutcomesOrder),
    awaitDesertion: sendTo('outcomes', { type: 'outcomes.awaitDesertion' } satisfies OutcomesOrder),
    desert: sendTo('outcomes', { type: 'outcomes.desert' } satisfies OutcomesOrder),
    /** Whatever the workers do: one that is blocked in a loop has not noticed that it is an orphan. */
    awaitGrace: raise({ type: 'grace.over' }, { delay: 'GRACE' }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    forgetAttempts: assign({ attempts: () => 0 }),
    noteAborted: assign({ aborted: () => true }),
  },
  guards: {
    wasAway: ({ context }) => context.attempts > 0,
    isAborted: ({ context }) => context.aborted,
  },
  delays: {
    RECONNECT: ({ context }) => reconnectDelay(context.attempts),
    STEADY,
    HEED,
    /** What workers get to finish what they have when nobody is left to guard them. Milliseconds. */
    GRACE: 25_000,
  },
})

const announceLoss = announceLossOf('store')

/** What ends the running; a stop finds the store as it is. */
const stopsWhile = (state: 'connecting' | 'connected' | 'reconnecting') => ({
  'monitor.stop': `#monitor.stopping.${state}` as const,
  'outcomes.deserted': `#monitor.stopping.${state}` as const,
})

/** The store's part, the same while running and while stopping. */
const storeStates = {
  connecting: monitorSetup.createStateConfig({
    description: 'Opening the store',
    invoke: {
      src: 'connectStore',
      onDone: [
        {
          guard: 'wasAway',
          target: 'connected',
          actions: { type: 'announce', params: { event: 'store.connected' } },
        },
        { target: 'connected' },
      ],
      onError: [
        { guard: 'wasAway', target: 'reconnecting' },
        { target: 'reconnecting', actions: announceLoss },
      ],
    },
  }),
  connected: monitorSetup.createStateConfig({
    description: 'Saving',
    entry: ['save', 'heedLater'],
    exit: 'heedNoMore',
    after: { STEADY: { actions: 'forgetAttempts' } },
    on: {
      'cancellations.due': { actions: ['heed', 'heedLater'] },
      'store.lost': [
        { guard: 'isAborted', target: 'reconnecting', actions: [announceLoss, 'abandon'] },
        { target: 'reconnecting', actions: announceLoss },
      ],
    },
  }),
  reconnecting: monitorSetup.createStateConfig({
    description: 'The store is away; outcomes wait, nothing is settled',
    entry: 'countAttempt',
    after: { RECONNECT: 'connecting' },
  }),
}

/**
 * Saves outcomes in batches and decides each delivery's fate.
 * Provide `outcomes`, `connectStore`, the action `announce` and the delay `GRACE`.
 */
export const monitorMachine = monitorSetup.createMachine({
  id: 'monitor',
  description: 'Saves outcomes and decides the fate of each delivery',
  options: { maxIterations: 1000 },
  context: () => ({ attempts: 0, aborted: false, socket: '' }),
  initial: 'starting',
  on: {
    'worker.drained': { actions: 'passReport' },
    'tasks.interrupted': { actions: 'passReport' },
  },
  states: {
    starting: {
      description: 'Opening the data socket; the store may be away',
      tags: 'starting',
      entry: spawnChild('outcomes', { id: 'outcomes' }),
      on: {
        'outcomes.listening': { target: 'running', actions: 'noteSocket' },
        'monitor.stop': 'stopped',
        'monitor.abort': 'stopped',
        'process.orphaned': 'stopped',
      },
    },
    running: {
      description: 'Saving outcomes as they come',
      tags: 'running',
      entry: [{ type: 'announce', params: { event: 'monitor.ready' } }, 'reportReady'],
      on: {
        'peer.listening': { actions: 'passOrder' },
        'worker.buried': { actions: 'passOrder' },
        'cancellations.made': { actions: 'passOrder' },
        'monitor.abort': { actions: ['noteAborted', 'abandon'] },
        // Without a sentinel it outlives the workers, then stops by itself.
        'process.orphaned': { actions: ['awaitDesertion', 'awaitGrace'] },
        'grace.over': { actions: 'desert' },
      },
      initial: 'connecting',
      states: {
        connecting: { ...storeStates.connecting, on: stopsWhile('connecting') },
        connected: {
          ...storeStates.connected,
          on: { ...storeStates.connected.on, ...stopsWhile('connected') },
        },
        reconnecting: { ...storeStates.reconnecting, on: stopsWhile('reconnecting') },
      },
    },
    stopping: {
      description: 'Saving what is left and seeing it settled',
      tags: 'stopping',
      entry: 'finish',
      on: {
        'peer.listening': { actions: 'passOrder' },
        'worker.buried': { actions: 'passOrder' },
        'cancellations.made': { actions: 'passOrder' },
        'monitor.abort': { actions: ['noteAborted', 'abandon'] },
        'process.orphaned': { actions: 'awaitGrace' },
        'grace.over': { actions: 'desert' },
        'outcomes.finished': 'stopped',
      },
      initial: 'connected',
      states: storeStates,
    },
    stopped: {
      description: 'Leaves',
      type: 'final',
      entry: { type: 'announce', params: { event: 'monitor.stopped' } },
    },
  },
})
