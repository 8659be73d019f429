import { expect } from 'chai'
import type { Package } from '../lib/brokers/broker.ts'
import { SignatureError } from '../lib/errors.ts'
import { isTaskHeader, openPackage, sealPackage, type TaskHeader } from '../lib/package.ts'
import { Signer } from '../lib/signing.ts'

const header: TaskHeader = {
  id: '0123456789abcdef0123456789abcdef',
  run: 2,
  attempt: 1,
  name: 'four-words-of-mine',
  func: 'math.add',
  enqueuedAt: 1_767_225_600_000,
  group: 'sums',
  timeout: 2.5,
}

describe('a package', () => {
  const signer = new Signer(['new', 'old'])
  const sealed = sealPackage(header, '[1,2]', 'sums', signer)

  /** Why a package with these changes is refused. */
  function refusal(changes: Partial<Package>, queue = 'sums', by = signer): string {
    try {
      openPackage({ ...sealed, ...changes }, queue, by)
    } catch (error) {
      expect(error).to.be.instanceOf(SignatureError)
      return (error as Error).message
    }
    throw new Error('It was opened.')
  }

  it('is three lines: its signature, its header, its arguments', () => {
    const [signature, headerText, args] = sealed.body.split('\n')
    expect(signature).to.equal(signer.sign('qcluster.task', 'sums', `${headerText}\n${args}`))
    expect(JSON.parse(headerText as string)).to.deep.equal(header)
    expect(args).to.equal('[1,2]')
    expect(sealed).to.include({ taskId: header.id, run: 2, attempt: 1 })
  })

  it('opens to what it was sealed from, whatever the arguments’ text holds', () => {
    for (const args of ['', '[1,2]', '~[[1],"line\nbreaks\n\n"]', 'ä€😀'.repeat(10_000)])
      expect(openPackage(sealPackage(header, args, 'q', signer), 'q', signer)).to.deep.equal({ header, args })
  })

  it('opens with any of our secrets', () => {
    const old = sealPackage(header, '[]', 'q', new Signer(['old']))
    expect(openPackage(old, 'q', signer)).to.deep.equal({ header, args: '[]' })
  })

  it('is refused when it was signed with another secret, or for another queue', () => {
    expect(refusal({}, 'sums', new Signer(['old']))).to.include('has a foreign signature')
    expect(refusal({}, 'other')).to.include('on queue "other" has a foreign signature')
  })

  it('is refused wherever one character of it differs', () => {
    for (let at = 0; at < sealed.body.length; at += 1) {
      const body = `${sealed.body.slice(0, at)}~${sealed.body.slice(at + 1)}`
      expect(refusal({ body }), `changed at ${at}`).to.match(/foreign|no signature|truncated/)
    }
  })

  it('is refused wherever it is cut off', () => {
    for (let end = 0; end < sealed.body.length; end += 1)
      expect(refusal({ body: sealed.body.slice(0, end) }), `cut at ${end}`).to.match(/truncated|foreign/)
    expect(refusal({ body: sealed.body.slice(0, 20) })).to.include(
      'is truncated: it ends after 20 characters',
    )
    expect(refusal({ body: sealed.body.slice(0, 60) })).to.include('is truncated')
  })

  it('is refused when it has no signature', () => {
    for (const body of ['\n\n', '{"task":"add"}', `${JSON.stringify(header)}\n[]`, 'x'.repeat(10_000)])
      expect(refusal({ body }), body).to.include('has no signature')
  })

  it('is refused under other numbers than it was signed with', () => {
    for (const change of [{ taskId: '1'.repeat(32) }, { run: 3 }, { attempt: 2 }])
      expect(refusal(change)).to.include(`signed was task ${header.id} (run 2, attempt 1)`)
  })

  it('is refused when its header is none, though it is signed', () => {
    for (const text of ['', 'null', '[]', 'not JSON', JSON.stringify({ ...header, run: '2' })]) {
      const signed = `${text}\n[]`
      const body = `${signer.sign('qcluster.task', 'sums', signed)}\n${signed}`
      expect(refusal({ body }), text).to.include('its header is not valid')
    }
  })

  it('names the task, the run and the queue when it is refused, and shows little of a stranger’s text', () => {
    const message = refusal({ body: 'x'.repeat(10_000) })
    expect(message).to.include(`task ${header.id} (run 2, attempt 1) on queue "sums"`)
    expect(message).to.have.length.below(400)
  })
})

describe('a task header', () => {
  it('has an id of 32 hex digits, counts from one, names and a time', () => {
    expect(isTaskHeader(header)).to.equal(true)
    const wrong = [
      { id: 'xyz' },
      { id: header.id.toUpperCase() },
      { run: 0 },
      { run: 1.5 },
      { attempt: undefined },
      { name: 1 },
      { func: null },
      { func: '' },
      { func: 'f\u001b[2J' },
      { func: 'x'.repeat(10_000) },
      { name: 'a\nb' },
      { group: 'a\u2028b' },
      { group: null },
      { enqueuedAt: '2026-01-01' },
    ]
    for (const change of wrong)
      expect(isTaskHeader({ ...header, ...change }), JSON.stringify(change)).to.equal(false)
    expect(isTaskHeader({ ...header, func: '__proto__', group: 'constructor' })).to.equal(true)
    for (const value of [null, undefined, 'text', 1]) expect(isTaskHeader(value)).to.equal(false)
  })
})
