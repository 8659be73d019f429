import { expect } from 'chai'
import { WearCheck, wearOf } from '../../lib/roles/wear.ts'

const none = { recycle: 0, maxRss: null, maxAge: null }
const MB = 1024 * 1024

/** A worker that has run so many tasks, has so many megabytes and is so many seconds old. */
const worn = (runs: number, megabytes: number, age: number, limits: object) =>
  wearOf({ vitals: { counters: { runs }, rss: megabytes * MB }, age }, { ...none, ...limits })

describe('the wear of a worker', () => {
  it('is none where nothing is limited', () => {
    expect(worn(1e9, 1e6, 1e9, {})).to.equal(undefined)
  })

  it('is that of so many tasks, so many kilobytes after the first of them, or so many seconds', () => {
    expect(worn(1, 1, 1, { recycle: 2 })).to.equal(undefined)
    expect(worn(2, 1, 1, { recycle: 2 })).to.equal('tasks')
    expect(worn(1, 19, 1, { maxRss: 20 * 1024 })).to.equal(undefined)
    expect(worn(1, 20, 1, { maxRss: 20 * 1024 })).to.equal('memory')
    expect(worn(0, 20, 1, { maxRss: 20 * 1024 })).to.equal(undefined)
    expect(worn(0, 1, 59, { maxAge: 60 })).to.equal(undefined)
    expect(worn(0, 1, 60, { maxAge: 60 })).to.equal('age')
  })
})

describe('the check of the workers’ wear', () => {
  it('tells of each worker once for a while, and anew of one that is still there then', () => {
    const check = new WearCheck({ ...none, recycle: 1 }, (worker) => ({
      counters: { runs: worker === 'old' ? 1 : 0 },
      rss: 1,
    }))
    const looks = [0, 500, 9_999, 10_000].map((now) => check.look(['old', 'new'], now))
    expect(looks).to.deep.equal([[{ worker: 'old', by: 'tasks' }], [], [], [{ worker: 'old', by: 'tasks' }]])
  })

  it('counts the age of a worker from when it was first there', () => {
    const check = new WearCheck({ ...none, maxAge: 2 }, () => ({ rss: 1 }))
    expect(check.look(['a'], 1_000)).to.deep.equal([])
    expect(check.look(['a', 'b'], 2_999)).to.deep.equal([])
    expect(check.look(['a', 'b'], 3_000)).to.deep.equal([{ worker: 'a', by: 'age' }])
    expect(check.look([], 4_000)).to.deep.equal([])
    expect(check.look(['a'], 5_000), 'its namesake is another one').to.deep.equal([])
  })

  it('says nothing of a worker that has not spoken', () => {
    const check = new WearCheck({ ...none, maxAge: 1 }, () => undefined)
    expect([0, 5_000].flatMap((now) => check.look(['a'], now))).to.deep.equal([])
  })
})
