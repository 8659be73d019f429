import { expect } from 'chai'
import { createActor } from 'xstate'
import { schedulerMachine } from '../../machines/scheduler.ts'

function made() {
  const log: string[] = []
  const reports: { type: string }[] = []
  const actor = createActor(
    schedulerMachine.provide({ actions: { announce: (_, { event }) => void log.push(event) } }),
  )
  actor.on('*', (report) => void reports.push(report))
  actor.start()
  return { actor, log, reports }
}

describe('the scheduler machine', () => {
  it('is ready at once and waits', () => {
    const { actor, log, reports } = made()
    expect(actor.getSnapshot().value).to.equal('running')
    expect(reports).to.deep.equal([{ type: 'process.ready' }])
    expect(log).to.deep.equal(['scheduler.ready'])
  })

  for (const type of ['scheduler.stop', 'process.orphaned'] as const)
    it(`leaves at ${type}`, () => {
      const { actor } = made()
      actor.send({ type })
      expect(actor.getSnapshot()).to.include({ value: 'stopped', status: 'done' })
    })
})
