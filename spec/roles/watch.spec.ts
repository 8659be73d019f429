import { once } from 'node:events'
import { expect } from 'chai'
import type { RunningRecord } from '../../lib/process/board.ts'
import { isOverdue, type Sight, Watch, type WatchOptions } from '../../lib/roles/watch.ts'

const now = () => process.hrtime.bigint()
const inMilliseconds = (ms: number) => now() + BigInt(ms * 1e6)

const run = (deadline: bigint): RunningRecord => ({
  ...{ slot: 0, taskId: 'a'.repeat(32), run: 1, attempt: 1, name: 'n', func: 'f' },
  ...{ startedAt: 1, startedNs: 1n, deadline },
})

describe('the sentinel’s watch', () => {
  const watches: Watch[] = []
  afterEach(() => {
    for (const watch of watches.splice(0)) watch.close()
  })

  /** A watch of these boards; resolves with what it tells first, and when. */
  function watched(boards: Record<string, RunningRecord[]>, options: Partial<WatchOptions> = {}) {
    const target = new EventTarget()
    const sights: Sight[] = []
    watches.push(
      new Watch({
        ...{ cycle: 5, timeoutGrace: 0, wear: { look: () => [] } },
        boards: { look: () => new Map(Object.entries(boards)) },
        observer: { look: () => undefined },
        tell: (sight) => {
          sights.push(sight)
          target.dispatchEvent(new Event('sight'))
        },
        ...options,
      }),
    )
    return { sights, sight: () => once(target, 'sight').then(() => now()) }
  }

  it('sees a run that is overdue when its deadline and the grace are over, and no other', async () => {
    const deadline = inMilliseconds(30)
    const boards = { late: [run(0n), run(deadline)], early: [run(inMilliseconds(60_000))], idle: [] }
    const { sights, sight } = watched(boards, { timeoutGrace: 0.02 })
    const at = await sight()
    expect(sights).to.deep.equal([{ type: 'worker.overran', worker: 'late' }])
    expect(Number(at - deadline) / 1e6).to.be.at.least(20)
  })

  it('looks at the moment when a run is overdue, however long its cycle is', async () => {
    let due = 0n
    const look = () => {
      due ||= inMilliseconds(30)
      return new Map([['w', [run(due)]]])
    }
    const at = await watched({}, { cycle: 250, boards: { look } }).sight()
    expect(Number(at - due) / 1e6).to.be.within(0, 215)
  })

  it('tells what its observer sees', async () => {
    const seen = { type: 'processes.observed', processes: {}, counters: {} } as const
    const { sights, sight } = watched({}, { observer: { look: () => seen } })
    await sight()
    expect(sights[0]).to.equal(seen)
  })

  it('is blind when it is closed', async () => {
    const { sights } = watched({ w: [run(1n)] })
    watches[0]?.close()
    await watched({ w: [run(1n)] }, { cycle: 20 }).sight()
    expect(sights).to.deep.equal([])
  })
})

describe('an overdue run', () => {
  it('is one whose deadline is over, where it has any', () => {
    expect(isOverdue(run(5n), 5n)).to.equal(true)
    expect(isOverdue(run(6n), 5n)).to.equal(false)
    expect(isOverdue(run(0n), 5n)).to.equal(false)
  })
})
