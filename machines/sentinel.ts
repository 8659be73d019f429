import { and, assign, emit, enqueueActions, fromCallback, fromPromise, raise, setup, stopChild } from 'xstate'
import { type ChildReport, childMachine } from './child.ts'
import {
  type Cause,
  type ForkReport,
  type MonitorReport,
  type Observed,
  type OrphanedReport,
  type PusherReport,
  type ReportedError,
  type Role,
  type SentinelOrder,
  type SentinelReport,
  type Testament,
  toReportedError,
} from './protocol.ts'
import {
  type Died,
  dismiss,
  hire,
  idsOf,
  introductions,
  isIdling,
  isLiving,
  isPeer,
  isUnexplained,
  isUp,
  newest,
  processStats,
  restartsSpent,
  type Slots,
  STARTING,
  slotNamed,
  slotsOf,
  staffOf,
  type Up,
  withoutSlot,
  withSlot,
} from './slots.ts'

export interface SentinelInput {
  readonly name: string
  readonly pid: number
  readonly workers: number
  readonly scheduler: boolean
  /** True where it takes the place of one that died: it asks nobody whether all is well, for its cluster has to go on. */
  readonly revived: boolean
  /** Whether it is to let no task come in until it is told to. */
  readonly paused: boolean
  /** Milliseconds that a stop may take before tasks are aborted. */
  readonly grace: number
  /** Unexplained deaths within `restartWindow` milliseconds that are borne. */
  readonly maxRestarts: number
  readonly restartWindow: number
}

export interface SentinelContext extends SentinelInput, Slots {
  /** Slots whose child is to be replaced, the next one first. */
  readonly due: readonly string[]
  /** True while all of them are being replaced because somebody said so. */
  readonly reloading: boolean
  readonly reincarnations: number
  /** Deaths within the restart window that no task explains. */
  readonly recentDeaths: number
  /** Dead workers whose runs the monitor has not yet answered for. */
  readonly testaments: readonly Testament[]
  /** Looks in a row at which tasks waited, workers were idle and nothing moved, and what had been counted then. */
  readonly idling: { readonly looks: number; readonly counted: string }
  readonly pusherDrained: boolean
  readonly interrupted: number
  readonly deadlineReached: boolean
  /** True when no cluster is left to tell how it ended. */
  readonly orphaned: boolean
  readonly error: ReportedError | null
}

export type SentinelEvent =
  | SentinelOrder
  | ChildReport
  | PusherReport
  | MonitorReport
  | OrphanedReport
  | { readonly type: 'worker.overran'; readonly worker: string }
  /** It has run as many tasks, has as much memory, or is as old as one may be. */
  | { readonly type: 'worker.worn'; readonly worker: string; readonly by: 'tasks' | 'memory' | 'age' }
  | ProcessesObserved
  | { readonly type: 'death.forgotten' }
  | { readonly type: 'services.answered' }

/** Runs that were told to end because they are cancelled. */
export type RunsCancelled = Extract<PusherReport, { type: 'runs.cancelled' }>

/** Once a guard cycle: what is seen of the processes, by their names, and the sums of what they counted. */
export interface ProcessesObserved {
  readonly type: 'processes.observed'
  readonly processes: Readonly<Record<string, Observed>>
  readonly counters: Readonly<Record<string, number>>
}

/** What ends the starting and the running of a sentinel. */
const STOPS = {
  'sentinel.stop': '#sentinel.stopping',
  'sentinel.abort': { target: '#sentinel.stopping', actions: 'hurry' },
  'sentinel.kill': { target: '#sentinel.stopping', actions: 'hurry' },
  'process.orphaned': {
    target: '#sentinel.stopping',
    actions: ['noteOrphaned', { type: 'announce', params: { event: 'sentinel.orphaned' } }],
  },
} as const

/** The log's words for a death whose replacement is on its way. */
const announceReincarnation = {
  type: 'announce' as const,
  params: ({ event }: { event: { type: string } }) => {
    const { role, name, testament, error } = event as Died
    return {
      event: `${role}.reincarnated`,
      process: name,
      after: testament.cause === 'timedOut' ? 'timeout' : 'death',
      ...(testament.running[0] && { task: testament.running[0].name }),
      code: testament.code,
      signal: testament.signal,
      ...(error && { error }),
    }
  },
}

