import { expect } from 'chai'
import { Window } from '../../lib/roles/window.ts'

describe('a worker’s window', () => {
  it('lets nobody wait behind a name that is unknown or slow', () => {
    const window = new Window()
    expect(window.admits('a', [], 1)).to.equal(true)
    expect(window.admits('a', ['a'], 1), 'unknown').to.equal(false)
    window.learn('a', 200)
    expect(window.admits('a', ['a'], 1), 'slow').to.equal(false)
    window.learn('tiny', 0.01)
    expect(window.admits('tiny', ['a'], 1), 'tiny behind slow').to.equal(false)
  })

  it('sends tiny ones ahead in dozens, up to 64', () => {
    const window = new Window()
    window.learn('tiny', 0.01)
    expect(window.admits('tiny', Array(63).fill('tiny'), 1)).to.equal(true)
    expect(window.admits('tiny', Array(64).fill('tiny'), 1)).to.equal(false)
  })

  it('fills every place that runs at the same time, whatever the name', () => {
    const window = new Window()
    expect(window.admits('unknown', ['unknown'], 2)).to.equal(true)
    expect(window.admits('unknown', ['unknown', 'unknown'], 2)).to.equal(false)
  })

  it('closes at the first slow run and opens again after a few quick ones', () => {
    const window = new Window()
    window.learn('a', 0.1)
    window.learn('a', 50)
    expect(window.isTiny('a')).to.equal(false)
    for (let n = 0; n < 10; n += 1) window.learn('a', 0.1)
    expect(window.isTiny('a')).to.equal(true)
  })
})
