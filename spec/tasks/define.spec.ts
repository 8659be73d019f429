import { expect } from 'chai'
import { ConfigError } from '../../lib/errors.ts'
import { defineTask, definitionOf } from '../../lib/tasks/define.ts'

/** Calls that the types forbid and that JavaScript allows. */
const untyped = defineTask as (definition: unknown, fn?: unknown) => unknown

describe('defineTask', () => {
  it('returns the same function, which can still be called', () => {
    const fn = (a: number, b: number) => a + b
    const add = defineTask('math.add', fn)

    expect(add).to.equal(fn)
    expect(add(2, 3)).to.equal(5)
  })

  it('brands the function under a symbol that every copy of the package knows', async () => {
    const add = defineTask('math.add', () => {})
    const copy: typeof import('../../lib/tasks/define.ts') = await import(
      new URL('../../lib/tasks/define.ts?copy', import.meta.url).href
    )

    expect(Object.getOwnPropertySymbols(add)).to.deep.equal([Symbol.for('qcluster.task')])
    expect(definitionOf(add)).to.deep.equal({ name: 'math.add' })
    expect(copy.defineTask).not.to.equal(defineTask)
    expect(copy.definitionOf(add)).to.equal(definitionOf(add))
  })

  it('keeps the limits that it was told, and only those', () => {
    const report = defineTask({ name: 'report', timeout: 1.5, maxAttempts: 0, retry: 0 }, () => {})

    expect(definitionOf(report)).to.deep.equal({ name: 'report', timeout: 1.5, maxAttempts: 0, retry: 0 })
    expect(
      definitionOf(untyped({ name: 'a', timeout: undefined }, () => {})),
      'undefined counts as absent',
    ).to.deep.equal({ name: 'a' })
  })

  it('keeps how a failed run is tried again', () => {
    const retryIf = () => true
    const limits = { retry: 1, retryFactor: 2, retryCap: 60, retryJitter: 0.5, expires: 90 }

    expect(definitionOf(defineTask({ name: 'a', ...limits, retryIf }, () => {}))).to.deep.equal({
      ...{ name: 'a', ...limits, retryIf },
    })
    for (const wrong of [
      { retryFactor: 0.5 },
      { retryJitter: 2 },
      { retryCap: -1 },
      { expires: 0 },
      { retryIf: 1 },
    ])
      expect(() => untyped({ name: 'a', ...wrong }, () => {})).to.throw(ConfigError, Object.keys(wrong)[0])
  })

  it('keeps whether successes are saved', () => {
    expect(definitionOf(defineTask({ name: 'tick', save: false }, () => {}))).to.deep.equal({
      name: 'tick',
      save: false,
    })
    expect(() => untyped({ name: 'tick', save: 'no' }, () => {})).to.throw(
      ConfigError,
      'save must be true or false, got "no"',
    )
  })

  it('takes no definition from a function that is no task, or from anything else', () => {
    for (const value of [() => {}, {}, 'math.add', null, undefined])
      expect(definitionOf(value)).to.equal(undefined)
  })

  it('refuses a name that is empty, no text, too long or not printable', () => {
    for (const name of [
      '',
      'a\nb',
      'a\0',
      'a\u001b[2J',
      '\u202e',
      'x'.repeat(201),
      5,
      null,
      undefined,
      () => {},
    ])
      expect(() => untyped(name, () => {}), String(name)).to.throw(
        ConfigError,
        'The name of a task must be 1 to 200 characters',
      )
    expect(() => untyped({ timeout: 5 }, () => {})).to.throw(ConfigError, 'got undefined')
  })

  it('accepts names in any language', () => {
    expect(definitionOf(defineTask('Straße.日本 🚀', () => {}))).to.deep.equal({ name: 'Straße.日本 🚀' })
  })

  it('refuses an unknown option and names the known ones', () => {
    expect(() => untyped({ name: 'add', timeOut: 5 }, () => {})).to.throw(
      ConfigError,
      'The task "add" has no option "timeOut"; it can have name, save, priority, unique, retryIf, timeout, maxAttempts, retry,',
    )
  })

  it('refuses limits out of their range', () => {
    const wrong = [
      { timeout: -1 },
      { timeout: 0 },
      { timeout: Number.NaN },
      { timeout: 1e9 },
      { timeout: '5' },
      { timeout: null },
      { maxAttempts: -1 },
      { maxAttempts: 1.5 },
      { retry: -1 },
      { retry: Number.POSITIVE_INFINITY },
    ]
    for (const limits of wrong)
      expect(() => untyped({ name: 'add', ...limits }, () => {}), JSON.stringify(limits)).to.throw(
        ConfigError,
        /^The task "add": \w+ must be a .*, got .*; correct or remove it\.$/,
      )
  })

  it('refuses what is no function', () => {
    for (const fn of [undefined, {}, 'add'])
      expect(() => untyped('add', fn)).to.throw(ConfigError, 'The task "add" needs a function, got ')
  })

  it('refuses a second name for a function', () => {
    const add = defineTask('add', () => {})

    expect(() => defineTask('plus', add)).to.throw(ConfigError, 'is the task "add" already; wrap it')
  })
})
