import { assign, emit, fromCallback, fromPromise, sendTo, setup, spawnChild } from 'xstate'
import type { OrphanedReport, PeerListening, ReadyReport, WorkerOrder } from './protocol.ts'

export interface WorkerContext {
  /** Runs that ended, as the runner counts them; updated on edges only. */
  readonly done: number
  /** Runs that say how far they are. */
  readonly progress: readonly RunProgress[]
}

/** How far a run says it is, from 0 to 1, and what else it says. */
export interface RunProgress {
  readonly taskId: string
  readonly progress: number
  readonly message: string
}

/** Orders to the runner, which owns the sockets and the tasks. */
export type RunnerOrder =
  | PeerListening
  /** Take nothing more, finish what is here, answer `runner.finished` when the monitor has released it all. */
  | { readonly type: 'runner.finish' }
  /** Abort what runs, give back what has not started. */
  | { readonly type: 'runner.abort' }

/** Reports of the runner: edges, never single tasks, and how far runs are, ten times a second at the most. */
export type RunnerReport =
  | { readonly type: 'runner.busy' }
  | { readonly type: 'runner.idle'; readonly done: number }
  | { readonly type: 'runner.progressed'; readonly runs: readonly RunProgress[] }
  | { readonly type: 'runner.finished' }

export type WorkerEvent = WorkerOrder | RunnerReport | OrphanedReport

/** Runs tasks. Provide `loadTasks`, `runner` and the action `announce`. */
export const workerMachine = setup({
  types: {} as {
    context: WorkerContext
    events: WorkerEvent
    emitted: ReadyReport
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    loadTasks: fromPromise<void>(async () => {}),
    runner: fromCallback<RunnerOrder>(() => {}),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string }) => {},
    reportReady: emit({ type: 'process.ready' } as const),
    passPeer: sendTo('runner', ({ event }) => event as PeerListening),
    finish: sendTo('runner', { type: 'runner.finish' } satisfies RunnerOrder),
    abort: sendTo('runner', { type: 'runner.abort' } satisfies RunnerOrder),
    /** Nothing runs, so nothing is half done. */
    noteDone: assign({ done: ({ event }) => (event as { done: number }).done, progress: [] }),
    noteProgress: assign({ progress: ({ event }) => (event as { runs: readonly RunProgress[] }).runs }),
  },
}).createMachine({
  id: 'worker',
  description: 'Runs tasks',
  options: { maxIterations: 1000 },
  context: () => ({ done: 0, progress: [] }),
  initial: 'starting',
  states: {
    starting: {
      description: 'Loading the task modules',
      tags: 'starting',
      invoke: { src: 'loadTasks', onDone: 'running' },
      on: { 'worker.stop': 'stopped', 'worker.abort': 'stopped', 'process.orphaned': 'stopped' },
    },
    running: {
      description: 'Ready for tasks',
      tags: 'running',
      entry: [
        spawnChild('runner', { id: 'runner' }),
        { type: 'announce', params: { event: 'worker.ready' } },
        'reportReady',
      ],
      on: {
        'peer.listening': { actions: 'passPeer' },
        'runner.progressed': { actions: 'noteProgress' },
        'worker.stop': 'stopping',
        'worker.abort': { target: 'stopping', actions: 'abort' },
        'process.orphaned': 'stopping',
      },
      initial: 'idle',
      states: {
        idle: { description: 'Waiting for a task', on: { 'runner.busy': 'working' } },
        working: {
          description: 'At least one task runs',
          on: { 'runner.idle': { target: 'idle', actions: 'noteDone' } },
        },
      },
    },
    stopping: {
      description: 'Finishing what it has; every outcome is kept until it is released',
      tags: 'stopping',
      entry: 'finish',
      on: {
        'peer.listening': { actions: 'passPeer' },
        'worker.abort': { actions: 'abort' },
        'runner.idle': { actions: 'noteDone' },
        'runner.progressed': { actions: 'noteProgress' },
        'runner.finished': 'stopped',
      },
    },
    stopped: {
      description: 'Leaves',
      type: 'final',
      entry: { type: 'announce', params: { event: 'worker.stopped' } },
    },
  },
})
