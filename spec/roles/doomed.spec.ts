import { expect } from 'chai'
import type { RunningRecord } from '../../lib/process/board.ts'
import { Doomed } from '../../lib/roles/doomed.ts'

const showing = (boards: Record<string, string[]>) =>
  new Map(
    Object.entries(boards).map(([worker, ids]) => [
      worker,
      ids.map((taskId) => ({ taskId }) as RunningRecord),
    ]),
  )

describe('tasks that were told to end', () => {
  it('cost their worker its life when they go on for longer than the grace', () => {
    const doomed = new Doomed(1_000)
    doomed.add(['a', 'b'], 0)
    const boards = showing({ w1: ['x', 'a'], w2: ['y'] })
    expect(doomed.workersOf(boards, 999)).to.deep.equal([])
    expect(doomed.workersOf(boards, 1_000)).to.deep.equal(['w1'])
  })

  it('get no more time by being told again', () => {
    const doomed = new Doomed(1_000)
    doomed.add(['a'], 0)
    doomed.add(['a'], 900)
    expect(doomed.workersOf(showing({ w1: ['a'] }), 1_000)).to.deep.equal(['w1'])
  })

  it('are forgotten when they have ended in time', () => {
    const doomed = new Doomed(1_000)
    doomed.add(['a'], 0)
    expect(doomed.workersOf(showing({ w1: [] }), 1_000)).to.deep.equal([])
    doomed.add(['a'], 2_000)
    expect(doomed.workersOf(showing({ w1: ['a'] }), 2_500), 'it counts anew').to.deep.equal([])
  })
})
