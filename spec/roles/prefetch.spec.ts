import { expect } from 'chai'
import { Prefetch } from '../../lib/roles/prefetch.ts'

describe('the prefetch', () => {
  it('takes the step that is enough for 100 ms of measured work', () => {
    for (const [runTime, slots, step] of [
      [0.03, 2, 1_000],
      [5, 4, 100],
      [50, 4, 10],
      [60_000, 1, 10],
    ] as const) {
      const prefetch = new Prefetch(1_000)
      prefetch.follow(runTime, slots, 0)
      expect(prefetch.current, `${slots} × ${runTime} ms`).to.equal(step)
    }
  })

  it('changes at most once a second', () => {
    const prefetch = new Prefetch(1_000)
    expect(prefetch.follow(0.03, 2, 5_000)).to.equal(true)
    expect(prefetch.follow(500, 2, 5_999)).to.equal(false)
    expect(prefetch.current).to.equal(1_000)
    expect(prefetch.follow(500, 2, 6_000)).to.equal(true)
    expect(prefetch.current).to.equal(10)
  })

  it('need not wait when nothing has changed yet', () => {
    const prefetch = new Prefetch(1_000)
    expect(prefetch.follow(2, 2, 0), 'the first runs of a process are slow').to.equal(false)
    expect(prefetch.follow(0.03, 2, 10)).to.equal(true)
  })

  it('has a delivery for each slot and one more, and never more than the queue limit', () => {
    const many = new Prefetch(1_000)
    many.follow(60_000, 32, 0)
    expect(many.current).to.equal(33)
    const few = new Prefetch(50)
    expect(few.current).to.equal(50)
    few.follow(0.03, 2, 0)
    expect(few.current).to.equal(50)
  })

  it('stays as it is while nothing was measured', () => {
    const prefetch = new Prefetch(1_000)
    expect(prefetch.follow(undefined, 2, 0)).to.equal(false)
    expect(prefetch.current).to.equal(100)
  })
})
