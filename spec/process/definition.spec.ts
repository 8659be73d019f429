import { expect } from 'chai'
import { assign, fromPromise, setup } from 'xstate'
import { definitionOf } from '../../lib/process/definition.ts'
import { sentinelMachine } from '../../machines/sentinel.ts'

describe('the definition of a machine', () => {
  it('has its states, transitions and the names of what it does', () => {
    const { initial, states } = definitionOf(sentinelMachine, '') as {
      initial: string
      states: Record<string, { states: object; description: string; on: Record<string, unknown> }>
    }
    expect(initial).to.equal('starting')
    expect(Object.keys(states)).to.deep.equal(['starting', 'running', 'stopping', 'stopped', 'failed'])
    expect(Object.keys(states.starting?.states ?? {})).to.deep.equal(['pinging', 'forking', 'opening'])
    expect(states.stopped).to.deep.include({
      entry: [{ type: 'reportStopped' }, { type: 'speakForCluster' }],
    })
  })

  it('has no data of its author, wherever it stands', () => {
    const secret = 'hunter2'
    const machine = setup({
      types: {} as { context: { secret: string } },
      actors: { ask: fromPromise(async () => {}) },
      actions: { say: (_, _params: { secret: string }) => {}, keep: assign({ secret: () => secret }) },
      guards: { fits: (_, params: { secret: string }) => params.secret === secret },
    }).createMachine({
      id: 'keeper',
      context: { secret },
      meta: { secret },
      output: { secret },
      initial: 'input',
      states: {
        input: {
          meta: { secret },
          entry: [{ type: 'say', params: { secret } }, 'keep', assign({ secret: () => secret })],
          invoke: { src: 'ask', input: { secret }, onDone: 'context' },
          on: {
            params: {
              guard: { type: 'fits', params: { secret } },
              actions: { type: 'say', params: { secret } },
            },
          },
        },
        context: { type: 'final', output: { secret } },
      },
    })
    const text = JSON.stringify(definitionOf(machine, ''))
    expect(text).not.to.include(secret)
    // What is only called like it is a state, or an event.
    expect(Object.keys((JSON.parse(text) as { states: object }).states)).to.deep.equal(['input', 'context'])
    expect(text).to.include('"params":{"guard":{"type":"fits"},"actions":[{"type":"say"}]}')
  })

  it('of an actor that is no machine is its id', () => {
    expect(
      definitionOf(
        fromPromise(async () => {}),
        'ask',
      ),
    ).to.deep.equal({ id: 'ask' })
  })
})
