import { expect } from 'chai'
import { processorsOf } from '../../lib/roles/affinity.ts'

/** The processors of so many workers. */
const dealt = (all: number, workers: number, each: number) =>
  Array.from({ length: workers }, (_, n) => processorsOf(`worker-${n + 1}`, each, all))

describe('the processors of the workers', () => {
  it('are those of the reference’s examples', () => {
    expect(dealt(4, 4, 1)).to.deep.equal([[0], [1], [2], [3]])
    expect(dealt(4, 4, 2)).to.deep.equal([
      [0, 1],
      [2, 3],
      [0, 1],
      [2, 3],
    ])
    expect(dealt(8, 8, 3)).to.deep.equal([
      ...[
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 0],
        [1, 2, 3],
      ],
      ...[
        [4, 5, 6],
        [7, 0, 1],
        [2, 3, 4],
        [5, 6, 7],
      ],
    ])
  })

  it('are left to the system where there is nothing to choose', () => {
    for (const each of [0, 4, 5]) expect(dealt(4, 2, each)).to.deep.equal([[], []])
  })
})
