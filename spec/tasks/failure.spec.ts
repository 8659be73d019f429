import { expect } from 'chai'
import { encodeError, toFailure } from '../../lib/tasks/failure.ts'

describe('a failure', () => {
  it('keeps an error with its code and what caused it', () => {
    const cause = Object.assign(new TypeError('no such file'), { code: 'ENOENT' })
    const thrown = new Error('cannot read', { cause })

    expect(JSON.parse(encodeError(toFailure(thrown)))).to.deep.equal({
      name: 'Error',
      message: 'cannot read',
      stack: thrown.stack,
      cause: { name: 'TypeError', message: 'no such file', stack: cause.stack, code: 'ENOENT' },
    })
  })

  it('is made of whatever was thrown', () => {
    expect(toFailure('out of tea')).to.deep.equal({ name: 'Error', message: 'out of tea' })
    expect(toFailure({ status: 404 })).to.deep.equal({ name: 'Error', message: '{ status: 404 }' })
    expect(toFailure(undefined)).to.deep.equal({ name: 'Error', message: 'undefined' })
    expect(toFailure('x'.repeat(5_000)).message).to.have.lengthOf(1_001)
  })

  it('ends a chain of causes that is a ring', () => {
    const [one, other] = [new Error('one'), new Error('other')]
    one.cause = other
    other.cause = one

    const text = encodeError(toFailure(one))
    expect(text.match(/"message":"one"/g)).to.have.length(5)
    expect(text.match(/"message":"other"/g)).to.have.length(4)
  })
})
