import { expect } from 'chai'
import { DoNotRetryError, RetryError } from '../../lib/errors.ts'
import { againAfter } from '../../lib/tasks/retry.ts'

const failed = { attempt: 2, taskId: 'a' }

describe('what is said of another attempt', () => {
  it('is nothing where neither error nor task say any', () => {
    expect(againAfter(new Error('no'), undefined, failed)).to.equal(undefined)
    expect(againAfter('thrown', {}, failed)).to.equal(undefined)
  })

  it('is none when the error says so, whatever retryIf does', () => {
    expect(againAfter(new DoNotRetryError('closed'), { retryIf: () => true }, failed)).to.equal(false)
  })

  it('is the time that the error tells', () => {
    expect(againAfter(new RetryError('busy', { seconds: 1.5 }), { retryIf: () => false }, failed)).to.equal(
      1500,
    )
  })

  it('is believed of an error that another copy of the package made', () => {
    const error = Object.assign(new Error('closed'), { code: 'QCLUSTER_DO_NOT_RETRY' })
    expect(againAfter(error, undefined, failed)).to.equal(false)
  })

  it('is what retryIf answers, which sees error and attempt', () => {
    const seen: unknown[] = []
    const asked = (answer: boolean | number) =>
      againAfter('error', { retryIf: (...args) => seen.push(args) > 0 && answer }, failed)
    expect(asked(false)).to.equal(false)
    expect(asked(3)).to.equal(3000)
    expect(asked(true)).to.equal(undefined)
    expect(seen[0]).to.deep.equal(['error', failed])
  })

  it('is left to the limits when retryIf throws or answers nonsense', () => {
    const slip = () => {
      throw new Error('slip')
    }
    for (const retryIf of [slip, () => -1, () => Number.NaN])
      expect(againAfter(new Error('no'), { retryIf }, failed)).to.equal(undefined)
  })
})
