import { expect } from 'chai'
import { toReportedError } from '../../machines/protocol.ts'

describe('a reported error', () => {
  it('tells where its causes happened too', () => {
    const error = new Error('outer', { cause: new TypeError('inner', { cause: 'a text' }) })
    expect(toReportedError(error)).to.include({ name: 'Error', message: 'outer' })
    expect(toReportedError(error).stack).to.match(
      /^Error: outer\n[\s\S]*\nCaused by: TypeError: inner\n +at /,
    )
  })

  it('ends, though its causes form a ring', () => {
    const error = new Error('ring')
    error.cause = error
    expect(toReportedError(error).stack?.match(/Error: ring/g)).to.have.length(6)
  })

  it('is made of anything that can be thrown', () => {
    expect(toReportedError('a text')).to.deep.equal({ name: 'Error', message: 'a text' })
  })
})
