import { expect } from 'chai'
import { createActor, fromCallback, SimulatedClock } from 'xstate'
import { schedulerMachine, type TimetableOrder, type TimetableReport } from '../../machines/scheduler.ts'

/** A scheduler whose timetable answers nothing by itself. */
function made() {
  const clock = new SimulatedClock()
  const log: { event: string; reason?: string }[] = []
  const reports: { type: string }[] = []
  let looks = 0
  let report: (event: TimetableReport) => void = () => {}
  const actor = createActor(
    schedulerMachine.provide({
      actions: { announce: (_, params) => void log.push(params) },
      actors: {
        timetable: fromCallback<TimetableOrder>(({ sendBack, receive }) => {
          report = sendBack
          receive(() => {
            looks += 1
          })
        }),
      },
    }),
    { clock },
  )
  actor.on('*', (one) => void reports.push(one))
  actor.start()
  return {
    ...{ actor, clock, log, reports },
    looks: () => looks,
    state: () => actor.getSnapshot().value,
    looked: (wait: number) => report({ type: 'timetable.looked', wait }),
    failed: (service: 'broker' | 'store' = 'store') =>
      report({ type: 'timetable.failed', service, reason: 'gone' }),
    changed: () => report({ type: 'timetable.changed' }),
  }
}

describe('the scheduler machine', () => {
  it('is ready at once and looks', () => {
    const { state, log, reports, looks } = made()
    expect(state()).to.deep.equal({ running: 'looking' })
    expect(looks()).to.equal(1)
    expect(reports).to.deep.equal([{ type: 'process.ready' }])
    expect(log).to.deep.equal([{ event: 'scheduler.ready' }])
  })

  it('looks again when it is time', () => {
    const { state, clock, looks, looked } = made()
    looked(5_000)
    expect(state()).to.deep.equal({ running: 'waiting' })
    clock.increment(4_999)
    expect(looks()).to.equal(1)
    clock.increment(1)
    expect(looks()).to.equal(2)
  })

  it('looks at once when a schedule was changed', () => {
    const { looks, looked, changed } = made()
    looked(5_000)
    changed()
    expect(looks()).to.equal(2)
  })

  it('looks once more when one was changed while it looked', () => {
    const { state, looks, looked, changed } = made()
    changed()
    changed()
    expect(looks()).to.equal(1)
    looked(5_000)
    expect(looks()).to.equal(2)
    looked(5_000)
    expect(state()).to.deep.equal({ running: 'waiting' })
  })

  it('tries again, later each time, while the store is away', () => {
    const { actor, state, clock, log, looks, looked, failed } = made()
    for (const most of [100, 200, 400]) {
      failed()
      expect(state()).to.deep.equal({ running: 'reconnecting' })
      clock.increment(most / 2 - 1)
      expect(state()).to.deep.equal({ running: 'reconnecting' })
      clock.increment(most / 2 + 1)
      expect(state()).to.deep.equal({ running: 'looking' })
    }
    expect(looks()).to.equal(4)
    expect(log.slice(1)).to.deep.equal([{ event: 'store.lost', reason: 'gone' }])
    looked(0)
    expect(log.slice(2)).to.deep.equal([{ event: 'store.connected' }])
    expect(actor.getSnapshot().context).to.deep.include({ attempts: 0, lost: [] })
    looked(0)
    expect(log).to.have.length(3)
  })

  it('says of store and broker once each that they are lost, and of both that they are back', () => {
    const { clock, log, looked, failed } = made()
    for (const service of ['store', 'broker', 'store', 'broker'] as const) {
      failed(service)
      clock.increment(5_000)
    }
    looked(0)
    expect(log.slice(1).map(({ event }) => event)).to.deep.equal([
      ...['store.lost', 'broker.lost', 'store.connected', 'broker.connected'],
    ])
  })

  for (const type of ['scheduler.stop', 'process.orphaned'] as const) {
    it(`finishes what is under way at ${type}`, () => {
      for (const end of ['looked', 'failed'] as const) {
        const scheduler = made()
        scheduler.actor.send({ type })
        expect(scheduler.state()).to.equal('stopping')
        if (end === 'looked') scheduler.looked(5_000)
        else scheduler.failed()
        expect(scheduler.actor.getSnapshot()).to.include({ value: 'stopped', status: 'done' })
      }
    })

    it(`waits two seconds at most for what is under way at ${type}`, () => {
      const { actor, clock, state } = made()
      actor.send({ type })
      clock.increment(1_999)
      expect(state()).to.equal('stopping')
      clock.increment(1)
      expect(state()).to.equal('stopped')
    })

    it(`leaves at ${type} when nothing is under way`, () => {
      const waiting = made()
      waiting.looked(5_000)
      const away = made()
      away.failed()
      for (const { actor } of [waiting, away]) {
        actor.send({ type })
        expect(actor.getSnapshot()).to.include({ value: 'stopped', status: 'done' })
      }
    })
  }
})
