/** The child: a machine that counts, alone in its process. What it emits arrives in the parent as events. */

import { serveProcess } from 'qcluster'
import { assign, emit, setup } from 'xstate'

const counter = setup({
  types: {} as {
    context: { n: number }
    input: { from: number }
    events: { type: 'counter.stop' | 'process.orphaned' }
    emitted: { type: 'counted'; n: number }
  },
  actions: {
    count: assign({ n: ({ context }) => context.n + 1 }),
    tell: emit(({ context }) => ({ type: 'counted', n: context.n }) as const),
  },
}).createMachine({
  id: 'counter',
  context: ({ input }) => ({ n: input.from }),
  initial: 'counting',
  // Without a parent nobody listens: it leaves.
  on: { 'counter.stop': '.stopped', 'process.orphaned': '.stopped' },
  states: {
    counting: { after: { 100: { target: 'counting', reenter: true, actions: ['count', 'tell'] } } },
    stopped: { type: 'final' },
  },
})

serveProcess(counter)
