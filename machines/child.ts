import { assertEvent, assign, fromCallback, fromPromise, sendParent, sendTo, setup } from 'xstate'
import type {
  Cause,
  ForkReport,
  NodeSignal,
  ProcessReport,
  ReadyReport,
  ReportedError,
  Role,
  RunningTask,
  Testament,
} from './protocol.ts'

/** What a child slot is made of. */
export interface ChildInput {
  /** The slot's name, the same over all incarnations: `pusher`, `worker-3`. */
  readonly id: string
  readonly role: Role
  /** The order that asks this role to leave. */
  readonly stopOrder: { readonly type: string }
  /** Milliseconds an ordered child may take to leave before it is killed; absent: as long as it needs. */
  readonly stopTimeout?: number
  /** Milliseconds a child may take until it is ready. */
  readonly startTimeout?: number
}

/** What a forked process needs to know to become one incarnation of a slot. */
export interface IncarnationInput {
  readonly id: string
  readonly role: Role
  readonly incarnation: number
}

export interface ChildContext extends ChildInput {
  readonly incarnation: number
  readonly name: string
  readonly pid: number | null
  readonly socket: string | null
  /** Deaths since the slot was last up for a while. */
  readonly deaths: number
  readonly cause: Cause
  readonly exit: {
    readonly code: number | null
    readonly signal: string | null
    readonly error?: ReportedError
  } | null
}

/** What a slot tells its sentinel. */
export type ChildReport =
  | ForkReport
  | {
      readonly type: 'child.up'
      readonly id: string
      readonly name: string
      readonly pid: number
      readonly socket: string | null
    }
  | ({
      readonly type: 'child.died'
      readonly id: string
      readonly role: Role
      readonly name: string
      /** True when it never got ready. */
      readonly starting: boolean
      readonly error?: ReportedError
    } & { readonly testament: Testament })
  | {
      readonly type: 'child.gone'
      readonly id: string
      readonly role: Role
      readonly name: string
      readonly testament: Testament
    }

export type ChildEvent =
  | ProcessReport
  | ReadyReport
  | { readonly type: 'child.stop' }
  | { readonly type: 'child.kill'; readonly cause: Cause }
  | { readonly type: 'child.order'; readonly order: { readonly type: string } }
  | { readonly type: string }

const unprovided = () => {
  throw new Error('provide the actors of childMachine: process, lastWords')
}

/** How long a slot waits before its next incarnation: at once after a first death, then 0.1 s, 0.2 s, … up to 5 s. */
export function backOff(deaths: number): number {
  return deaths <= 1 ? 0 : Math.min(5_000, 100 * 2 ** (deaths - 2))
}

/** True for what this machine itself understands; everything else is a report from inside the child. */
function isOwnEvent(type: string): boolean {
  return type.startsWith('process.') || type.startsWith('child.') || type.startsWith('xstate.')
}

interface Examined {
  readonly context: ChildContext
  readonly event: { readonly type: string }
}

/** A timeout explains itself, and so does an error that a process died of before it was ready. */
const keepFlight = (isReady: boolean) => ({
  type: 'closeFlight' as const,
  params: ({ context, event }: Examined) => {
    const last = testament(context, event)
    return { isKept: last.cause !== 'timedOut' && (isReady || !context.exit?.error), testament: last }
  },
})

/** Of a process that left as it was asked to nobody wants to know what it did last. */
const forgetFlight = {
  type: 'closeFlight' as const,
  params: ({ context, event }: Examined) => ({ isKept: false, testament: testament(context, event) }),
}

/**
 * One supervised process: started, watched, stopped, and replaced when it dies unasked.
 * Provide `process` (what is forked) and `lastWords` (what a dead worker was running).
 */
