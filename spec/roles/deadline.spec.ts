import { expect } from 'chai'
import { Deadline } from '../../lib/roles/deadline.ts'

const now = () => process.hrtime.bigint()
const over = (deadline: Deadline) => new Promise<void>((resolve) => deadline.watch(resolve))

describe('a deadline', () => {
  it('is never met early, also where the loop’s turn had lasted before', async () => {
    for (const end = performance.now() + 20; performance.now() < end; );
    const began = now()
    const deadline = new Deadline(0.01, began)
    await over(deadline)
    expect(Number(now() - began) / 1e6).to.be.at.least(10)
  })

  it('knows that it is over although its timer could not fire', () => {
    const deadline = new Deadline(0.0015, now())
    expect(deadline.isOver).to.equal(false)
    for (const end = performance.now() + 3; performance.now() < end; );
    expect(deadline.isOver).to.equal(true)
    expect(deadline.error.message).to.equal('Task exceeded maximum timeout value (0.0015 seconds)')
  })

  it('says nothing once it is let go', async () => {
    const deadline = new Deadline(0.001, now())
    let told = false
    deadline.watch(() => {
      told = true
    })
    deadline.letGo()
    await over(new Deadline(0.01, now()))
    expect(told).to.equal(false)
  })

  it('bears more than a timer of Node can hold', async () => {
    const deadline = new Deadline(2 ** 31, now())
    let told = false
    deadline.watch(() => {
      told = true
    })
    await over(new Deadline(0.01, now()))
    deadline.letGo()
    expect(told).to.equal(false)
  })
})
