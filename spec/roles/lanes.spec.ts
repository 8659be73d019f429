import { expect } from 'chai'
import { Lanes } from '../../lib/roles/lanes.ts'

interface Item {
  readonly isUrgent: boolean
  readonly n: number
}

const urgent = (n: number): Item => ({ isUrgent: true, n })
const normal = (n: number): Item => ({ isUrgent: false, n })

function lanesOf(...items: Item[]): Lanes<Item> {
  const lanes = new Lanes<Item>()
  for (const item of items) lanes.push(item)
  return lanes
}

const takeAll = (lanes: Lanes<Item>): number[] =>
  Array.from({ length: lanes.size }, () => {
    const next = lanes.peek()
    expect(lanes.shift()).to.equal(next)
    return next?.n ?? Number.NaN
  })

describe('what waits in two lanes', () => {
  it('is taken in order, the urgent first', () => {
    expect(takeAll(lanesOf(normal(1), urgent(2), normal(3), urgent(4)))).to.deep.equal([2, 4, 1, 3])
  })

  it('comes first again where it is put back', () => {
    const lanes = lanesOf(normal(3), urgent(2))
    lanes.unshift([urgent(0), normal(1), urgent(1), normal(2)])
    expect(takeAll(lanes)).to.deep.equal([0, 1, 2, 1, 2, 3])
  })

  it('never waits for ever: one in ten is not urgent', () => {
    const lanes = lanesOf(...Array.from({ length: 30 }, (_, n) => urgent(n)), normal(100), normal(101))
    const taken = takeAll(lanes)
    expect(taken.indexOf(100)).to.equal(9)
    expect(taken.indexOf(101)).to.equal(19)
    expect(taken.filter((n) => n < 100)).to.deep.equal(Array.from({ length: 30 }, (_, n) => n))
  })

  it('is empty when all is taken', () => {
    const lanes = lanesOf(normal(1), urgent(2))
    expect(lanes.clear()).to.have.length(2)
    expect([lanes.size, lanes.peek(), lanes.shift()]).to.deep.equal([0, undefined, undefined])
  })
})
