import { assign, cancel, emit, fromCallback, fromPromise, raise, sendTo, setup, spawnChild } from 'xstate'
import {
  type OrphanedReport,
  type PusherOrder,
  type PusherReport,
  type ReadyReport,
  toReportedError,
} from './protocol.ts'

export interface PusherContext {
  /** How often the broker was lost or could not be reached since it last lasted. */
  readonly attempts: number
  /** The log says that the broker is lost, and not yet that it is back. */
  readonly away: boolean
  readonly socket: string
  /** True when no sentinel is left to say when to close. */
  readonly orphaned: boolean
}

/** Orders to the dispatcher, which owns the sockets and every delivery that is not settled. */
export type DispatcherOrder =
  /** Report `dispatcher.joined` when the monitor and these workers have said what they hold. */
  | { readonly type: 'dispatcher.join'; readonly workers: readonly string[] }
  | { readonly type: 'worker.gone'; readonly worker: string }
  /** Report `dispatcher.drained` when everything that is held has been pushed. */
  | { readonly type: 'dispatcher.drain' }
  /** Requeue what has not been pushed. */
  | { readonly type: 'dispatcher.abandon' }
  /** Report `dispatcher.deserted` as soon as neither worker nor monitor is connected. */
  | { readonly type: 'dispatcher.awaitDesertion' }
  /** The broker is lost: every receipt is void. */
  | { readonly type: 'dispatcher.void' }

export type DispatcherReport =
  | { readonly type: 'dispatcher.listening'; readonly socket: string }
  | { readonly type: 'dispatcher.joined' }
  | { readonly type: 'dispatcher.drained' }
  | { readonly type: 'dispatcher.deserted' }
  | Extract<PusherReport, { type: 'runs.cancelled' }>

export type DeliveriesReport =
  /** The broker hands out what waits. */
  { readonly type: 'deliveries.opened' } | { readonly type: 'broker.lost'; readonly reason: string }

/** Order to whoever consumes: report `broker.lost` when the broker has something and hands out nothing. */
export type DeliveriesOrder = { readonly type: 'deliveries.check' }

export type PusherEvent = PusherOrder | DispatcherReport | DeliveriesReport | DeliveriesOrder | OrphanedReport

/** Milliseconds between two looks at whether what waits in the broker is still handed out. */
export const WATCH = 5_000

/**
 * Milliseconds that a connection must last before its loss counts as the first one. What can be opened but not used, such
 * as a file on a full disk, would otherwise be opened and lost ten times a second.
 */
export const STEADY = 10_000

/**
 * How long to wait before connection attempt n: at most 0.1 s, 0.2 s, … up to 5 s, and at least half of that. By chance,
 * so that many clusters do not come back to a restarted server all at once.
 */
export function reconnectDelay(attempts: number): number {
  const longest = Math.min(5_000, 100 * 2 ** Math.max(0, attempts - 1))
  return longest * (0.5 + Math.random() / 2)
}

/** What the end of the joining brings. */
const OPENED = [{ type: 'announce' as const, params: { event: 'pusher.ready' } }, 'reportOpened' as const]

/** What it brings that all is pushed. */
const DRAINED = [{ type: 'announce' as const, params: { event: 'pusher.drained' } }, 'reportDrained' as const]

/** The log's words for a broker or a store that is away. */
export const announceLossOf = (service: 'broker' | 'store') => ({
  type: 'announce' as const,
  params: ({ event }: { event: { type: string; reason?: string; error?: unknown } }) => ({
    event: `${service}.lost`,
    reason: event.reason ?? toReportedError(event.error).message,
  }),
})

const announceLoss = announceLossOf('broker')

/** What the loss of the broker brings, wherever it is heard; it is told once until the broker is back. */
const LOST = ['voidReceipts' as const, announceLoss, 'noteAway' as const]
const LOST_AGAIN = 'voidReceipts' as const

