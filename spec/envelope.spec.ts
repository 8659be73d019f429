import { expect } from 'chai'
import { FRESH, openEnvelope, sealEnvelope } from '../lib/envelope.ts'
import { SignatureError } from '../lib/errors.ts'
import { Signer } from '../lib/signing.ts'

const signer = new Signer(['key'])
const content = () => ({ at: Date.now(), text: 'Grüße\n"🎉"' })

function opening(body: string, by = signer): unknown {
  try {
    return openEnvelope('order', body, by)
  } catch (error) {
    return error
  }
}

describe('an envelope', () => {
  it('brings its content', () => {
    const sent = content()
    expect(openEnvelope('order', sealEnvelope('order', sent, signer), signer)).to.deep.equal(sent)
  })

  it('is opened with any key of the ring, and sealed with the first', () => {
    const ring = new Signer(['new', 'key'])
    expect(opening(sealEnvelope('order', content(), signer), ring)).to.have.property('text')
    expect(opening(sealEnvelope('order', content(), ring))).to.be.instanceOf(SignatureError)
  })

  it('cannot be taken for one of another purpose', () => {
    expect(opening(sealEnvelope('answer', content(), signer))).to.be.instanceOf(SignatureError)
  })

  it('is refused when it is older or newer than the clocks may differ', () => {
    for (const shift of [-FRESH - 1_000, FRESH + 1_000]) {
      const sealed = sealEnvelope('order', { at: Date.now() + shift }, signer)
      expect((opening(sealed) as Error).message).to.include('Expected an order of now')
    }
    for (const shift of [1_000 - FRESH, FRESH - 1_000])
      expect(opening(sealEnvelope('order', { at: Date.now() + shift }, signer))).to.have.property('at')
  })

  it('is refused when a single character was changed', () => {
    const sealed = sealEnvelope('order', content(), signer)
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = `${sealed.slice(0, at)}${sealed[at] === 'x' ? 'y' : 'x'}${sealed.slice(at + 1)}`
      expect(opening(changed), changed).to.be.instanceOf(SignatureError)
    }
  })

  for (const [what, body] of [
    ['nothing', ''],
    ['no signature', '{"at":1}'],
    ['a signature alone', 'A'.repeat(43)],
    ['a signature of nothing', `${'A'.repeat(43)}\n`],
    ['no JSON', `${'A'.repeat(43)}\n{`],
    ['a prototype', `${'A'.repeat(43)}\n{"__proto__":{"at":1}}`],
    ['ten megabytes', 'A'.repeat(10_000_000)],
    ['a terminal’s escape', '\u001b]0;title\u0007'],
  ] as const)
    it(`is refused, and its text not shown, when it is ${what}`, () => {
      const error = opening(body) as Error
      expect(error).to.be.instanceOf(SignatureError)
      expect(error.message).to.match(/^[\x20-\x7e]{1,300}$/)
    })
})
