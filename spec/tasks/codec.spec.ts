import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify, types } from 'node:util'
import { createContext, runInContext } from 'node:vm'
import { expect } from 'chai'
import { SerializationError } from '../../lib/errors.ts'
import { decode, encode, pack } from '../../lib/tasks/codec.ts'

const roundTrip = (value: unknown): unknown => decode(encode(value))

describe('the codec', () => {
  describe('with plain JSON', () => {
    const values: unknown[] = [
      ...[null, true, false, 0, 1.5, -7, 1e300, '', 'text', '~not marked', '\ud800', 'ä€😀\n\0'],
      ...[
        [],
        {},
        [1, [2, [3]]],
        { a: { b: [{ c: null }] } },
        { '': 1, 'a b': 2, toString: 3, constructor: 4 },
      ],
    ]
    for (const value of values)
      it(`writes ${JSON.stringify(value)} as it is`, () => {
        expect(encode(value)).to.equal(JSON.stringify(value))
        expect(roundTrip(value)).to.deep.equal(value)
      })

    it('makes copies of what stands there twice', () => {
      const shared = { a: 1 }
      expect(encode([shared, shared])).to.equal('[{"a":1},{"a":1}]')
    })
  })

  describe('with what JSON would lose', () => {
    const values: [string, unknown][] = [
      ['undefined', undefined],
      ['an undefined member', { a: undefined, b: 1 }],
      ['NaN and the infinities', [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]],
      ['a BigInt', 2n ** 100n],
      ['a Date', new Date(1_767_225_600_123)],
      ['a RegExp', /a+b/gi],
      ['a URL', new URL('https://example.com/?a=1')],
      ['a Map with objects for keys', new Map<unknown, unknown>([[{ a: 1 }, new Set([1, 'a'])]])],
      ['a Buffer', Buffer.from('äöü')],
      ['an empty Buffer', Buffer.alloc(0)],
      ['bytes', new Uint8Array([0, 127, 255])],
      ['floats', new Float64Array([1.5, -0, Number.NaN])],
      ['big integers', new BigInt64Array([-1n, 2n ** 62n])],
      ['an ArrayBuffer', new Uint8Array([1, 2, 3]).buffer],
      ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ]
    for (const [what, value] of values)
      it(`keeps ${what}`, () => {
        expect(encode(value)).to.match(/^~/)
        expect(roundTrip(value)).to.deep.equal(value)
        expect(roundTrip([{ nested: value }])).to.deep.equal([{ nested: value }])
      })

    it('keeps -0', () => {
      expect(Object.is(roundTrip(-0), -0)).to.equal(true)
      expect(Object.is((roundTrip([-0]) as number[])[0], -0)).to.equal(true)
    })

    it('keeps holes', () => {
      // biome-ignore lint/suspicious/noSparseArray: it is what this is about
      const holed = roundTrip([1, , 3]) as number[]
      expect(1 in holed).to.equal(false)
      expect(holed).to.have.length(3)
    })

    it('keeps a Buffer a Buffer', () => {
      expect(Buffer.isBuffer(roundTrip(Buffer.from('a')))).to.equal(true)
      expect(Buffer.isBuffer(roundTrip(new Uint8Array(1)))).to.equal(false)
    })

    it('keeps cycles and what stands there twice', () => {
      const value: { self?: unknown; shared: unknown[]; when: Date } = { shared: [], when: new Date(0) }
      value.self = value
      value.shared.push(value.shared)
      const copy = roundTrip(value) as typeof value
      expect(copy.self).to.equal(copy)
      expect(copy.shared[0]).to.equal(copy.shared)
    })

    it('keeps a tree whose leaves know their parents', () => {
      interface Leaf {
        parent?: Leaf
        children: Leaf[]
      }
      const root: Leaf = { children: [] }
      root.children = Array.from({ length: 10 }, () => ({ parent: root, children: [] }))
      const copy = roundTrip(root) as Leaf
      expect(copy.children[9]?.parent).to.equal(copy)
    })

    it('keeps objects of another realm', () => {
      const foreign = runInContext('({ list: [1, new Date(0)] })', createContext())
      expect(roundTrip(foreign)).to.deep.equal({ list: [1, new Date(0)] })
    })

    it('writes only the part of its memory that a view shows', () => {
      const memory = new TextEncoder().encode('secret|public|secret')
      const view = memory.subarray(7, 13)
      const data = new DataView(memory.buffer, 7, 6)
      const copies = roundTrip([view, data]) as [Uint8Array, DataView]
      expect(copies[0]).to.deep.equal(new TextEncoder().encode('public'))
      expect(copies[1].byteLength).to.equal(6)
      expect(copies[0].buffer.byteLength + copies[1].buffer.byteLength).to.equal(12)
    })
  })

  describe('with errors', () => {
    it('keeps class, message, stack, code, cause and own properties', () => {
      const cause = Object.assign(new RangeError('too far'), { code: 'E_FAR' })
      const error = Object.assign(new TypeError('wrong', { cause }), {
        code: 'E_WRONG',
        details: { at: new Date(0) },
      })
      const copy = roundTrip(error) as typeof error
      expect(copy)
        .to.be.instanceOf(TypeError)
        .and.to.include({ message: 'wrong', stack: error.stack, code: 'E_WRONG' })
      expect(copy.details).to.deep.equal({ at: new Date(0) })
      expect(copy.cause).to.be.instanceOf(RangeError).and.to.include({ message: 'too far', code: 'E_FAR' })
      expect(Object.keys(copy)).to.have.members(['code', 'details'])
      expect(types.isNativeError(copy)).to.equal(true)
    })

    it('keeps the name of a class that is not the language’s own', () => {
      class PaymentError extends Error {
        override name = 'PaymentError'
      }
      expect(String(roundTrip(new PaymentError('no money')))).to.equal('PaymentError: no money')
    })

    it('keeps the errors of an AggregateError', () => {
      const copy = roundTrip(
        new AggregateError([new Error('one'), new Error('two')], 'both'),
      ) as AggregateError
      expect(copy).to.be.instanceOf(AggregateError).with.property('message', 'both')
      expect(copy.errors.map(String)).to.deep.equal(['Error: one', 'Error: two'])
    })

    it('keeps an error that is its own cause', () => {
      const error = new Error('round')
      error.cause = error
      expect(roundTrip([error])).to.have.nested.property('[0].message', 'round')
    })
  })

  describe('with what has no text', () => {
    class User {
      name = 'x'
    }
    const values: [string, unknown, string][] = [
      ['a function', [{ callback: () => {} }], 'args[0].callback is a function; '],
      ['a function as toJSON', { toJSON: () => 1 }, 'args.toJSON is a function; '],
      ['a symbol', { a: [Symbol('s')] }, 'args.a[0] is a symbol; '],
      ['a class instance', new Map([['key', new User()]]), 'args.get("key") is an instance of User; '],
      ['a promise', [Promise.resolve()], 'args[0] is a promise; '],
      ['a WeakMap', [new WeakMap()], 'args[0] is an instance of WeakMap; '],
      ['symbols for keys', [{ [Symbol('s')]: 1 }], 'args[0] has keys that are symbols; '],
      ['a key __proto__', [JSON.parse('{"__proto__":{"a":1}}')], 'args[0] has a key "__proto__"; '],
      ['a function within an error', [new Error('x', { cause: () => {} })], 'args[0].cause is a function; '],
    ]
    for (const [what, value, start] of values)
      it(`refuses ${what}, naming the path to it`, () => {
        expect(() => encode(value, 'args'))
          .to.throw(SerializationError)
          .with.property('message')
          .that.matches(/; expected .*; pass .*\.$/)
          .and.satisfies((message: string) => message.startsWith(start))
      })

    it('refuses what cannot even be read', () => {
      const value = {
        get broken(): string {
          throw new Error('out of order')
        },
      }
      expect(() => encode(value, 'result')).to.throw(
        SerializationError,
        'result cannot be read: out of order',
      )
    })

    it('refuses what is nested too deeply', () => {
      let deep: unknown = []
      for (let i = 0; i < 100_000; i += 1) deep = [deep]
      expect(() => encode(deep, 'result')).to.throw(SerializationError, 'result is nested too deeply')
    })
  })

  describe('with texts that others made', () => {
    it('leaves every prototype alone', () => {
      const json = decode('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}')
      expect(Object.getPrototypeOf(json)).to.equal(Object.prototype)
      expect(() => decode('~[{"__proto__":1},{"polluted":2},1]')).to.throw(SerializationError)
      expect(() => decode('~[["null","__proto__",1],1]')).to.throw(SerializationError)
      const error = decode(
        '~[["Error",1],{"name":2,"message":2,"constructor":3},"x",{"prototype":2}]',
      ) as Error
      expect(Object.getPrototypeOf(error)).to.equal(Error.prototype)
      expect(({} as { polluted?: number }).polluted).to.equal(undefined)
    })

    for (const text of ['', 'garbage', '[1,', '~', '~[["Unknown",1],2]', '~[["Buffer",0]]', '^', '^AAAA'])
      it(`refuses ${JSON.stringify(text)}`, () => {
        expect(() => decode(text)).to.throw(SerializationError, 'Expected an encoded value, got')
      })
  })

  describe('when it packs', () => {
    const packing = { compress: true, maxPayload: 1_000_000 }
    const long = encode('so on and so forth '.repeat(100))
    const noise = encode(randomBytes(1000).toString('base64'))

    it('deflates a long text, which is decoded like any other', () => {
      for (const value of ['ä€😀'.repeat(1000), [new Map([[1n, 'x'.repeat(2000)]])]]) {
        const packed = pack(encode(value), 'args', packing)
        expect(packed).to.match(/^\^/)
        expect(packed.length).to.be.below(encode(value).length / 10)
        expect(decode(packed)).to.deep.equal(value)
      }
    })

    it('leaves a text as it is that is short, or would not get smaller, or when it is not asked to', () => {
      for (const text of [encode('x'.repeat(1000)), noise]) expect(pack(text, 'args', packing)).to.equal(text)
      expect(pack(long, 'args', { ...packing, compress: false })).to.equal(long)
    })

    it('refuses what takes too many bytes, and says how many', () => {
      const text = encode('€'.repeat(400))
      expect(pack(text, 'args', { ...packing, maxPayload: 1202 })).to.equal(text)
      expect(() => pack(text, 'The result of "add"', { ...packing, maxPayload: 1201 })).to.throw(
        SerializationError,
        'The result of "add" would take 1202 bytes, and maxPayload allows 1201; pass a reference',
      )
    })

    it('counts the bytes that are sent', () => {
      expect(pack(long, 'args', { ...packing, maxPayload: 1000 })).to.have.length.below(1000)
    })
  })

  it('loads devalue only when a value needs it', async () => {
    const script = `
      import { createRequire } from 'node:module'
      import { decode, encode } from ${JSON.stringify(new URL('../../lib/tasks/codec.ts', import.meta.url).href)}
      const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('devalue'))
      decode(encode([{ plain: true }]))
      decode(encode(undefined))
      console.log(loaded())
      decode(encode([1n]))
      console.log(loaded())
    `
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout).to.equal('false\ntrue\n')
  })
})

const run = promisify(execFile)
