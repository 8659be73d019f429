import { assign, emit, fromCallback, fromPromise, sendTo, setup, spawnChild } from 'xstate'
import { type BusOrder, busMachine } from './bus.ts'
import {
  type EventsWanted,
  type ProcessReport,
  type ReportedError,
  type SentinelOrder,
  type SentinelReport,
  toReportedError,
} from './protocol.ts'

export interface ClusterContext {
  readonly sentinel: { readonly pid: number; readonly name: string } | null
  /** What the sentinel said last of everything that it guards. */
  readonly report: Extract<SentinelReport, { type: 'sentinel.reported' }> | null
  /** What the sentinel said last of how the stop went. */
  readonly interrupted: number
  readonly deadlineReached: boolean
  readonly error: ReportedError | null
}

export type ClusterEvent =
  | { readonly type: 'cluster.start' }
  /** Let no task come in until `cluster.resume`. */
  | { readonly type: 'cluster.pause' }
  | { readonly type: 'cluster.resume' }
  | { readonly type: 'cluster.scale'; readonly workers: number }
  /** Replace the workers one by one, each by one that loads the task modules anew. */
  | { readonly type: 'cluster.reload' }
  | { readonly type: 'cluster.stop' }
  /** Stop without waiting for the grace. */
  | { readonly type: 'cluster.abort' }
  /** Kill what is left. */
  | { readonly type: 'cluster.kill' }
  | EventsWanted
  | ProcessReport
  | SentinelReport

/** How an order that takes its time ended. */
export type ClusterReport =
  | { readonly type: 'cluster.scaled'; readonly workers: number }
  | { readonly type: 'cluster.reloaded'; readonly workers: number; readonly error?: ReportedError }

type Exited = Extract<ProcessReport, { type: 'process.exited' }>

/** What ends the starting and the running of a cluster. */
const ENDS = {
  'cluster.stop': '#cluster.stopping',
  'cluster.abort': { target: '#cluster.stopping', actions: 'orderAbort' },
  'cluster.kill': { target: '#cluster.stopping', actions: 'orderKill' },
  'process.exited': { target: '#cluster.failed', actions: 'noteExit' },
  'events.wanted': { actions: 'passOrder' },
} as const

/** What a sentinel reports once a guard cycle. */
const REPORTS = { 'sentinel.reported': { actions: ['noteReport', 'publishStat'] } } as const