export const childMachine = setup({
  types: {} as {
    context: ChildContext
    input: ChildInput
    events: ChildEvent
    tags: 'up' | 'down'
  },
  actors: {
    process: fromCallback<{ type: string }, IncarnationInput>(unprovided),
    lastWords: fromPromise<readonly RunningTask[], { role: Role; name: string }>(async () => []),
  },
  actions: {
    countIncarnation: assign({
      incarnation: ({ context }) => context.incarnation + 1,
      pid: () => null,
      socket: () => null,
      exit: () => null,
      cause: () => 'crashed' as const,
    }),
    noteSpawned: assign(({ event }) => {
      assertEvent(event, 'process.spawned')
      const { pid, name } = event as Extract<ProcessReport, { type: 'process.spawned' }>
      return { pid, name }
    }),
    reportForked: sendParent(({ event }) => {
      const { pid, name, bornAt } = event as Extract<ProcessReport, { type: 'process.spawned' }>
      return { type: 'child.forked', pid, name, bornAt }
    }),
    reportEnded: sendParent(({ context: { name } }) => ({ type: 'child.ended', name })),
    noteReady: assign({ socket: ({ event }) => (event as ReadyReport).socket ?? null }),
    noteExit: assign({
      exit: ({ event }) => {
        const { code, signal, error } = event as Extract<ProcessReport, { type: 'process.exited' }>
        return { code, signal, ...(error && { error }) }
      },
    }),
    // A worker that died of a task is replaced at once: the task is charged, not the slot.
    countDeath: assign({
      deaths: ({ context, event }) => (runningOf(event).length > 0 ? context.deaths : context.deaths + 1),
    }),
    forgetDeaths: assign({ deaths: () => 0 }),
    noteCause: assign({ cause: ({ event }) => (event as { cause: Cause }).cause }),
    blameShutdown: assign({ cause: () => 'shutdown' as const }),
    orderStop: sendTo('process', ({ context }) => context.stopOrder),
    passOrder: sendTo('process', ({ event }) => (event as { order: { type: string } }).order),
    kill: sendTo('process', { type: 'process.kill', signal: 'SIGKILL' satisfies NodeSignal }),
    reportUp: sendParent(({ context }) => ({
      type: 'child.up',
      id: context.id,
      name: context.name,
      pid: context.pid,
      socket: context.socket,
    })),
    reportDied: sendParent(({ context, event }, params: { starting: boolean }) => ({
      type: 'child.died',
      id: context.id,
      role: context.role,
      name: context.name,
      starting: params.starting,
      ...(context.exit?.error && { error: context.exit.error }),
      testament: testament(context, event),
    })),
    reportGone: sendParent(({ context, event }) => ({
      type: 'child.gone',
      id: context.id,
      role: context.role,
      name: context.name,
      testament: testament(context, event),
    })),
    passReport: sendParent(({ event }) => event),
    /** Keeps what a dead process did last, or forgets it. */
    closeFlight: (_, _params: { readonly isKept: boolean; readonly testament: Testament }) => {},
  },
  guards: {
    isReport: ({ event }) => !isOwnEvent(event.type),
  },
  delays: {
    BACK_OFF: ({ context }) => backOff(context.deaths),
    STABLE: 10_000,
    START_TIMEOUT: ({ context }) => context.startTimeout ?? 60_000,
    STOP_TIMEOUT: ({ context }) => context.stopTimeout ?? 2 ** 31 - 1,
  },
}).createMachine({
  id: 'child',
  description: 'One supervised process of a sentinel',
  options: { maxIterations: 1000 },
  context: ({ input }) => ({
    ...input,
    incarnation: 0,
    name: '',
    pid: null,
    socket: null,
    deaths: 0,
    cause: 'crashed',
    exit: null,
  }),
  initial: 'alive',
  states: {
    alive: {
      description: 'A process exists',
      entry: 'countIncarnation',
      invoke: {
        id: 'process',
        src: 'process',
        input: ({ context }) => ({
          id: context.id,
          role: context.role,
          // Entry actions have run, so this is the incarnation that was just counted.
          incarnation: context.incarnation,
        }),
      },
      on: {
        'process.spawned': { actions: ['noteSpawned', 'reportForked'] },
        'child.order': { actions: 'passOrder' },
        'child.kill': { actions: ['noteCause', 'kill'] },
        '*': { guard: 'isReport', actions: 'passReport' },
      },
      initial: 'starting',
      states: {
        starting: {
          description: 'Forked, loading; not ready yet',
          on: {
            'process.ready': { target: 'up', actions: ['noteReady', 'reportUp'] },
            'process.exited': { target: '#child.examining.unready', actions: 'noteExit' },
            // It holds nothing yet, and would have to load everything only to leave.
            'child.stop': { target: 'stopping', actions: ['blameShutdown', 'kill'] },
          },
          after: { START_TIMEOUT: { actions: 'kill' } },
        },
        up: {
          description: 'At work',
          tags: 'up',
          on: {
            'process.exited': { target: '#child.examining.unasked', actions: 'noteExit' },
            'child.stop': 'stopping',
          },
          after: { STABLE: { actions: 'forgetDeaths' } },
        },
        stopping: {
          description: 'Asked to leave',
          entry: 'orderStop',
          on: {
            'process.exited': { target: '#child.examining.asked', actions: 'noteExit' },
            // It may get ready between the order and its reading of it; that changes nothing.
            'process.ready': {},
          },
          after: { STOP_TIMEOUT: { actions: 'kill' } },
        },
      },
    },
    examining: {
      description: 'The process has ended; reading what it was running',
      tags: 'down',
      entry: 'reportEnded',
      invoke: { src: 'lastWords', input: ({ context }) => ({ role: context.role, name: context.name }) },
      initial: 'unasked',
      states: {
        unready: {
          description: 'It ended before it was ready',
          on: {
            'child.stop': 'asked',
            'xstate.done.actor.*': {
              target: '#child.backingOff',
              actions: ['countDeath', keepFlight(false), { type: 'reportDied', params: { starting: true } }],
            },
          },
        },
        unasked: {
          description: 'It ended while it was at work',
          on: {
            'child.stop': 'asked',
            'xstate.done.actor.*': {
              target: '#child.backingOff',
              actions: ['countDeath', keepFlight(true), { type: 'reportDied', params: { starting: false } }],
            },
          },
        },
        asked: {
          description: 'It left as it was asked to',
          on: { 'xstate.done.actor.*': { target: '#child.gone', actions: [forgetFlight, 'reportGone'] } },
        },
      },
    },
    backingOff: {
      description: 'Waiting before the next incarnation',
      tags: 'down',
      on: { 'child.stop': { target: 'gone', actions: 'reportGone' } },
      after: { BACK_OFF: 'alive' },
    },
    gone: {
      description: 'Left for good',
      type: 'final',
    },
  },
})

function runningOf(event: { type: string }): readonly RunningTask[] {
  return (event as { output?: readonly RunningTask[] }).output ?? []
}

function testament(context: ChildContext, event: { type: string }): Testament {
  const running = runningOf(event)
  return {
    worker: context.name,
    cause: causeOf(context, running),
    code: context.exit?.code ?? null,
    signal: context.exit?.signal ?? null,
    running,
  }
}

/** A worker that was killed from outside while one of its runs was overdue did time out, whoever sent the signal. */
function causeOf(context: ChildContext, running: readonly RunningTask[]): Cause {
  return context.cause === 'crashed' && running.some((task) => task.overran) ? 'timedOut' : context.cause
}
