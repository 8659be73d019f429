/** The parent: a machine that invokes a process as it would any actor, and starts another one when that dies. */

import { fromProcess } from 'qcluster'
import type { ProcessReport } from 'qcluster/machines'
import { assign, createActor, sendTo, setup } from 'xstate'

type Counted = { readonly type: 'counted'; readonly n: number }
type Order = { readonly type: 'counter.stop' }

const keeper = setup({
  types: {} as { context: { n: number; pid: number }; events: Counted | ProcessReport },
  actors: {
    counter: fromProcess<Order, { from: number }>({ module: new URL('counter.ts', import.meta.url) }),
  },
  actions: {
    noteCount: assign({ n: ({ event }) => (event as Counted).n }),
    notePid: assign({ pid: ({ event }) => (event as { pid: number }).pid }),
    tellBirth: ({ context }) => console.log(`a counter lives in process ${context.pid}`),
    tellCount: ({ context }) => console.log(`counted ${context.n}`),
    tellDeath: ({ event, context }) => {
      const { signal } = event as Extract<ProcessReport, { type: 'process.exited' }>
      console.log(`the counter was ended by ${signal}; another one goes on from ${context.n}`)
    },
    tellEnd: ({ event }) =>
      console.log(`the counter left with exit code ${(event as { code: number | null }).code}`),
    killFromOutside: ({ context }) => {
      console.log(`kill -9 ${context.pid}`)
      process.kill(context.pid, 'SIGKILL')
    },
    orderStop: sendTo('counter', { type: 'counter.stop' }),
  },
  guards: {
    isHalfWay: ({ event }) => (event as Counted).n === 3,
    isEnough: ({ event }) => (event as Counted).n === 6,
  },
}).createMachine({
  id: 'keeper',
  context: () => ({ n: 0, pid: 0 }),
  initial: 'counting',
  states: {
    counting: {
      invoke: { id: 'counter', src: 'counter', input: ({ context }) => ({ from: context.n }) },
      on: {
        'process.spawned': { actions: ['notePid', 'tellBirth'] },
        counted: [
          { guard: 'isEnough', actions: ['noteCount', 'tellCount', 'orderStop'], target: '.enough' },
          { guard: 'isHalfWay', actions: ['noteCount', 'tellCount', 'killFromOutside'] },
          { actions: ['noteCount', 'tellCount'] },
        ],
      },
      initial: 'wanting',
      states: {
        // Coming back to `counting` starts the next process: an invocation lives as long as its state.
        wanting: {
          on: { 'process.exited': { target: '#keeper.counting', reenter: true, actions: 'tellDeath' } },
        },
        enough: { on: { counted: {}, 'process.exited': { target: '#keeper.done', actions: 'tellEnd' } } },
      },
    },
    done: { type: 'final' },
  },
})

createActor(keeper).start()
