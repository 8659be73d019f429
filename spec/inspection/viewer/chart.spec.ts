import { expect } from 'chai'
import {
  arrowsOf,
  type Chart,
  chartOf,
  type Definition,
  leavesOf,
  nameOf,
  pathsOf,
  placesOf,
} from '../../../lib/inspection/viewer/chart.ts'
import { definitionOf } from '../../../lib/process/definition.ts'
import { drawnMachines, layoutText, savedLayoutText } from '../../../tools/layouts.ts'

describe('a chart', () => {
  const definition: Definition = {
    ...{ id: 'kettle', initial: 'cold', on: { smash: '.broken' } },
    states: {
      cold: {
        on: { heat: [{ target: 'hot.warming', guard: { type: 'isFull' } }, { actions: [{ type: 'beep' }] }] },
      },
      hot: {
        initial: 'warming',
        on: { 'xstate.done.actor.*': 'cold' },
        states: {
          warming: { always: { target: 'boiling', guard: { type: 'isHot' } } },
          boiling: {
            id: 'steam',
            after: { 2000: '#kettle.cold' },
            invoke: { src: 'whistle', onError: '#steam' },
          },
        },
      },
      broken: { type: 'final' },
    },
  }
  const chart = chartOf(definition) as Chart

  it('knows every state by its path, and where each begins', () => {
    expect([...chart.states.keys()]).to.deep.equal([
      '',
      'cold',
      'hot',
      'hot.warming',
      'hot.boiling',
      'broken',
    ])
    expect(chart.states.get('hot')).to.include({ kind: 'compound', initial: 'hot.warming' })
    expect(chart.states.get('broken')).to.include({ kind: 'final', initial: undefined })
  })

  it('finds where every transition leads, however its target is written', () => {
    expect(arrowsOf(chart)).to.deep.equal([
      { from: '', to: 'broken', labels: ['smash'] },
      { from: 'cold', to: 'hot.warming', labels: ['heat [isFull]'] },
      { from: 'hot', to: 'cold', labels: ['actor done'] },
      { from: 'hot.warming', to: 'hot.boiling', labels: ['[isHot]'] },
      { from: 'hot.boiling', to: 'cold', labels: ['after 2 s'] },
      { from: 'hot.boiling', to: 'hot.boiling', labels: ['whistle failed'] },
    ])
    expect(chart.transitions.find(({ to }) => to === undefined)?.actions).to.deep.equal(['beep'])
  })

  it('knows the states of a value, nested and parallel', () => {
    const value = { running: { intake: 'taking', staff: 'settled' } }
    expect(pathsOf(value)).to.deep.equal([
      ...['running', 'running.intake', 'running.intake.taking'],
      ...['running.staff', 'running.staff.settled'],
    ])
    expect(leavesOf(value)).to.deep.equal(['running.intake.taking', 'running.staff.settled'])
    expect(placesOf(leavesOf(value))).to.equal('running: taking, settled')
    expect(placesOf(leavesOf({ alive: 'up' }))).to.equal('alive.up')
  })

  it('calls what XState sends by itself as a reader would', () => {
    const names = {
      'xstate.after.WAIT.scheduler.running.waiting': 'after WAIT',
      'xstate.after.1500.lamp.on': 'after 1.5 s',
      'xstate.done.actor.0.child.examining': 'child.examining done',
      'xstate.error.actor.connectStore': 'connectStore failed',
      'xstate.done.actor.*': 'actor done',
      'process.exited': 'process.exited',
    }
    for (const [event, name] of Object.entries(names)) expect(nameOf(event)).to.equal(name)
  })

  it('is there for a machine only, and bears whatever is written in a definition', () => {
    expect(chartOf({ id: 'promise' })).to.equal(undefined)
    for (const states of [
      { a: null },
      { a: { on: 1, invoke: [null, 3], always: [{}], after: [] } },
      { a: { on: { b: '#none.c' } } },
    ])
      expect(arrowsOf(chartOf({ states }) as Chart)).to.deep.equal([])
  })
})

describe('the layouts of our machines', function () {
  this.timeout(60_000)

  for (const machine of drawnMachines)
    it(`have every state and every arrow of ${machine.id}; \`npm run layouts\` renews them`, async () => {
      const text = await layoutText(machine)
      expect(savedLayoutText(machine)).to.equal(text)
      const { states, arrows } = JSON.parse(text)
      const chart = chartOf(definitionOf(machine, '') as Definition) as Chart
      expect(states.map(({ path }: { path: string }) => path)).to.have.members(
        [...chart.states.keys()].slice(1),
      )
      expect(arrows).to.have.length(arrowsOf(chart).length)
      for (const { points } of arrows) expect(points).not.to.deep.equal([])
    })
})