/** Two seconds lie between two looks at least where nothing changes. */
const MOST_IDLE_LOOKS = 5

const NOT_IDLING = { looks: 0, counted: '' }

/** The log's words for a pusher that is alive and does not work. */
const announceStall = {
  type: 'announce' as const,
  params: ({ context }: { context: SentinelContext }) => ({
    event: 'pusher.stalled',
    process: context.slots.pusher?.name,
  }),
}

/** The log's words for a worker whose replacement is ready. */
const announceRecycling = {
  type: 'announce' as const,
  params: ({ context }: { context: SentinelContext }) => ({
    event: 'worker.recycled',
    process: context.slots[context.due[0] ?? '']?.name,
  }),
}

/** The log's words for a replacement that could not start. */
const announceFailure = {
  type: 'announce' as const,
  params: ({ event }: { event: { type: string } }) => {
    const { name, error, role, testament } = event as Died
    return { event: 'replacement.failed', process: name, error: error ?? endedEarly(role, testament) }
  },
}

/**
 * Starts, guards, reincarnates and stops the processes of a cluster.
 * Provide `pingServices`, `child` (a childMachine with its process), `watch` and the action `announce`.
 */
export const sentinelMachine = setup({
  types: {} as {
    context: SentinelContext
    input: SentinelInput
    events: SentinelEvent
    emitted: SentinelReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    pingServices: fromPromise<void>(async () => {}),
    child: childMachine,
    /** Looks at the timer boards and the processes: reports `worker.overran` and `processes.observed`. */
    watch: fromCallback<RunsCancelled>(() => {}),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string } & Record<string, unknown>) => {},
    forkAll: enqueueActions(({ context, enqueue }) => {
      for (const input of slotsOf(context)) enqueue.spawnChild('child', { id: input.id, input })
      enqueue.assign({
        slots: () => Object.fromEntries(slotsOf(context).map(({ id, role }) => [id, { role, ...STARTING }])),
      })
    }),
    hireMissing: enqueueActions(({ context, enqueue }) => {
      hire(Math.max(0, context.workers - staffOf(context).length), context, enqueue)
    }),
    hireReplacement: enqueueActions(({ context, enqueue }) => hire(1, context, enqueue)),
    /** The youngest leave first. */
    dismissSurplus: enqueueActions(({ context, enqueue }) => {
      const surplus = staffOf(context).slice(context.workers)
      dismiss(surplus, context, enqueue)
      enqueue.assign({ due: context.due.filter((id) => !surplus.includes(id)) })
    }),
    noteWorkers: assign({ workers: ({ event }) => (event as { workers: number }).workers }),
    /** Also who was just started: it may have loaded what has changed since. */
    markAllDue: assign({ due: ({ context }) => staffOf(context), reloading: () => true }),
    /** Told of more than once while its turn has not come. */
    markWornDue: assign({
      due: ({ context, event }) => {
        const id = slotNamed(context, (event as { worker: string }).worker) ?? ''
        return isUp(context, id) && !context.due.includes(id) ? [...context.due, id] : context.due
      },
    }),
    forgetDue: assign({ due: () => [] }),
    dismissReplaced: enqueueActions(({ context, enqueue }) => {
      dismiss(context.due.slice(0, 1), context, enqueue)
      enqueue.assign({ due: context.due.slice(1), reincarnations: context.reincarnations + 1 })
    }),
    dismissReplacement: enqueueActions(({ context, enqueue }) => {
      dismiss([newest(context)], context, enqueue)
      enqueue.assign({ due: context.due.filter((id) => id !== newest(context)) })
    }),
    keepWatch: enqueueActions(({ enqueue }) => {
      enqueue.spawnChild('watch', { id: 'watch' })
    }),
    noteUp: assign({
      slots: ({ context, event }) => {
        const { id, name, pid, socket } = event as Up
        return withSlot(context, id, { state: 'up', name, pid, socket })
      },
    }),
    introduce: enqueueActions(({ context, event, enqueue }) => {
      for (const { to, order } of introductions(context, event as Up))
        enqueue.sendTo(to, { type: 'child.order', order })
    }),
    /** A monitor that has just come up has not heard of the workers that died before. */
    repeatTestaments: enqueueActions(({ context, event, enqueue }) => {
      if ((event as Up).id !== 'monitor') return
      for (const testament of context.testaments) enqueue.sendTo('monitor', bury(testament))
    }),
    openPusher: enqueueActions(({ context, enqueue }) => {
      const workers = idsOf(context, 'worker').filter((id) => isPeer(context, id))
      const order = { type: 'pusher.open', workers: workers.map((id) => context.slots[id]?.name ?? '') }
      enqueue.sendTo('pusher', { type: 'child.order', order })
    }),
    /** Told in the same breath as to open, so that it takes nothing in between. */
    pauseIfPaused: enqueueActions(({ context, enqueue }) => {
      if (context.paused) enqueue.sendTo('pusher', { type: 'child.order', order: { type: 'pusher.pause' } })
    }),
    noteDown: assign({
      slots: ({ context, event }) =>
        withSlot(context, (event as Died).id, { state: 'down', pid: null, socket: null }),
    }),
    noteGone: assign({ slots: ({ context, event }) => withoutSlot(context, (event as Died).id) }),
    passReport: emit(({ event }) => event as ForkReport),
    /** A child that has ended stays among the children until it is let go. */
    forgetChild: stopChild(({ event }) => (event as Died).id),
    /** Tells the monitor and the pusher what a dead worker leaves behind. */
    buryWorker: enqueueActions(({ context, event, enqueue }) => {
      const { id, role, testament } = event as Died
      // A slot that is down already was buried when it died; now it only leaves.
      if (role !== 'worker' || context.slots[id]?.state === 'down') return
      enqueue.assign({ testaments: [...context.testaments, testament] })
      if (isUp(context, 'monitor')) enqueue.sendTo('monitor', bury(testament))
      const order = { type: 'worker.gone', worker: testament.worker }
      if (isUp(context, 'pusher')) enqueue.sendTo('pusher', { type: 'child.order', order })
    }),
    noteDrained: assign({
      testaments: ({ context, event }) =>
        context.testaments.filter(({ worker }) => worker !== (event as { worker: string }).worker),
    }),
    chargeDeath: enqueueActions(({ context, event, enqueue }) => {
      enqueue.assign({ reincarnations: context.reincarnations + 1 })
      if (!isUnexplained(event as Died)) return
      enqueue.assign({ recentDeaths: context.recentDeaths + 1 })
      enqueue.raise({ type: 'death.forgotten' }, { delay: 'RESTART_WINDOW' })
    }),
    forgetDeath: assign({ recentDeaths: ({ context }) => Math.max(0, context.recentDeaths - 1) }),
    letGo: enqueueActions(({ event, enqueue }) => {
      enqueue.sendTo((event as Died).id, { type: 'child.stop' })
    }),
    passToAll: enqueueActions(({ context, event, enqueue }) => {
      for (const id of Object.keys(context.slots)) enqueue.sendTo(id, { type: 'child.order', order: event })
    }),
    /** A monitor that is not up looks for them when it comes. */
    passToMonitor: enqueueActions(({ context, event, enqueue }) => {
      if (isUp(context, 'monitor')) enqueue.sendTo('monitor', { type: 'child.order', order: event })
    }),
    /** Whoever watches gives them a moment to end, and then reports that their worker overran. */
    tellWatch: enqueueActions(({ context, event, enqueue }) => {
      if (isUp(context, 'pusher')) enqueue.sendTo('watch', event as RunsCancelled)
    }),
    killOverdue: enqueueActions(({ context, event, enqueue }) => {
      const id = slotNamed(context, (event as { worker: string }).worker)
      if (id) enqueue.sendTo(id, { type: 'child.kill', cause: 'timedOut' satisfies Cause })
    }),
    order: enqueueActions(({ context, enqueue }, params: { roles: readonly Role[]; type: string }) => {
      for (const id of params.roles.flatMap((role) => idsOf(context, role)))
        enqueue.sendTo(id, { type: 'child.order', order: { type: params.type } })
    }),
    stop: enqueueActions(({ context, enqueue }, params: { role: Role }) => {
      for (const id of idsOf(context, params.role)) enqueue.sendTo(id, { type: 'child.stop' })
    }),
    kill: enqueueActions(({ context, enqueue }, params: { roles: readonly Role[] }) => {
      for (const id of params.roles.flatMap((role) => idsOf(context, role)))
        enqueue.sendTo(id, { type: 'child.kill', cause: 'shutdown' satisfies Cause })
    }),
    /** Stopping begins patient; the event that began it is handled there once more. */
    hurry: raise(({ event }) => event),
    notePusherDrained: assign({ pusherDrained: () => true }),
    noteOrphaned: assign({ orphaned: () => true }),
    noteDeadline: assign({ deadlineReached: () => true }),
    countInterrupted: assign({
      interrupted: ({ context, event }) => context.interrupted + (event as { count: number }).count,
    }),
    noteStartError: assign({
      error: ({ event }) => {
        const { error, role, testament } = event as Died
        return error ?? endedEarly(role, testament)
      },
    }),
    noteServiceError: assign({
      error: ({ event }) => toReportedError((event as unknown as { error: unknown }).error),
    }),
    noteRestartsSpent: assign({
      error: ({ context, event }) => restartsSpent(context, (event as Died).role),
    }),
    reportProcesses: emit(({ context, event }) => {
      const { processes, counters } = event as ProcessesObserved
      return {
        type: 'sentinel.reported',
        processes: processStats(context, processes),
        reincarnations: context.reincarnations,
        workers: context.workers,
        counters,
      } as const
    }),
    noteIdling: assign({
      idling: ({ context, event }) => idlingAfter(context, event as ProcessesObserved),
    }),
    forgetIdling: assign({ idling: () => NOT_IDLING }),
    /** It holds what waits, and is what can be replaced without harm: what it held is handed out again. */
    killPusher: enqueueActions(({ enqueue }) => {
      enqueue.sendTo('pusher', { type: 'child.kill', cause: 'crashed' satisfies Cause })
    }),
    reportPaused: emit({ type: 'sentinel.paused' } as const),
    reportResumed: emit({ type: 'sentinel.resumed' } as const),
    reportScaled: emit(({ context }) => ({ type: 'sentinel.scaled', workers: context.workers }) as const),
    /** Nobody waits for the end of a replacement that nobody ordered. */
    reportReloaded: enqueueActions(({ context, enqueue }) => {
      if (!context.reloading) return
      enqueue.assign({ reloading: false })
      enqueue.emit({ type: 'sentinel.reloaded', workers: context.workers })
    }),
    reportNotReloaded: enqueueActions(({ context, event, enqueue }) => {
      if (!context.reloading) return
      const { error, role, testament } = event as Died
      enqueue.assign({ reloading: false })
      enqueue.emit({
        type: 'sentinel.reloaded',
        workers: context.workers,
        error: error ?? endedEarly(role, testament),
      })
    }),
    reportRunning: emit({ type: 'sentinel.running' } as const),
    /** The last line of the log is the cluster's own, unless it is gone. */
    speakForCluster: enqueueActions(({ context, enqueue }) => {
      if (!context.orphaned) return
      const { error } = context
      const params = error ? { event: 'cluster.failed', error } : { event: 'cluster.stopped' }
      // Its type is complete only when all actions are set up.
      enqueue({ type: 'announce', params } as never)
    }),
    reportStopped: emit(
      ({ context }) =>
        ({
          type: 'sentinel.stopped',
          interrupted: context.interrupted,
          deadline: context.deadlineReached,
          reincarnations: context.reincarnations,
        }) as const,
    ),
    reportFailed: emit(
      ({ context }) => ({ type: 'sentinel.failed', error: context.error as ReportedError }) as const,
    ),
  },
  guards: {
    isRevived: ({ context }) => context.revived,
    isPaused: ({ context }) => context.paused,
    everyChildUp: ({ context }) => Object.keys(context.slots).every((id) => isUp(context, id)),
    budgetSpent: ({ context, event }) =>
      isUnexplained(event as Died) && context.recentDeaths >= context.maxRestarts,
    isStalled: ({ context, event }) =>
      idlingAfter(context, event as ProcessesObserved).looks >= MOST_IDLE_LOOKS,
    isPusher: ({ event }) => (event as Up).id === 'pusher',
    isReplacement: ({ context, event }) => (event as { id: string }).id === newest(context),
    /** It was told to reload once more while the replacement was starting. */
    replacementDue: ({ context }) => context.due.includes(newest(context)),
    /** The replacement is one more for a while. */
    isThatMany: ({ context, event }) =>
      (event as { workers: number }).workers === staffOf(context).length - 1,
    wrongNumber: ({ context }) => staffOf(context).length !== context.workers,
    everyWorkerUp: ({ context }) => staffOf(context).every((id) => isUp(context, id)),
    someoneDue: ({ context }) => context.due.length > 0,
    lastOneDue: ({ context }) => context.due.length === 1,
    isMonitor: ({ event }) => (event as Died).role === 'monitor',
    nothingToPush: ({ context }) => context.pusherDrained || !isLiving(context, 'pusher'),
    allWorkersGone: ({ context }) => idsOf(context, 'worker').length === 0,
    monitorGone: ({ context }) => !('monitor' in context.slots),
    everyoneGone: ({ context }) => Object.keys(context.slots).length === 0,
    hasFailed: ({ context }) => context.error !== null,
  },
  delays: {
    GRACE: ({ context }) => context.grace,
    RESTART_WINDOW: ({ context }) => context.restartWindow,
    /** What an aborted task gets to end by itself. */
    ABORT_TIME: 1_000,
    /** What monitor and pusher get to requeue after the workers were killed. */
    LAST_WAIT: 3_000,
  },
}).createMachine({
  id: 'sentinel',
  description: 'Guards the processes of one cluster',
  options: { maxIterations: 1000 },
  context: ({ input }) => ({
    ...input,
    slots: {},
    born: input.workers,
    due: [],
    reloading: false,
    reincarnations: 0,
    recentDeaths: 0,
    testaments: [],
    idling: NOT_IDLING,
    pusherDrained: false,
    interrupted: 0,
    deadlineReached: false,
    orphaned: false,
    error: null,
  }),
  initial: 'starting',
  on: {
    'child.up': { actions: ['noteUp', 'introduce', 'repeatTestaments'] },
    'child.gone': { actions: ['buryWorker', 'noteGone', 'forgetChild'] },
    'child.forked': { actions: 'passReport' },
    'child.ended': { actions: 'passReport' },
    'worker.drained': { actions: 'noteDrained' },
    'worker.overran': { actions: 'killOverdue' },
    'tasks.interrupted': { actions: 'countInterrupted' },
    'processes.observed': { actions: 'reportProcesses' },
    'death.forgotten': { actions: 'forgetDeath' },
    'events.wanted': { actions: 'passToAll' },
    'cancellations.made': { actions: 'passToMonitor' },
    'runs.cancelled': { actions: 'tellWatch' },
    'process.orphaned': {
      actions: ['noteOrphaned', { type: 'announce', params: { event: 'sentinel.orphaned' } }],
    },
  },
  states: {
    starting: {
      description: 'Broker and store are asked, children forked; nothing is consumed yet',
      tags: 'starting',
      initial: 'pinging',
      on: {
        ...STOPS,
        // A process that cannot even start is a mistake to be shown, not a loop to be slowed down.
        'child.died': { target: '#sentinel.stopping', actions: ['noteDown', 'noteStartError', 'letGo'] },
      },
      states: {
        pinging: {
          description: 'Asking the broker and the store whether they answer',
          always: { guard: 'isRevived', target: 'forking' },
          invoke: {
            src: 'pingServices',
            onDone: 'forking',
            onError: { target: '#sentinel.stopping', actions: 'noteServiceError' },
          },
        },
        forking: {
          description: 'Workers, monitor, scheduler and pusher are loading',
          entry: ['forkAll', 'keepWatch'],
          always: { guard: 'everyChildUp', target: 'opening' },
        },
        opening: {
          description: 'Every sink is ready; the source may open',
          entry: [
            { type: 'announce', params: { event: 'sentinel.guarding' } },
            'openPusher',
            'pauseIfPaused',
          ],
          on: {
            'pusher.opened': [
              { guard: 'isPaused', target: '#sentinel.running.intake.paused' },
              { target: '#sentinel.running' },
            ],
          },
        },
      },
    },
    running: {
      description: 'Everything is up; what dies is replaced',
      tags: 'running',
      type: 'parallel',
      entry: 'reportRunning',
      on: {
        ...STOPS,
        'processes.observed': [
          {
            guard: 'isStalled',
            actions: ['reportProcesses', announceStall, 'killPusher', 'forgetIdling'],
          },
          { actions: ['reportProcesses', 'noteIdling'] },
        ],
        'child.died': [
          {
            guard: 'budgetSpent',
            target: 'stopping',
            actions: ['noteRestartsSpent', 'buryWorker', 'noteDown', 'letGo'],
          },
          { actions: ['chargeDeath', announceReincarnation, 'buryWorker', 'noteDown'] },
        ],
      },
      states: {
        intake: {
          description: 'Whether tasks are taken from the queue',
          initial: 'taking',
          states: {
            taking: {
              description: 'The pusher consumes',
              on: {
                'sentinel.pause': 'paused',
                'pusher.opened': { actions: 'reportResumed' },
                'pusher.resumed': { actions: 'reportResumed' },
                'child.up': [
                  { guard: 'isPusher', actions: ['noteUp', 'introduce', 'openPusher'] },
                  { actions: ['noteUp', 'introduce', 'repeatTestaments'] },
                ],
              },
            },
            paused: {
              description: 'The pusher takes nothing; what was taken is finished',
              entry: { type: 'order', params: { roles: ['pusher'], type: 'pusher.pause' } },
              on: {
                'sentinel.resume': {
                  target: 'taking',
                  actions: { type: 'order', params: { roles: ['pusher'], type: 'pusher.resume' } },
                },
                'pusher.paused': { actions: 'reportPaused' },
                'child.up': [
                  {
                    guard: 'isPusher',
                    actions: [
                      ...(['noteUp', 'introduce', 'openPusher'] as const),
                      { type: 'order', params: { roles: ['pusher'], type: 'pusher.pause' } },
                    ],
                  },
                  { actions: ['noteUp', 'introduce', 'repeatTestaments'] },
                ],
              },
            },
          },
        },
        staff: {
          description: 'How many workers there are, and which of them are being replaced',
          initial: 'settled',
          on: {
            'sentinel.reload': { actions: 'markAllDue' },
            'worker.worn': { actions: 'markWornDue' },
          },
          states: {
            settled: {
              description: 'As many workers as there should be, none of them due',
              on: { 'sentinel.scale': { target: 'scaling', actions: 'noteWorkers' } },
              always: [
                { guard: 'wrongNumber', target: 'scaling' },
                { guard: 'someoneDue', target: 'replacing' },
              ],
            },
            scaling: {
              description: 'More workers are starting; surplus ones have been told to leave',
              entry: ['dismissSurplus', 'hireMissing'],
              on: { 'sentinel.scale': { target: 'scaling', reenter: true, actions: 'noteWorkers' } },
              always: { guard: 'everyWorkerUp', target: 'settled', actions: 'reportScaled' },
            },
            replacing: {
              description: 'The replacement of a worker is starting; the old one works until it is ready',
              entry: 'hireReplacement',
              on: {
                'sentinel.scale': [
                  { guard: 'isThatMany', actions: ['noteWorkers', 'reportScaled'] },
                  // Carried out when this replacement is there.
                  { actions: 'noteWorkers' },
                ],
                'child.up': [
                  {
                    guard: and(['isReplacement', 'lastOneDue']),
                    target: 'settled',
                    actions: [announceRecycling, 'dismissReplaced', 'reportReloaded'],
                  },
                  {
                    guard: 'isReplacement',
                    target: 'settled',
                    actions: [announceRecycling, 'dismissReplaced'],
                  },
                ],
                'child.died': [
                  {
                    guard: and(['isReplacement', 'replacementDue']),
                    target: 'settled',
                    actions: [announceFailure, 'dismissReplacement'],
                  },
                  {
                    guard: 'isReplacement',
                    target: 'settled',
                    actions: [announceFailure, 'dismissReplacement', 'forgetDue', 'reportNotReloaded'],
                  },
                ],
              },
            },
          },
        },
      },
    },
    stopping: {
      description: 'The documented stop procedure, under one deadline',
      tags: 'stopping',
      type: 'parallel',
      entry: { type: 'announce', params: { event: 'sentinel.stopping' } },
      on: {
        'child.died': [
          // Outcomes may still be under way, so a monitor is replaced even now; nobody else is.
          { guard: 'isMonitor', actions: ['noteDown', 'chargeDeath', announceReincarnation] },
          { actions: ['buryWorker', 'noteDown', 'letGo'] },
        ],
      },
      states: {
        stage: {
          description: 'Who is being stopped',
          initial: 'stoppingPusher',
          states: {
            stoppingPusher: {
              description: 'The pusher stops consuming and pushes what it holds; the scheduler stops too',
              entry: [
                { type: 'order', params: { roles: ['pusher'], type: 'pusher.stop' } },
                { type: 'stop', params: { role: 'scheduler' } },
              ],
              on: { 'pusher.drained': { actions: 'notePusherDrained' } },
              always: { guard: 'nothingToPush', target: 'stoppingWorkers' },
            },
            stoppingWorkers: {
              description: 'Workers finish what they have and leave',
              entry: { type: 'stop', params: { role: 'worker' } },
              always: { guard: 'allWorkersGone', target: 'stoppingMonitor' },
            },
            stoppingMonitor: {
              description: 'The monitor saves what is left and sees it settled',
              entry: [
                { type: 'announce', params: { event: 'sentinel.waiting' } },
                { type: 'stop', params: { role: 'monitor' } },
              ],
              always: { guard: 'monitorGone', target: 'closingPusher' },
            },
            closingPusher: {
              description: 'The pusher closes its connection and leaves',
              entry: { type: 'stop', params: { role: 'pusher' } },
              always: [
                { guard: and(['everyoneGone', 'hasFailed']), target: '#sentinel.failed' },
                { guard: 'everyoneGone', target: '#sentinel.stopped' },
              ],
            },
          },
        },
        urgency: {
          description: 'How patient the stop is',
          initial: 'patient',
          states: {
            patient: {
              description: 'Started tasks may finish',
              after: {
                GRACE: {
                  target: 'aborting',
                  actions: ['noteDeadline', { type: 'announce', params: { event: 'cluster.deadline' } }],
                },
              },
              on: { 'sentinel.abort': 'aborting', 'sentinel.kill': 'killing' },
            },
            aborting: {
              description: 'Tasks are told by their abort signal; what has not started is requeued',
              entry: [
                { type: 'order', params: { roles: ['worker'], type: 'worker.abort' } },
                { type: 'order', params: { roles: ['pusher'], type: 'pusher.abort' } },
              ],
              after: { ABORT_TIME: 'killing' },
              on: { 'sentinel.kill': 'killing' },
            },
            killing: {
              description: 'Workers are killed; what they ran is requeued',
              entry: [
                { type: 'kill', params: { roles: ['worker', 'scheduler'] } },
                { type: 'order', params: { roles: ['monitor'], type: 'monitor.abort' } },
                { type: 'order', params: { roles: ['pusher'], type: 'pusher.abort' } },
              ],
              after: { LAST_WAIT: 'exterminating' },
              on: { 'sentinel.kill': 'exterminating' },
            },
            exterminating: {
              description: 'Whoever is left is killed',
              entry: { type: 'kill', params: { roles: ['worker', 'scheduler', 'monitor', 'pusher'] } },
            },
          },
        },
      },
    },
    stopped: {
      description: 'Every child is gone',
      type: 'final',
      entry: ['reportStopped', 'speakForCluster'],
    },
    failed: {
      description: 'Gave up: it could not start, or what it guards died too often',
      type: 'final',
      entry: ['reportFailed', 'speakForCluster'],
    },
  },
})

function bury(testament: Testament) {
  return { type: 'child.order', order: { type: 'worker.buried', ...testament } }
}

function endedEarly(role: Role, { code, signal }: Testament): ReportedError {
  const how = signal ? `was killed by ${signal}` : `left with exit code ${code}`
  return {
    name: 'ProcessExitError',
    code: 'QCLUSTER_PROCESS_EXIT',
    message: `A ${role} process ${how} before it was ready; look for its last words above.`,
  }
}

function idlingAfter(
  context: SentinelContext,
  { processes, counters }: ProcessesObserved,
): SentinelContext['idling'] {
  if (!isIdling(context, processes)) return NOT_IDLING
  const counted = JSON.stringify(counters)
  return { counted, looks: counted === context.idling.counted ? context.idling.looks + 1 : 1 }
}
