import { expect } from 'chai'
import type { RunningRecord } from '../../lib/process/board.ts'
import { residentSize } from '../../lib/process/vitals.ts'
import { Observer } from '../../lib/roles/observer.ts'
import type { Vitals } from '../../machines/protocol.ts'

const vitals = (given: Partial<Vitals> = {}): Vitals => ({
  ...{ at: 1, pid: process.pid, state: 'running.idle', rss: 1, cpu: 0, delay: 0 },
  ...given,
})

const running: RunningRecord = {
  ...{ slot: 0, taskId: 'a'.repeat(32), run: 1, attempt: 2, name: 'n', func: 'f' },
  ...{ startedAt: 5, startedNs: 5n, deadline: 0n },
}

/** An observer that may report at every look, and the board that it sees. */
function made(cycle = 0) {
  const board: RunningRecord[] = []
  return { board, observer: new Observer((worker) => (worker === 'w' ? board : []), cycle) }
}

describe('the observer', () => {
  it('completes what a process says by its board and its memory', () => {
    const { observer, board } = made()
    observer.hear('w', vitals())
    board.push(running)
    const seen = observer.look()?.processes.w
    expect(seen?.tasks).to.deep.equal([
      { taskId: 'a'.repeat(32), run: 1, attempt: 2, name: 'n', func: 'f', startedAt: 5 },
    ])
    // A worker that blocks cannot say that it works.
    expect(seen?.state).to.equal('running.working')
    expect(seen?.rss).to.be[residentSize(process.pid) === undefined ? 'equal' : 'above'](1)
  })

  it('reports when something has changed, and not when only memory and processor time have', () => {
    const { observer, board } = made()
    observer.hear('w', vitals())
    expect(observer.look()).to.not.equal(undefined)
    observer.hear('w', vitals({ at: 2, rss: 3, cpu: 0.5, delay: 7 }))
    expect(observer.look()).to.equal(undefined)
    for (const change of [
      () => observer.hear('w', vitals({ state: 'running.working' })),
      () => observer.hear('w', vitals({ counters: { succeeded: 1 } })),
      () => observer.hear('w', vitals({ gauges: { waiting: 1 } })),
      () => board.push(running),
      () => observer.hear('other', vitals()),
      () => observer.bury('w'),
    ]) {
      change()
      expect(observer.look(), String(change)).to.not.equal(undefined)
    }
  })

  it('reports no sooner than a cycle after its last report', () => {
    // It begins with this process, so that half the age of this one has passed, and does not pass at once again.
    const { observer } = made(performance.now() / 2)
    observer.hear('w', vitals())
    expect(observer.look()).to.not.equal(undefined)
    observer.hear('w', vitals({ state: 'running.working' }))
    expect(observer.look()).to.equal(undefined)
  })

  it('keeps what the dead have counted in the sums', () => {
    const { observer } = made()
    observer.hear('w', vitals({ counters: { succeeded: 2, failed: 1 } }))
    observer.hear('v', vitals({ counters: { succeeded: 3 } }))
    observer.bury('w')
    observer.hear('x', vitals({ counters: { succeeded: 10 } }))
    const report = observer.look()
    expect(report?.counters).to.deep.equal({ succeeded: 15, failed: 1 })
    expect(Object.keys(report?.processes ?? {})).to.deep.equal(['v', 'x'])
  })

  it('tells that a process is blocked which should have spoken long since', () => {
    const { observer, board } = made()
    const at = (seconds: number) => BigInt(seconds * 1e9)
    const isBlocked = (seconds: number) => observer.look(at(seconds))?.processes.w?.blocked
    observer.hear('w', vitals(), at(100))
    board.push({ ...running, startedNs: at(105) })
    expect(isBlocked(105.5)).to.equal(false)
    expect(isBlocked(106.5), 'it has not even said that it works').to.equal(true)
    observer.hear('w', vitals({ state: 'running.working' }), at(107))
    expect(isBlocked(108), 'and now it has').to.equal(false)
    observer.hear('w', vitals({ state: 'running.working', at: 2 }), at(115))
    observer.hear('other', vitals())
    expect(isBlocked(125), 'a long run without news').to.equal(false)
    expect(isBlocked(127)).to.equal(true)
  })

  it('knows nothing of a process that has not spoken', () => {
    const { observer, board } = made()
    board.push(running)
    observer.bury('w')
    expect(observer.look()?.processes).to.deep.equal({})
  })
})
