import { expect } from 'chai'
import { inFrames } from '../../lib/roles/frames.ts'

const item = (size: number, result?: string) => ({
  args: 'x'.repeat(size),
  ...(result !== undefined && { result }),
})
const sizes = (items: Parameters<typeof inFrames>[0]) =>
  inFrames(items).map((frame) => frame.map(({ args }) => args.length))

describe('what is sent together', () => {
  it('shares one frame as long as it is small, in order', () => {
    expect(sizes([])).to.deep.equal([])
    expect(sizes([item(0), item(2), item(1), item(3)])).to.deep.equal([[0, 2, 1, 3]])
  })

  it('has a frame of its own when it is large', () => {
    expect(sizes([item(2_000_000), item(1), item(2), item(3_000_000), item(3)])).to.deep.equal([
      [2_000_000],
      [1, 2],
      [3_000_000],
      [3],
    ])
  })

  it('counts arguments and results', () => {
    expect(inFrames([item(1, 'y'.repeat(600_000)), item(1, 'y'.repeat(600_000))])).to.have.length(2)
  })
})
