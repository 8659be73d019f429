import { assign, fromCallback, sendTo, setup } from 'xstate'
import { reconnectDelay } from './pusher.ts'

export interface BusContext {
  /** Failed attempts to open the line since the last that worked. */
  readonly attempts: number
}

/** Orders to the bus, and with the same words to its line. */
export type BusOrder =
  /** Show the cluster's stat as it is now. */
  { readonly type: 'stat.publish' }

/** Reports of the line. */
export type LineReport = { readonly type: 'line.opened' } | { readonly type: 'line.lost' }

export type BusEvent = BusOrder | LineReport

/** The cluster's end of the bus: shows its stat and hears orders. Provide `line`. */
export const busMachine = setup({
  types: {} as {
    context: BusContext
    events: BusEvent
  },
  actors: {
    /** Is connected for as long as it lives, or says that it is lost. */
    line: fromCallback<BusOrder>(() => {}),
  },
  actions: {
    publish: sendTo('line', { type: 'stat.publish' } satisfies BusOrder),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    forgetAttempts: assign({ attempts: () => 0 }),
  },
  delays: {
    RECONNECT: ({ context }) => reconnectDelay(context.attempts),
  },
}).createMachine({
  id: 'bus',
  description: 'Shows what the cluster does, and hears orders to it',
  options: { maxIterations: 1000 },
  context: () => ({ attempts: 0 }),
  initial: 'online',
  states: {
    online: {
      description: 'There is a line to the broker, or one is being opened',
      invoke: { id: 'line', src: 'line' },
      on: { 'line.lost': 'reconnecting' },
      initial: 'connecting',
      states: {
        connecting: {
          description: 'Opening the broker',
          on: { 'line.opened': { target: 'connected', actions: 'forgetAttempts' } },
        },
        connected: {
          description: 'Seen and heard',
          entry: 'publish',
          on: { 'stat.publish': { actions: 'publish' } },
        },
      },
    },
    reconnecting: {
      description: 'The broker is away; the cluster works on, unseen',
      entry: 'countAttempt',
      after: { RECONNECT: 'online' },
    },
  },
})