/** Owns the sentinel's process. Provide `prepare`, `sentinel` (what is forked), `bus` (a busMachine with its line) and the action `announce`. */
export const clusterMachine = setup({
  types: {} as {
    context: ClusterContext
    events: ClusterEvent
    emitted: ClusterReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    prepare: fromPromise<void>(async () => {}),
    /** Ends when there is nothing left to do, for a cluster that is to stop then. */
    emptiness: fromPromise<void>(() => new Promise(() => {})),
    sentinel: fromCallback<{ type: string }>(() => {
      throw new Error('provide the actor of clusterMachine: sentinel')
    }),
    bus: busMachine,
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string; error?: ReportedError; workers?: number }) => {},
    noteSentinel: assign({
      sentinel: ({ event }) => {
        const { pid, name } = event as Extract<ProcessReport, { type: 'process.spawned' }>
        return { pid, name }
      },
    }),
    noteReport: assign({ report: ({ event }) => event as ClusterContext['report'] }),
    noteScaled: assign({
      report: ({ context, event }) =>
        context.report && { ...context.report, workers: (event as { workers: number }).workers },
    }),
    publishStat: sendTo('bus', { type: 'stat.publish' } satisfies BusOrder),
    noteStopped: assign(({ event }) => {
      const { interrupted, deadline } = event as Extract<SentinelReport, { type: 'sentinel.stopped' }>
      return { interrupted, deadlineReached: deadline }
    }),
    noteFailed: assign({ error: ({ event }) => (event as { error: ReportedError }).error }),
    noteRefusal: assign({
      error: ({ event }) => toReportedError((event as unknown as { error: unknown }).error),
    }),
    noteExit: assign({ error: ({ context, event }) => context.error ?? lostSentinel(event as Exited) }),
    orderPause: sendTo('sentinel', { type: 'sentinel.pause' } satisfies SentinelOrder),
    orderResume: sendTo('sentinel', { type: 'sentinel.resume' } satisfies SentinelOrder),
    orderScale: sendTo('sentinel', ({ event }) => {
      const { workers } = event as Extract<ClusterEvent, { type: 'cluster.scale' }>
      return { type: 'sentinel.scale', workers } satisfies SentinelOrder
    }),
    orderReload: sendTo('sentinel', { type: 'sentinel.reload' } satisfies SentinelOrder),
    reportScaled: emit(({ event }) => {
      const { workers } = event as Extract<SentinelReport, { type: 'sentinel.scaled' }>
      return { type: 'cluster.scaled', workers } as const
    }),
    reportReloaded: emit(({ event }) => {
      const { workers, error } = event as Extract<SentinelReport, { type: 'sentinel.reloaded' }>
      return { type: 'cluster.reloaded', workers, ...(error && { error }) } as const
    }),
    passOrder: sendTo('sentinel', ({ event }) => event),
    orderStop: sendTo('sentinel', { type: 'sentinel.stop' } satisfies SentinelOrder),
    orderAbort: sendTo('sentinel', { type: 'sentinel.abort' } satisfies SentinelOrder),
    orderKill: sendTo('sentinel', { type: 'sentinel.kill' } satisfies SentinelOrder),
  },
  guards: {
    leftInOrder: ({ context, event }) => context.error === null && (event as Exited).code === 0,
  },
}).createMachine({
  id: 'cluster',
  description: 'The cluster as its owner sees it',
  options: { maxIterations: 1000 },
  context: () => ({ sentinel: null, report: null, interrupted: 0, deadlineReached: false, error: null }),
  initial: 'idle',
  on: {
    'process.spawned': { actions: 'noteSentinel' },
    'sentinel.failed': { actions: 'noteFailed' },
    'sentinel.stopped': { actions: 'noteStopped' },
  },
  states: {
    idle: {
      description: 'Made, not started',
      on: { 'cluster.start': 'starting' },
    },
    starting: {
      description: 'Settings are read, then the sentinel is forked and starts its processes',
      tags: 'starting',
      initial: 'preparing',
      states: {
        preparing: {
          description: 'Reading the settings and opening the log; nothing is forked yet',
          invoke: {
            src: 'prepare',
            onDone: 'forking',
            onError: { target: '#cluster.failed', actions: 'noteRefusal' },
          },
          on: {
            'cluster.stop': '#cluster.stopped',
            'cluster.abort': '#cluster.stopped',
            'cluster.kill': '#cluster.stopped',
          },
        },
        forking: {
          description: 'The sentinel starts its processes',
          entry: [
            spawnChild('bus', { id: 'bus' }),
            spawnChild('sentinel', { id: 'sentinel' }),
            { type: 'announce', params: { event: 'cluster.starting' } },
          ],
          on: { ...ENDS, ...REPORTS, 'sentinel.running': '#cluster.running' },
        },
      },
    },
    running: {
      description: 'Tasks are taken and run',
      tags: 'running',
      entry: [{ type: 'announce', params: { event: 'cluster.running' } }, 'publishStat'],
      invoke: { src: 'emptiness', onDone: 'stopping' },
      on: {
        ...ENDS,
        ...REPORTS,
        'cluster.scale': { actions: 'orderScale' },
        'cluster.reload': { actions: 'orderReload' },
        'sentinel.scaled': {
          actions: [
            'noteScaled',
            'publishStat',
            'reportScaled',
            {
              type: 'announce',
              params: ({ event: { workers } }) => ({ event: 'cluster.scaled', workers }),
            },
          ],
        },
        'sentinel.reloaded': { actions: 'reportReloaded' },
      },
      initial: 'taking',
      states: {
        taking: {
          description: 'Tasks come in',
          on: { 'cluster.pause': { actions: 'orderPause' }, 'sentinel.paused': 'paused' },
        },
        paused: {
          description: 'No task comes in; what was taken is finished',
          entry: [{ type: 'announce', params: { event: 'cluster.paused' } }, 'publishStat'],
          on: {
            'cluster.resume': { actions: 'orderResume' },
            'sentinel.resumed': {
              target: 'taking',
              actions: [{ type: 'announce', params: { event: 'cluster.resumed' } }, 'publishStat'],
            },
          },
        },
      },
    },
    stopping: {
      description: 'The sentinel carries out the stop procedure',
      tags: 'stopping',
      entry: [{ type: 'announce', params: { event: 'cluster.stopping' } }, 'orderStop', 'publishStat'],
      on: {
        ...REPORTS,
        'cluster.abort': { actions: 'orderAbort' },
        'cluster.kill': { actions: 'orderKill' },
        'events.wanted': { actions: 'passOrder' },
        'process.exited': [
          { guard: 'leftInOrder', target: 'stopped' },
          { target: 'failed', actions: 'noteExit' },
        ],
      },
    },
    stopped: {
      description: 'Every process has ended',
      type: 'final',
      entry: { type: 'announce', params: { event: 'cluster.stopped' } },
    },
    failed: {
      description: 'It could not start, or the sentinel gave up or died',
      type: 'final',
      entry: {
        type: 'announce',
        params: ({ context }) => ({
          event: 'cluster.failed',
          ...(context.error && { error: context.error }),
        }),
      },
    },
  },
})

function lostSentinel({ code, signal, error }: Exited): ReportedError {
  if (error) return error
  const how = signal ? `was killed by ${signal}` : `exited with exit code ${code}`
  return {
    name: 'ProcessExitError',
    code: 'QCLUSTER_PROCESS_EXIT',
    message: `The sentinel ${how} while the cluster needed it; its processes end by themselves. Start the cluster again.`,
  }
}
