import { assign, fromPromise, sendParent, setup } from 'xstate'
import type { ForkedProcess } from './protocol.ts'

export interface OrphansInput {
  readonly processes: readonly ForkedProcess[]
  /** Milliseconds that they get to finish what they have. */
  readonly grace: number
}

export type OrphansEvent =
  | {
      /** Do not wait for the grace. */
      readonly type: 'orphans.kill'
    }
  | { readonly type: 'xstate.done.actor.absence' }

/** To whoever looks after them. */
export interface OrphansReport {
  readonly type: 'orphans.ended'
  readonly id: string
  /** Whether they were killed before all of them had left. */
  readonly killed: boolean
}

export interface OrphansContext extends OrphansInput {
  readonly id: string
  readonly killed: boolean
}

/**
 * What a sentinel that died leaves behind: its children have noticed, finish what they have, and leave. Whoever is blocked
 * in a loop notices nothing, and is killed when the grace is over. Provide `absence` and the action `kill`.
 */
export const orphansMachine = setup({
  types: {} as {
    context: OrphansContext
    input: OrphansInput & { readonly id: string }
    events: OrphansEvent
  },
  actors: {
    /** Ends when none of these processes is there any more. */
    absence: fromPromise<void, readonly ForkedProcess[]>(async () => {}),
  },
  actions: {
    /** Kills those that are left of these, and says so to whoever reads the log. */
    kill: (_, _params: readonly ForkedProcess[]) => {},
    noteKilled: assign({ killed: () => true }),
    reportEnded: sendParent(
      ({ context: { id, killed } }) => ({ type: 'orphans.ended', id, killed }) satisfies OrphansReport,
    ),
  },
  delays: {
    GRACE: ({ context }) => context.grace,
  },
}).createMachine({
  id: 'orphans',
  description: 'What a sentinel that died leaves behind',
  options: { maxIterations: 1000 },
  context: ({ input }) => ({ ...input, killed: false }),
  initial: 'finishing',
  invoke: { id: 'absence', src: 'absence', input: ({ context }) => context.processes },
  states: {
    finishing: {
      description: 'They finish what they have and leave',
      on: { 'orphans.kill': 'killing', 'xstate.done.actor.absence': 'gone' },
      after: { GRACE: 'killing' },
    },
    killing: {
      description: 'Those that are left have been killed',
      entry: ['noteKilled', { type: 'kill', params: ({ context }) => context.processes }],
      on: { 'xstate.done.actor.absence': 'gone' },
    },
    gone: {
      description: 'None of them is left',
      type: 'final',
      entry: 'reportEnded',
    },
  },
})
