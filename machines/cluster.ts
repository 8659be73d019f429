import { assign, fromCallback, sendTo, setup, spawnChild } from 'xstate'
import type { ProcessReport, ReportedError, SentinelOrder, SentinelReport } from './protocol.ts'

export interface ClusterContext {
  readonly sentinel: { readonly pid: number; readonly name: string } | null
  /** What the sentinel said last of how the stop went. */
  readonly interrupted: number
  readonly deadlineReached: boolean
  readonly error: ReportedError | null
}

export type ClusterEvent =
  | { readonly type: 'cluster.start' }
  | { readonly type: 'cluster.stop' }
  /** Stop without waiting for the grace. */
  | { readonly type: 'cluster.abort' }
  /** Kill what is left. */
  | { readonly type: 'cluster.kill' }
  | ProcessReport
  | SentinelReport

type Exited = Extract<ProcessReport, { type: 'process.exited' }>

/** Owns the sentinel's process. Provide `sentinel` (what is forked) and the action `announce`. */
export const clusterMachine = setup({
  types: {} as {
    context: ClusterContext
    events: ClusterEvent
    tags: 'starting' | 'running' | 'stopping'
  },
  actors: {
    sentinel: fromCallback<{ type: string }>(() => {
      throw new Error('provide the actor of clusterMachine: sentinel')
    }),
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string }) => {},
    noteSentinel: assign({
      sentinel: ({ event }) => {
        const { pid, name } = event as Extract<ProcessReport, { type: 'process.spawned' }>
        return { pid, name }
      },
    }),
    noteStopped: assign(({ event }) => {
      const { interrupted, deadline } = event as Extract<SentinelReport, { type: 'sentinel.stopped' }>
      return { interrupted, deadlineReached: deadline }
    }),
    noteFailed: assign({ error: ({ event }) => (event as { error: ReportedError }).error }),
    noteExit: assign({ error: ({ context, event }) => context.error ?? lostSentinel(event as Exited) }),
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
  context: () => ({ sentinel: null, interrupted: 0, deadlineReached: false, error: null }),
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
      description: 'The sentinel is forked and starts its processes',
      tags: 'starting',
      entry: [
        spawnChild('sentinel', { id: 'sentinel' }),
        { type: 'announce', params: { event: 'cluster.starting' } },
      ],
      on: {
        'sentinel.running': 'running',
        'cluster.stop': 'stopping',
        'cluster.abort': { target: 'stopping', actions: 'orderAbort' },
        'cluster.kill': { target: 'stopping', actions: 'orderKill' },
        'process.exited': { target: 'failed', actions: 'noteExit' },
      },
    },
    running: {
      description: 'Tasks are taken and run',
      tags: 'running',
      entry: { type: 'announce', params: { event: 'cluster.running' } },
      on: {
        'cluster.stop': 'stopping',
        'cluster.abort': { target: 'stopping', actions: 'orderAbort' },
        'cluster.kill': { target: 'stopping', actions: 'orderKill' },
        'process.exited': { target: 'failed', actions: 'noteExit' },
      },
    },
    stopping: {
      description: 'The sentinel carries out the stop procedure',
      tags: 'stopping',
      entry: [{ type: 'announce', params: { event: 'cluster.stopping' } }, 'orderStop'],
      on: {
        'cluster.abort': { actions: 'orderAbort' },
        'cluster.kill': { actions: 'orderKill' },
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
      entry: { type: 'announce', params: { event: 'cluster.failed' } },
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
