import { assign, emit, enqueueActions, fromCallback, sendTo, setup, spawnChild } from 'xstate'
import type { OrphanedReport, ReadyReport, SchedulerOrder } from './protocol.ts'
import { reconnectDelay } from './pusher.ts'

export interface SchedulerContext {
  /** Milliseconds until there is something to do, as far as was known at the last look. */
  readonly wait: number
  /** How often in a row broker or store could not be used. */
  readonly attempts: number
  /** Which of them were lost and are not known to be back. */
  readonly lost: readonly Service[]
}

type Service = 'broker' | 'store'

/** Orders to the timetable, which knows the schedules and turns those that are due into tasks. */
export type TimetableOrder =
  /** Do all that is due, and answer `timetable.looked` or `timetable.failed`. */
  { readonly type: 'timetable.look' }

export type TimetableReport =
  /** `wait`: milliseconds until it should look again. */
  | { readonly type: 'timetable.looked'; readonly wait: number }
  /** The store or the broker could not be used; what was not done is still to do. */
  | { readonly type: 'timetable.failed'; readonly service: Service; readonly reason: string }
  /** Somebody has changed a schedule. */
  | { readonly type: 'timetable.changed' }

export type SchedulerEvent = SchedulerOrder | TimetableReport | OrphanedReport

/** What ends it, wherever nothing is under way. */
const LEAVING = { 'scheduler.stop': '#scheduler.stopped', 'process.orphaned': '#scheduler.stopped' } as const

/** What ends it while a look is under way. */
const FINISHING = {
  'scheduler.stop': '#scheduler.stopping',
  'process.orphaned': '#scheduler.stopping',
} as const

/** What a failed look brings; what is lost is said once. */
const FAILED = [
  { guard: 'wasLost' as const, target: '#scheduler.running.reconnecting', actions: 'countAttempt' as const },
  {
    target: '#scheduler.running.reconnecting',
    actions: [
      ...(['countAttempt', 'noteLost'] as const),
      {
        type: 'announce' as const,
        params: ({ event }: { event: { service: Service; reason: string } }) => ({
          event: `${event.service}.lost`,
          reason: event.reason,
        }),
      },
    ],
  },
]

/** What a look brings that has not failed, beside what follows from it. */
const LOOKED = ['tellBack' as const, 'forgetAttempts' as const]

/** Turns due schedules into tasks. Provide `timetable` and the action `announce`. */
export const schedulerMachine = setup({
  types: {} as {
    context: SchedulerContext
    events: SchedulerEvent
    emitted: ReadyReport
    tags: 'running' | 'stopping'
  },
  actors: {
    timetable: fromCallback<TimetableOrder>(() => {}),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string; reason?: string }) => {},
    reportReady: emit({ type: 'process.ready' } as const),
    look: sendTo('timetable', { type: 'timetable.look' } satisfies TimetableOrder),
    noteWait: assign({ wait: ({ event }) => (event as { wait: number }).wait }),
    noteLost: assign({
      lost: ({ context, event }) => [...context.lost, (event as { service: Service }).service],
    }),
    tellBack: enqueueActions(({ context: { lost }, enqueue }) => {
      // Its type is complete only when all actions are set up.
      for (const service of lost)
        enqueue({ type: 'announce', params: { event: `${service}.connected` } } as never)
    }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    forgetAttempts: assign({ attempts: () => 0, lost: () => [] }),
  },
  guards: {
    wasLost: ({ context, event }) => context.lost.includes((event as { service: Service }).service),
  },
  delays: {
    WAIT: ({ context }) => context.wait,
    RECONNECT: ({ context }) => reconnectDelay(context.attempts),
    /** What a look that is under way gets to end. Whoever comes later does what it leaves. Milliseconds. */
    LAST_LOOK: 2_000,
  },
}).createMachine({
  id: 'scheduler',
  description: 'Turns due schedules into tasks',
  options: { maxIterations: 1000 },
  context: () => ({ wait: 0, attempts: 0, lost: [] }),
  initial: 'starting',
  states: {
    starting: {
      description: 'Getting ready',
      entry: spawnChild('timetable', { id: 'timetable' }),
      always: 'running',
    },
    running: {
      description: 'Meeting each schedule when it is due',
      tags: 'running',
      entry: [{ type: 'announce', params: { event: 'scheduler.ready' } }, 'reportReady'],
      initial: 'looking',
      states: {
        looking: {
          description: 'Making the tasks of what is due',
          entry: 'look',
          on: {
            ...FINISHING,
            'timetable.looked': { target: 'waiting', actions: ['noteWait', ...LOOKED] },
            'timetable.failed': FAILED,
            'timetable.changed': 'outdated',
          },
        },
        outdated: {
          description: 'The same, and something has changed since it looked',
          on: {
            ...FINISHING,
            'timetable.looked': { target: 'looking', actions: LOOKED },
            'timetable.failed': FAILED,
          },
        },
        waiting: {
          description: 'Waiting for the next due schedule, or for a change',
          on: { ...LEAVING, 'timetable.changed': 'looking' },
          after: { WAIT: 'looking' },
        },
        reconnecting: {
          description: 'Store or broker are away; what is due is late, and not lost',
          on: LEAVING,
          after: { RECONNECT: 'looking' },
        },
      },
    },
    stopping: {
      description: 'Finishing what is under way: a task that is made should be with the broker',
      tags: 'stopping',
      on: { 'timetable.looked': 'stopped', 'timetable.failed': 'stopped' },
      after: { LAST_LOOK: 'stopped' },
    },
    stopped: {
      description: 'Leaves',
      type: 'final',
    },
  },
})
