import { expect } from 'chai'
import type { TaskHeader } from '../../lib/package.ts'
import { backOff } from '../../lib/roles/verdict.ts'

const defaults = { maxAttempts: 3, retry: 60_000 }

const delays = (limits: Partial<TaskHeader>, attempts: number, chance = 0): number[] =>
  Array.from({ length: attempts }, (_, i) =>
    backOff(
      { id: '', run: 1, attempt: i + 1, name: '', func: '', enqueuedAt: 0, ...limits },
      i + 1,
      defaults,
      chance,
    ),
  )

describe('the time before the next attempt', () => {
  it('is the cluster’s, or the task’s own', () => {
    expect(delays({}, 2)).to.deep.equal([60_000, 60_000])
    expect(delays({ retry: 2 }, 3)).to.deep.equal([2_000, 2_000, 2_000])
    expect(delays({ retry: 0, retryFactor: 2 }, 3)).to.deep.equal([0, 0, 0])
  })

  it('grows by its factor up to its cap', () => {
    expect(delays({ retry: 1, retryFactor: 2, retryCap: 5 }, 5)).to.deep.equal([
      1_000, 2_000, 4_000, 5_000, 5_000,
    ])
  })

  it('grows to an hour where there is no cap, and is never cut where it was longer from the start', () => {
    expect(delays({ retry: 600, retryFactor: 10 }, 3)).to.deep.equal([600_000, 3_600_000, 3_600_000])
    expect(delays({ retry: 7_200, retryFactor: 10 }, 2)).to.deep.equal([7_200_000, 7_200_000])
    expect(delays({ retry: 1, retryFactor: 100 }, 2_000).at(-1), 'and never overflows').to.equal(3_600_000)
    expect(delays({ retry: 0, retryFactor: 100 }, 2_000).at(-1), 'and no pause stays none').to.equal(0)
  })

  it('leaves its share to chance', () => {
    expect(delays({ retry: 10, retryJitter: 0.5 }, 1, 0)).to.deep.equal([10_000])
    expect(delays({ retry: 10, retryJitter: 0.5 }, 1, 1)).to.deep.equal([5_000])
    expect(delays({ retry: 10, retryJitter: 1 }, 1, 0.5)).to.deep.equal([5_000])
  })
})
