import { expect } from 'chai'
import { Backlog, Window } from '../../lib/roles/window.ts'

function backlog(...funcs: string[]): Backlog {
  const made = new Backlog()
  for (const func of funcs) made.add(func)
  return made
}

const many = (count: number) => backlog(...Array<string>(count).fill('tiny'))

describe('a worker’s window', () => {
  it('lets nobody wait behind a name that is unknown or slow', () => {
    const window = new Window()
    expect(window.admits('a', backlog(), 1)).to.equal(true)
    expect(window.admits('a', backlog('a'), 1), 'unknown').to.equal(false)
    window.learn('a', 200)
    expect(window.admits('a', backlog('a'), 1), 'slow').to.equal(false)
    window.learn('tiny', 0.01)
    expect(window.admits('tiny', backlog('a'), 1), 'tiny behind slow').to.equal(false)
  })

  it('sends tiny ones ahead by hundreds, up to 256', () => {
    const window = new Window()
    window.learn('tiny', 0.01)
    expect(window.admits('tiny', many(255), 1)).to.equal(true)
    expect(window.admits('tiny', many(256), 1)).to.equal(false)
  })

  it('is refilled when half of it is done, so that few frames carry many', () => {
    const window = new Window()
    window.learn('tiny', 0.01)
    const ahead = many(256)
    for (let n = 0; n < 127; n += 1) ahead.remove('tiny')
    expect(window.admits('tiny', ahead, 1), '129 are left').to.equal(false)
    ahead.remove('tiny')
    expect(window.admits('tiny', ahead, 1), '128 are left').to.equal(true)
    ahead.add('tiny')
    expect(window.admits('tiny', ahead, 1), 'until it is full').to.equal(true)
  })

  it('holds no more than 10 ms of expected work', () => {
    const window = new Window()
    window.learn('short', 4)
    expect(window.admits('short', backlog('short', 'short'), 1)).to.equal(true)
    expect(window.admits('short', backlog('short', 'short', 'short'), 1)).to.equal(false)
  })

  it('fills every place that runs at the same time, whatever the name', () => {
    const window = new Window()
    expect(window.admits('unknown', backlog('unknown'), 2)).to.equal(true)
    expect(window.admits('unknown', backlog('unknown', 'unknown'), 2)).to.equal(false)
  })

  it('recovers within ten runs when they change from 50 ms to nothing', () => {
    const window = new Window()
    window.learn('f', 50)
    let runs = 0
    for (; !window.isTiny('f'); runs += 1) window.learn('f', 0)
    expect(runs).to.be.within(2, 10)
    window.learn('f', 50)
    expect(window.isTiny('f'), 'and closes at once').to.equal(false)
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
