import { expect } from 'chai'
import { createActor, fromCallback, SimulatedClock } from 'xstate'
import { type BusOrder, busMachine, type LineReport } from '../../machines/bus.ts'

/** A bus whose lines are fakes. */
function made() {
  const clock = new SimulatedClock()
  const lines: { report: (report: LineReport) => void; published: number; isOpen: boolean }[] = []
  const machine = busMachine.provide({
    actors: {
      line: fromCallback<BusOrder>(({ sendBack, receive }) => {
        const line = { report: sendBack, published: 0, isOpen: true }
        receive(() => {
          line.published += 1
        })
        lines.push(line)
        return () => {
          line.isOpen = false
        }
      }),
    },
  })
  const actor = createActor(machine, { clock }).start()
  const last = () => lines.at(-1) as (typeof lines)[number]
  return { actor, clock, lines, last, value: () => actor.getSnapshot().value }
}

describe('the bus machine', () => {
  it('shows the stat as soon as its line is open, and when it is told to', () => {
    const { actor, last, value } = made()
    actor.send({ type: 'stat.publish' })
    expect([value(), last().published]).to.deep.equal([{ online: 'connecting' }, 0])
    last().report({ type: 'line.opened' })
    expect([value(), last().published]).to.deep.equal([{ online: 'connected' }, 1])
    actor.send({ type: 'stat.publish' })
    expect(last().published).to.equal(2)
  })

  it('opens another line when one is lost, each time a little later', () => {
    const { lines, last, clock, value } = made()
    for (const wait of [100, 200, 400]) {
      last().report({ type: 'line.lost' })
      expect([value(), last().isOpen]).to.deep.equal(['reconnecting', false])
      const before = lines.length
      clock.increment(wait / 2 - 1)
      expect(lines).to.have.length(before)
      clock.increment(wait / 2 + 1)
      expect(lines).to.have.length(before + 1)
    }
    last().report({ type: 'line.opened' })
    last().report({ type: 'line.lost' })
    clock.increment(100)
    expect(value()).to.deep.equal({ online: 'connecting' })
  })

  it('closes its line when it ends', () => {
    const { actor, last } = made()
    actor.stop()
    expect(last().isOpen).to.equal(false)
  })
})
