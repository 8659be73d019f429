import { expect } from 'chai'
import { Pulse, residentSize, stateText } from '../../lib/process/vitals.ts'
import type { Measures, Vitals } from '../../machines/protocol.ts'

/** A pulse whose vitals are awaited one by one. */
function made(cycle: number) {
  const told: Vitals[] = []
  let news = Promise.withResolvers<void>()
  let value = 'idle'
  let measures: Measures = {}
  const pulse = new Pulse({
    cycle,
    snapshot: () => ({ status: 'active', value }),
    measures: () => measures,
    tell: (vitals) => {
      told.push(vitals)
      news.resolve()
      news = Promise.withResolvers()
    },
  })
  // Its timers do not keep the process, and nothing else does here.
  const alive = setInterval(() => {}, 1_000)
  return {
    ...{ told, pulse },
    change: (state: string, counted: Measures = {}) => {
      value = state
      measures = counted
    },
    next: () => news.promise,
    end: () => clearInterval(alive),
  }
}

describe('the vitals of a process', () => {
  it('say where its machine is, what it counts and what it needs', () => {
    const { pulse, told, change, end } = made(60_000)
    change('working', { counters: { done: 3 }, gauges: { waiting: 1 } })
    pulse.beat()
    end()
    expect(told[0]).to.deep.include({
      ...{ state: 'working', pid: process.pid, counters: { done: 3 }, gauges: { waiting: 1 } },
    })
    expect(told[0]?.rss).to.be.above(1_000_000)
    expect(told[0]?.at).to.be.closeTo(Date.now(), 5_000)
  })

  it('are told soon when something has changed, however often that is said', async () => {
    const { pulse, told, change, next, end } = made(20)
    pulse.beat()
    await next()
    const before = told.length
    change('working')
    for (let n = 0; n < 1_000; n += 1) pulse.stir()
    const changedAt = performance.now()
    await next()
    end()
    expect(told.at(-1)?.state).to.equal('working')
    expect(told.length).to.equal(before + 1)
    expect(performance.now() - changedAt, 'long before its rest is over').to.be.below(5_000)
  })
})

describe('the text of a state', () => {
  it('is its path, and sets parallel regions side by side', () => {
    expect(stateText('idle')).to.equal('idle')
    expect(stateText({ running: { taking: 'all' } })).to.equal('running.taking.all')
    expect(stateText({ running: { intake: 'taking', staff: 'settled' } })).to.equal(
      'running.(intake.taking, staff.settled)',
    )
    expect(stateText({ running: {} })).to.equal('running')
  })
})

describe('the memory of a process', () => {
  it('is unknown of one that is not there', () => {
    expect(residentSize(2 ** 30)).to.equal(undefined)
  })

  it('is that of /proc', function () {
    if (process.platform !== 'linux') this.skip()
    expect(residentSize(process.pid)).to.be.above(10_000_000)
  })
})
