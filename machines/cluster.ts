import {
  and,
  assign,
  emit,
  enqueueActions,
  fromCallback,
  fromPromise,
  sendTo,
  setup,
  spawnChild,
} from 'xstate'
import { type BusOrder, busMachine } from './bus.ts'
import { backOff } from './child.ts'
import { type OrphansReport, orphansMachine } from './orphans.ts'
import {
  type CancellationsMade,
  type EventsWanted,
  type ForkedProcess,
  type ProcessReport,
  type ReportedError,
  type SentinelOrder,
  type SentinelReport,
  toReportedError,
} from './protocol.ts'
import { restartsSpent, sumOf } from './slots.ts'

/** The settings that the cluster's machine decides by, in milliseconds. */
export interface ClusterLimits {
  /** What the children of a sentinel that died get to finish what they have. */
  readonly grace: number
  /** Deaths of the sentinel within `restartWindow` that are borne. */
  readonly maxRestarts: number
  readonly restartWindow: number
}

/** What a new sentinel takes over from one that died. */
export interface Heritage {
  /** How many workers there should be, where somebody has changed it. */
  readonly workers: number | null
  readonly paused: boolean
}

export interface ClusterContext extends ClusterLimits, Heritage {
  readonly sentinel: { readonly pid: number; readonly name: string } | null
  /** What the sentinel said last of everything that it guards. */
  readonly report: Reported | null
  /** What former sentinels had counted. */
  readonly past: Past
  /** Orders to the sentinel that it has not answered: should it die, the next one gets them. */
  readonly unanswered: readonly SentinelOrder[]
  /** The living processes that the sentinel has forked. */
  readonly children: readonly ForkedProcess[]
  /** What sentinels that died have left behind, by the actors that look after it. */
  readonly orphans: readonly string[]
  /** Sentinels that died, and those of them that died within the restart window. */
  readonly deaths: number
  readonly recentDeaths: number
  /** What the sentinel said last of how the stop went. */
  readonly interrupted: number
  readonly deadlineReached: boolean
  readonly error: ReportedError | null
}

type Reported = Extract<SentinelReport, { type: 'sentinel.reported' }>
type Stopped = Extract<SentinelReport, { type: 'sentinel.stopped' }>
type Past = Pick<Reported, 'reincarnations' | 'counters'>

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
  | CancellationsMade
  | ProcessReport
  | SentinelReport
  | OrphansReport
  | { readonly type: 'death.forgotten' }
  | { readonly type: 'xstate.done.actor.emptiness' }

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
} as const

/** What the end of the sentinel brings where no other one is to follow. */
const LOST = { target: '#cluster.stopping.outliving', actions: ['noteExit', 'watchOrphans'] } as const

/** The same where sentinels died too often. */
const GIVING_UP = ['noteRestartsSpent', 'watchOrphans'] as const

/** The log's words for a sentinel whose successor is on its way. */
const announceDeath = {
  type: 'announce' as const,
  params: ({ context, event }: { context: ClusterContext; event: { type: string } }) => {
    const { code, signal, error = context.error } = event as Exited
    const process = context.sentinel?.name ?? ''
    return { event: 'sentinel.reincarnated', process, code, signal, ...(error && { error }) }
  },
}

/** Of a start that fails the error is told, and says more. */
const keepFlight = {
  type: 'keepFlight' as const,
  params: ({ event }: { event: { readonly type: string } }) => event as Exited,
}

/** What the end of a sentinel at work brings. */
const LOSS = {
  'process.exited': [
    { guard: 'gaveUp', ...LOST, actions: [keepFlight, ...LOST.actions] },
    { guard: 'budgetSpent', target: '#cluster.stopping.outliving', actions: [keepFlight, ...GIVING_UP] },
    {
      target: 'reviving',
      actions: [keepFlight, announceDeath, 'mournSentinel', 'watchOrphans', 'publishStat'],
    },
  ],
} as const

/** What a sentinel reports once a guard cycle. */
const REPORTS = { 'sentinel.reported': { actions: ['noteReport', 'publishStat'] } } as const

