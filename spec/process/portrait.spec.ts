import { expect } from 'chai'
import { createActor, createMachine } from 'xstate'
import { showEvent, showPayload, showSnapshot } from '../../lib/process/portrait.ts'

describe('what is shown of a snapshot', () => {
  const snapshot = {
    ...{ status: 'error', value: { running: 'idle' }, tags: new Set(['running']) },
    ...{ context: { key: 'hunter2' }, input: 'hunter2', output: 'hunter2' },
    error: Object.assign(new RangeError('hunter2'), { code: 'E_KEY' }),
  }

  it('is where it is, and nothing of what it is about', () => {
    const shown = showSnapshot(snapshot, false)
    expect(shown).to.deep.equal({
      ...{ status: 'error', value: { running: 'idle' }, tags: ['running'] },
      error: { name: 'RangeError', code: 'E_KEY' },
    })
  })

  it('is how far the runs of a worker are, but not what they say', () => {
    const taskId = '0123456789abcdef0123456789abcdef'
    const progress = [{ taskId, progress: 0.5, message: 'hunter2' }]
    expect(showSnapshot({ status: 'active', context: { progress, key: 'hunter2' } }, false)).to.deep.equal({
      ...{ status: 'active', context: { progress: [{ taskId, progress: 0.5 }] } },
    })
    for (const other of ['hunter2', 0.5, ['hunter2'], [null], [{ taskId: 'hunter2', progress: 1 }]])
      expect(
        JSON.stringify(showSnapshot({ status: 'active', context: { progress: other } }, false)),
      ).not.to.match(/hunter2|0\.5|1/)
  })

  it('is which processes of a cluster are blocked, and what by, but nothing else of its report', () => {
    const name = 'Process-0123456789abcdef0123456789abcdef'
    const tasks = [{ name: 'hunter2' }]
    const shownOf = (...processes: object[]) =>
      showSnapshot({ status: 'active', context: { report: { processes, counters: { hunter2: 1 } } } }, false)
    expect(
      shownOf(
        { name, blocked: true, tasks, gauges: {} },
        { name, blocked: false, tasks, gauges: { blocked: 1, waiting: 7 } },
        { name, blocked: false, tasks, gauges: { blocked: 0 } },
        { name: 'hunter2', blocked: true },
      ),
    ).to.deep.equal({
      status: 'active',
      context: {
        report: {
          processes: [
            { name, blocked: true },
            { name, blocked: false, gauges: { blocked: 1 } },
          ],
        },
      },
    })
    expect(shownOf({ name, blocked: false })).to.deep.equal({ status: 'active' })
  })

  it('is everything where payloads may be seen', () => {
    expect(showSnapshot(snapshot, true)).to.deep.include({
      ...{ context: { key: 'hunter2' }, input: 'hunter2', output: 'hunter2' },
      error: { name: 'RangeError', code: 'E_KEY', message: 'hunter2' },
    })
  })

  it('is also had of an error that is none', () => {
    for (const error of ['text', null, 0, {}])
      expect(showSnapshot({ status: 'error', error }, false)).to.deep.equal({
        status: 'error',
        error: { name: 'Error' },
      })
  })
})

describe('what is shown of an event', () => {
  it('is its type, and its fields only where payloads may be seen', () => {
    const event = { type: 'order', args: [1] }
    expect(showEvent(event, false)).to.deep.equal({ type: 'order' })
    expect(showEvent(event, true)).to.deep.equal(event)
  })
})

describe('a payload', () => {
  it('is plain data, whatever it was', () => {
    const actor = createActor(createMachine({}), { id: 'one' })
    const shown = showPayload({
      ...{ big: 1n, when: new Date(0), map: new Map([['a', 1]]), bytes: new Uint8Array(3), actor },
      ...{ call: function call() {}, error: new TypeError('x'), nothing: undefined, none: null },
    })
    expect(JSON.parse(JSON.stringify(shown))).to.deep.equal({
      ...{ big: '1', when: '1970-01-01T00:00:00.000Z', map: [['a', 1]], bytes: '[3 bytes]' },
      ...{
        actor: '[actor one]',
        call: '[function call]',
        error: { name: 'TypeError', message: 'x' },
        none: null,
      },
    })
  })

  it('ends, though it has no end', () => {
    const ring: Record<string, unknown> = {}
    ring.self = ring
    const wide = Object.fromEntries(
      Array.from({ length: 10 }, (_, n) => [n, Array(10_000).fill('x'.repeat(10_000))]),
    )
    for (const endless of [ring, wide, 'x'.repeat(10_000_000)])
      expect(JSON.stringify(showPayload(endless)).length).to.be.below(1_200_000)
  })

  it('is shown, though parts of it cannot be read', () => {
    const trap = {
      get secret() {
        throw new Error('no')
      },
    }
    expect(showPayload({ trap, other: 1 })).to.deep.equal({ trap: '[unreadable]', other: 1 })
  })
})
