import { expect } from 'chai'
import { Deadline } from '../../lib/roles/deadline.ts'
import { TestClock } from '../../lib/testing/clock.ts'

/** A deadline by a clock that stands still until it is moved, and how often it was told that it is over. */
function made(seconds: number) {
  const clock = new TestClock(0)
  const deadline = new Deadline(seconds, clock.elapsed(), clock)
  let times = 0
  const watch = () =>
    deadline.watch(() => {
      times += 1
    })
  return { clock, deadline, watch, told: () => times }
}

describe('a deadline', () => {
  it('is never met early, also where the loop’s turn had lasted before', async () => {
    // Node's own timers do that, so this is by the real clock.
    for (const end = performance.now() + 20; performance.now() < end; );
    const began = process.hrtime.bigint()
    const deadline = new Deadline(0.01, began)
    await new Promise<void>((resolve) => deadline.watch(resolve))
    expect(Number(process.hrtime.bigint() - began) / 1e6).to.be.at.least(10)
  })

  it('is told once, when it is over', () => {
    const { clock, watch, told } = made(0.01)
    watch()
    clock.moveTo(9)
    expect(told()).to.equal(0)
    clock.moveTo(10)
    clock.moveTo(60_000)
    expect(told()).to.equal(1)
  })

  it('knows that it is over although no timer has told it', () => {
    const { clock, deadline } = made(0.0015)
    clock.moveTo(1.499)
    expect(deadline.isOver).to.equal(false)
    clock.moveTo(1.5)
    expect(deadline.isOver).to.equal(true)
    expect(deadline.error.message).to.equal('Task exceeded maximum timeout value (0.0015 seconds)')
  })

  it('says nothing once it is let go', () => {
    const { clock, deadline, watch, told } = made(0.01)
    watch()
    deadline.letGo()
    clock.moveTo(60_000)
    expect(told()).to.equal(0)
  })

  it('bears more than a timer of Node can hold', () => {
    const { clock, watch, told } = made(2 ** 31)
    watch()
    expect(clock.next).to.equal(2 ** 31 - 1)
    clock.moveTo(clock.next)
    expect(told()).to.equal(0)
    clock.moveTo(2 ** 31 * 1_000)
    expect(told()).to.equal(1)
  })
})