/** Owns the sentinel's process, and gives it a successor when it dies. Provide `prepare`, `sentinel` (what is forked), `bus` (a busMachine with its line), `orphans` (an orphansMachine) and the action `announce`. */
export const clusterMachine = setup({
  types: {} as {
    context: ClusterContext
    events: ClusterEvent
    emitted: ClusterReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    prepare: fromPromise<ClusterLimits>(async () => ({ grace: 0, maxRestarts: 0, restartWindow: 0 })),
    /** Ends when there is nothing left to do, for a cluster that is to stop then. */
    emptiness: fromPromise<void>(() => new Promise(() => {})),
    /** Is given what it takes over from one that died; null the first time. */
    sentinel: fromCallback<{ type: string }, Heritage | null>(() => {
      throw new Error('provide the actor of clusterMachine: sentinel')
    }),
    bus: busMachine,
    orphans: orphansMachine,
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string } & Record<string, unknown>) => {},
    noteSentinel: assign({
      sentinel: ({ event }) => {
        const { pid, name } = event as Extract<ProcessReport, { type: 'process.spawned' }>
        return { pid, name }
      },
    }),
    noteLimits: assign(({ event }) => (event as unknown as { output: ClusterLimits }).output),
    /** What former sentinels had counted belongs to the cluster as well. */
    noteReport: assign({ report: ({ context, event }) => addTo(context.past, event as Reported) }),
    noteScaled: assign(({ context, event }) => {
      const { workers } = event as Extract<SentinelReport, { type: 'sentinel.scaled' }>
      return { workers, report: context.report && { ...context.report, workers } }
    }),
    publishStat: sendTo('bus', { type: 'stat.publish' } satisfies BusOrder),
    /** Its last regular report may be older than the last death. */
    noteStopped: assign(({ context, event }) => {
      const { interrupted, deadline, reincarnations } = event as Stopped
      const { past, report } = context
      return {
        interrupted,
        deadlineReached: deadline,
        past: { ...past, reincarnations: past.reincarnations + reincarnations },
        report: report && { ...report, reincarnations: past.reincarnations + reincarnations },
      }
    }),
    noteFailed: assign({ error: ({ event }) => (event as { error: ReportedError }).error }),
    noteRefusal: assign({
      error: ({ event }) => toReportedError((event as unknown as { error: unknown }).error),
    }),
    noteExit: assign({ error: ({ context, event }) => context.error ?? errorOf(event as Exited) }),
    noteRestartsSpent: assign({
      error: ({ context }) => context.error ?? restartsSpent(context, 'sentinel'),
    }),
    noteForked: assign({
      children: ({ context, event }) => [...context.children, forkedIn(event as ForkedProcess)],
    }),
    noteEnded: assign({
      children: ({ context, event }) =>
        context.children.filter(({ name }) => name !== (event as { name: string }).name),
    }),
    noteTaking: assign({ paused: () => false }),
    notePaused: assign({ paused: () => true }),
    /** A later order takes the place of an earlier one of its kind, or of the opposite kind. */
    noteOrder: assign({
      unanswered: ({ context, event }) => {
        const order = orderOf(event)
        const replaced = [order.type, OPPOSITES[order.type]]
        return [...context.unanswered.filter(({ type }) => !replaced.includes(type)), order]
      },
    }),
    giveOrder: sendTo('sentinel', ({ event }) => orderOf(event)),
    repeatOrders: enqueueActions(({ context, enqueue }) => {
      for (const order of context.unanswered) enqueue.sendTo('sentinel', order)
    }),
    forgetOrder: assign({
      unanswered: ({ context }, params: { order: SentinelOrder['type'] }) =>
        context.unanswered.filter(({ type }) => type !== params.order),
    }),
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
    /** Keeps what a sentinel did last that gave up or died. */
    keepFlight: (_, _exit: { readonly code: number | null; readonly signal: string | null }) => {},
    /** Why it died is in the log; only a cluster that gives up ends with it. */
    mournSentinel: enqueueActions(({ context, enqueue }) => {
      const { report, deaths, recentDeaths } = context
      const { counters, reincarnations } = report ?? context.past
      enqueue.stopChild('sentinel')
      enqueue.assign({ sentinel: null, error: null, deaths: deaths + 1, recentDeaths: recentDeaths + 1 })
      const past = { counters, reincarnations: reincarnations + 1 }
      enqueue.assign({ past, report: report && { ...report, ...past, processes: [] } })
      enqueue.raise({ type: 'death.forgotten' }, { delay: 'RESTART_WINDOW' })
    }),
    forgetDeath: assign({ recentDeaths: ({ context }) => Math.max(0, context.recentDeaths - 1) }),
    watchOrphans: enqueueActions(({ context, enqueue }) => {
      const { children, orphans, deaths, grace } = context
      if (children.length === 0) return
      const id = `orphans-${deaths}`
      enqueue.spawnChild('orphans', { id, input: { id, processes: children, grace } })
      enqueue.assign({ children: [], orphans: [...orphans, id] })
    }),
    killOrphans: enqueueActions(({ context, enqueue }) => {
      for (const id of context.orphans) enqueue.sendTo(id, { type: 'orphans.kill' })
    }),
    forgetOrphans: enqueueActions(({ context, event, enqueue }) => {
      const { id, killed } = event as OrphansReport
      enqueue.stopChild(id)
      enqueue.assign({
        orphans: context.orphans.filter((one) => one !== id),
        deadlineReached: context.deadlineReached || killed,
      })
    }),
  },
  guards: {
    leftInOrder: ({ context, event }) => context.error === null && (event as Exited).code === 0,
    /** It said why it cannot go on: the next one could not either. */
    gaveUp: ({ context }) => context.error !== null,
    budgetSpent: ({ context }) => context.recentDeaths >= context.maxRestarts,
    wasPaused: ({ context }) => context.paused,
    /** What the opposite of this order had been told last has not come about yet. */
    isCountermand: ({ context, event }) => isAwaited(context, OPPOSITES[orderOf(event).type]),
    hasFailed: ({ context }) => context.error !== null,
    everyoneGone: ({ context }) => context.orphans.length === 0,
  },
  delays: {
    /** The first is followed at once. */
    BACK_OFF: ({ context }) => backOff(context.recentDeaths),
    RESTART_WINDOW: ({ context }) => context.restartWindow,
  },
}).createMachine({
  id: 'cluster',
  description: 'The cluster as its owner sees it',
  options: { maxIterations: 1000 },
  context: () => ({
    ...{ sentinel: null, report: null, past: { counters: {}, reincarnations: 0 } },
    ...{ workers: null, paused: false, unanswered: [] },
    ...{ children: [], orphans: [], deaths: 0, recentDeaths: 0 },
    ...{ grace: 0, maxRestarts: 0, restartWindow: 0 },
    ...{ interrupted: 0, deadlineReached: false, error: null },
  }),
  initial: 'idle',
  on: {
    'process.spawned': { actions: 'noteSentinel' },
    'sentinel.failed': { actions: 'noteFailed' },
    'sentinel.stopped': { actions: 'noteStopped' },
    'child.forked': { actions: 'noteForked' },
    'child.ended': { actions: 'noteEnded' },
    'orphans.ended': { actions: 'forgetOrphans' },
    'death.forgotten': { actions: 'forgetDeath' },
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
            onDone: { target: 'forking', actions: 'noteLimits' },
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
            spawnChild('sentinel', { id: 'sentinel', input: null }),
            { type: 'announce', params: { event: 'cluster.starting' } },
          ],
          on: {
            ...ENDS,
            ...REPORTS,
            'events.wanted': { actions: 'passOrder' },
            'cancellations.made': { actions: 'passOrder' },
            'sentinel.running': '#cluster.running',
            // What cannot even start is a mistake to be shown, not one to be repeated.
            'process.exited': LOST,
          },
        },
      },
    },
    running: {
      description: 'Tasks are taken and run',
      tags: 'running',
      entry: [{ type: 'announce', params: { event: 'cluster.running' } }, 'publishStat'],
      invoke: { id: 'emptiness', src: 'emptiness', onDone: 'stopping' },
      on: {
        ...ENDS,
        ...REPORTS,
        'cluster.scale': { actions: ['noteOrder', 'giveOrder'] },
        'cluster.reload': { actions: ['noteOrder', 'giveOrder'] },
        'events.wanted': { actions: 'passOrder' },
        'cancellations.made': { actions: 'passOrder' },
        'sentinel.scaled': {
          actions: [
            { type: 'forgetOrder', params: { order: 'sentinel.scale' } },
            'noteScaled',
            'publishStat',
            'reportScaled',
            {
              type: 'announce',
              params: ({ event: { workers } }) => ({ event: 'cluster.scaled', workers }),
            },
          ],
        },
        'sentinel.reloaded': {
          actions: [{ type: 'forgetOrder', params: { order: 'sentinel.reload' } }, 'reportReloaded'],
        },
      },
      initial: 'taking',
      states: {
        taking: {
          description: 'Tasks come in',
          entry: ['noteTaking', { type: 'forgetOrder', params: { order: 'sentinel.resume' } }],
          on: {
            ...LOSS,
            'cluster.pause': { actions: ['noteOrder', 'giveOrder'] },
            'cluster.resume': { guard: 'isCountermand', actions: ['noteOrder', 'giveOrder'] },
            'sentinel.paused': 'paused',
            'sentinel.resumed': { actions: { type: 'forgetOrder', params: { order: 'sentinel.resume' } } },
          },
        },
        paused: {
          description: 'No task comes in; what was taken is finished',
          entry: [
            'notePaused',
            { type: 'forgetOrder', params: { order: 'sentinel.pause' } },
            { type: 'announce', params: { event: 'cluster.paused' } },
            'publishStat',
          ],
          on: {
            ...LOSS,
            'cluster.pause': { guard: 'isCountermand', actions: ['noteOrder', 'giveOrder'] },
            'cluster.resume': { actions: ['noteOrder', 'giveOrder'] },
            'sentinel.paused': { actions: { type: 'forgetOrder', params: { order: 'sentinel.pause' } } },
            'sentinel.resumed': {
              target: 'taking',
              actions: [{ type: 'announce', params: { event: 'cluster.resumed' } }, 'publishStat'],
            },
          },
        },
        reviving: {
          description: 'The sentinel has died; another one takes its place, beside the children that it left',
          initial: 'backingOff',
          on: {
            'cluster.pause': { actions: 'noteOrder' },
            'cluster.resume': { actions: 'noteOrder' },
            'cluster.scale': { actions: 'noteOrder' },
            'cluster.reload': { actions: 'noteOrder' },
            'process.exited': [
              {
                guard: 'budgetSpent',
                target: '#cluster.stopping.outliving',
                actions: [keepFlight, ...GIVING_UP],
              },
              {
                target: 'reviving',
                reenter: true,
                actions: [keepFlight, announceDeath, 'mournSentinel', 'watchOrphans'],
              },
            ],
          },
          states: {
            backingOff: {
              description: 'Waiting, not at all after a first death',
              after: { BACK_OFF: 'forking' },
              on: {
                'cluster.stop': '#cluster.stopping.outliving',
                'cluster.abort': { target: '#cluster.stopping.outliving', actions: 'killOrphans' },
                'cluster.kill': { target: '#cluster.stopping.outliving', actions: 'killOrphans' },
                'xstate.done.actor.emptiness': '#cluster.stopping.outliving',
                // The next one is forked with it.
                'events.wanted': {},
                // A monitor looks for them when it comes.
                'cancellations.made': {},
              },
            },
            forking: {
              description: 'The new sentinel starts its processes',
              entry: spawnChild('sentinel', {
                id: 'sentinel',
                input: ({ context: { workers, paused } }) => ({ workers, paused }),
              }),
              on: {
                'sentinel.running': [
                  { guard: 'wasPaused', target: '#cluster.running.paused', actions: 'repeatOrders' },
                  { target: '#cluster.running.taking', actions: 'repeatOrders' },
                ],
              },
            },
          },
        },
      },
    },
    stopping: {
      description: 'Everything ends, in order',
      tags: 'stopping',
      initial: 'ordered',
      states: {
        ordered: {
          description: 'The sentinel carries out the stop procedure',
          entry: [{ type: 'announce', params: { event: 'cluster.stopping' } }, 'orderStop', 'publishStat'],
          on: {
            ...REPORTS,
            'cluster.abort': { actions: ['orderAbort', 'killOrphans'] },
            'cluster.kill': { actions: ['orderKill', 'killOrphans'] },
            'events.wanted': { actions: 'passOrder' },
            'cancellations.made': { actions: 'passOrder' },
            'process.exited': [
              { guard: 'leftInOrder', target: 'outliving' },
              { target: 'outliving', actions: [keepFlight, 'noteExit', 'watchOrphans'] },
            ],
          },
        },
        outliving: {
          description: 'No sentinel is left; what a dead one has left behind finishes what it has',
          on: { 'cluster.abort': { actions: 'killOrphans' }, 'cluster.kill': { actions: 'killOrphans' } },
          always: [
            { guard: and(['everyoneGone', 'hasFailed']), target: '#cluster.failed' },
            { guard: 'everyoneGone', target: '#cluster.stopped' },
          ],
        },
      },
    },
    stopped: {
      description: 'Every process has ended',
      type: 'final',
      entry: { type: 'announce', params: { event: 'cluster.stopped' } },
    },
    failed: {
      description: 'It could not start, or the sentinel gave up or died too often',
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

/** Of two that follow one another the last one counts. */
const OPPOSITES: Readonly<Record<string, string>> = {
  'sentinel.pause': 'sentinel.resume',
  'sentinel.resume': 'sentinel.pause',
}

/** Whether the sentinel was told so and has not answered. */
export function isAwaited({ unanswered }: Pick<ClusterContext, 'unanswered'>, order?: string): boolean {
  return unanswered.some(({ type }) => type === order)
}

function orderOf(event: { readonly type: string }): SentinelOrder {
  return { ...event, type: event.type.replace('cluster.', 'sentinel.') } as SentinelOrder
}

function forkedIn({ pid, name, bornAt }: ForkedProcess): ForkedProcess {
  return { pid, name, bornAt }
}

function addTo(past: Past, report: Reported): Reported {
  return {
    ...report,
    reincarnations: past.reincarnations + report.reincarnations,
    counters: sumOf([past.counters, report.counters]),
  }
}

function errorOf({ code, signal, error }: Exited): ReportedError {
  if (error) return error
  const how = signal ? `was killed by ${signal}` : `exited with exit code ${code}`
  return {
    name: 'ProcessExitError',
    code: 'QCLUSTER_PROCESS_EXIT',
    message: `The sentinel ${how} while the cluster needed it. Start the cluster again.`,
  }
}