/**
 * Takes deliveries from the broker, pushes them to workers, settles them.
 * Provide `dispatcher`, `connectBroker`, `deliveries`, `closeBroker` and the action `announce`.
 */
export const pusherMachine = setup({
  types: {} as {
    context: PusherContext
    events: PusherEvent
    emitted: ReadyReport | PusherReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    dispatcher: fromCallback<DispatcherOrder>(() => {}),
    connectBroker: fromPromise<void>(async () => {}),
    /** Consumes as long as it lives. That the broker is lost is heard also later, as long as receipts are out. */
    deliveries: fromCallback<DeliveriesOrder>(() => {}),
    closeBroker: fromPromise<void>(async () => {}),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string; reason?: string }) => {},
    noteSocket: assign({ socket: ({ event }) => (event as { socket: string }).socket }),
    reportReady: emit(({ context }) => ({ type: 'process.ready', socket: context.socket }) as const),
    reportOpened: emit({ type: 'pusher.opened' } as const),
    reportPaused: emit({ type: 'pusher.paused' } as const),
    reportResumed: emit({ type: 'pusher.resumed' } as const),
    passReport: emit(({ event }) => event as PusherReport),
    reportDrained: emit({ type: 'pusher.drained' } as const),
    join: sendTo('dispatcher', ({ event }) => ({
      type: 'dispatcher.join' as const,
      workers: (event as { workers: readonly string[] }).workers,
    })),
    passGone: sendTo('dispatcher', ({ event }) => event as DispatcherOrder),
    drain: sendTo('dispatcher', { type: 'dispatcher.drain' } satisfies DispatcherOrder),
    abandon: sendTo('dispatcher', { type: 'dispatcher.abandon' } satisfies DispatcherOrder),
    voidReceipts: sendTo('dispatcher', { type: 'dispatcher.void' } satisfies DispatcherOrder),
    awaitDesertion: sendTo('dispatcher', { type: 'dispatcher.awaitDesertion' } satisfies DispatcherOrder),
    check: sendTo('deliveries', { type: 'deliveries.check' } satisfies DeliveriesOrder),
    checkLater: raise({ type: 'deliveries.check' }, { id: 'check', delay: 'WATCH' }),
    checkNoMore: cancel('check'),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    forgetAttempts: assign({ attempts: () => 0 }),
    noteAway: assign({ away: () => true }),
    noteBack: assign({ away: () => false }),
    noteOrphaned: assign({ orphaned: () => true }),
  },
  guards: {
    isAway: ({ context }) => context.away,
    isOrphaned: ({ context }) => context.orphaned,
  },
  delays: {
    RECONNECT: ({ context }) => reconnectDelay(context.attempts),
    STEADY,
    WATCH,
  },
}).createMachine({
  id: 'pusher',
  description: 'Takes deliveries from the broker and pushes them to workers',
  options: { maxIterations: 1000 },
  context: () => ({ attempts: 0, away: false, socket: '', orphaned: false }),
  initial: 'starting',
  on: { 'worker.gone': { actions: 'passGone' }, 'runs.cancelled': { actions: 'passReport' } },
  states: {
    starting: {
      description: 'Its socket opens; nothing is consumed before every sink is there',
      tags: 'starting',
      initial: 'listening',
      on: {
        'pusher.stop': 'stopping',
        'pusher.abort': { target: 'stopping', actions: 'abandon' },
        'pusher.close': 'stopped',
        'process.orphaned': { target: 'stopping', actions: 'noteOrphaned' },
      },
      states: {
        listening: {
          description: 'Opening the data socket',
          entry: spawnChild('dispatcher', { id: 'dispatcher' }),
          on: { 'dispatcher.listening': { target: 'waiting', actions: ['noteSocket', 'reportReady'] } },
        },
        waiting: {
          description: 'Ready, not yet told to take deliveries',
          on: { 'pusher.open': { target: 'joining', actions: 'join' } },
        },
        joining: {
          description: 'Hearing from monitor and workers what they hold of a former pusher',
          on: {
            'dispatcher.joined': { target: '#pusher.running', actions: OPENED },
            'pusher.pause': 'joiningPaused',
          },
        },
        joiningPaused: {
          description: 'The same, and told not to take deliveries yet',
          on: {
            'dispatcher.joined': { target: '#pusher.running.paused', actions: OPENED },
            'pusher.resume': 'joining',
          },
        },
      },
    },
    running: {
      description: 'Taking deliveries, whenever the broker is there',
      tags: 'running',
      initial: 'connecting',
      on: {
        // Also while nothing is consumed: the receipts of what is held are void.
        'broker.lost': [{ guard: 'isAway', actions: LOST_AGAIN }, { actions: LOST }],
        'pusher.stop': 'stopping',
        'pusher.abort': { target: 'stopping', actions: 'abandon' },
        'process.orphaned': { target: 'stopping', actions: 'noteOrphaned' },
      },
      states: {
        connecting: {
          description: 'Opening the broker',
          invoke: {
            src: 'connectBroker',
            onDone: 'connected',
            onError: [
              { guard: 'isAway', target: 'reconnecting' },
              { target: 'reconnecting', actions: [announceLoss, 'noteAway'] },
            ],
          },
          on: { 'pusher.pause': 'paused' },
        },
        connected: {
          description: 'Consuming',
          invoke: { id: 'deliveries', src: 'deliveries', onError: 'reconnecting' },
          after: { STEADY: { actions: 'forgetAttempts' } },
          entry: 'checkLater',
          exit: 'checkNoMore',
          on: {
            'deliveries.check': { actions: ['check', 'checkLater'] },
            // Not before: who may connect need not be allowed to consume.
            'deliveries.opened': {
              guard: 'isAway',
              actions: [{ type: 'announce', params: { event: 'broker.connected' } }, 'noteBack'],
            },
            'broker.lost': [
              { guard: 'isAway', target: 'reconnecting', actions: LOST_AGAIN },
              { target: 'reconnecting', actions: LOST },
            ],
            'pusher.pause': 'paused',
          },
        },
        reconnecting: {
          description: 'The broker is away; running tasks finish and are saved meanwhile',
          entry: 'countAttempt',
          after: { RECONNECT: 'connecting' },
          on: { 'pusher.pause': 'paused' },
        },
        paused: {
          description: 'Told to take nothing; what it holds is still pushed and settled',
          entry: 'reportPaused',
          on: {
            'pusher.resume': { target: 'connecting', actions: 'reportResumed' },
          },
        },
      },
    },
    stopping: {
      description: 'Not consuming any more',
      tags: 'stopping',
      initial: 'draining',
      on: {
        'pusher.abort': { actions: 'abandon' },
        'broker.lost': { actions: 'voidReceipts' },
        'process.orphaned': { actions: 'noteOrphaned' },
      },
      states: {
        draining: {
          description: 'Pushing what it holds',
          entry: 'drain',
          on: {
            'dispatcher.drained': [
              { guard: 'isOrphaned', target: 'outliving', actions: DRAINED },
              { target: 'settling', actions: DRAINED },
            ],
            'pusher.close': 'closing',
          },
        },
        settling: {
          description: 'The connection stays open: acknowledgements travel back on it',
          on: { 'pusher.close': 'closing', 'process.orphaned': 'outliving' },
        },
        outliving: {
          description:
            'The same, and nobody is left to say when to close: it leaves after workers and monitor',
          entry: 'awaitDesertion',
          on: { 'dispatcher.deserted': 'closing' },
        },
        closing: {
          description: 'Closing the connection; what is not settled goes back to the queue',
          invoke: { src: 'closeBroker', onDone: '#pusher.stopped', onError: '#pusher.stopped' },
        },
      },
    },
    stopped: {
      description: 'Leaves',
      type: 'final',
    },
  },
})
