/**
 * How arguments and results become text. What JSON can say is JSON: readable in any queue browser, and the fastest there
 * is. What it would lose goes through devalue (of the makers of Svelte, MIT, no dependencies, cycles and all). Not
 * superjson, which writes its notes beside the JSON and so walks every value twice; not v8.serialize, whose bytes are no
 * text and which drops an error's own properties. `node bench/codec.ts` measures; on a busy machine, write + read in µs:
 *
 * | value                     | codec       | JSON alone     | v8 as base64 |
 * | ------------------------- | ----------- | -------------- | ------------ |
 * | two numbers               | 0.5 + 0.3   | 0.6 + 0.4      | 101 + 22     |
 * | a hundred rows, 7.6 KB    | 137 + 93    | 68 + 158       | 358 + 442    |
 * | the same with dates       | 971 + 353   | (loses them)   | 235 + 167    |
 */
import { createRequire } from 'node:module'
import { types } from 'node:util'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Settings } from '../config.ts'
import { SerializationError } from '../errors.ts'

/** Marks a text that is not JSON. No JSON text begins with it. */
const RICH = '~'

/** Marks the deflated bytes of any other text, as base64. No JSON text begins with it either. */
const DEFLATED = '^'

/** Below this many characters deflating saves too little for what it costs: 20 to 40 µs. */
const WORTH_DEFLATING = 1024

/** What most tasks return. Worth a text of its own: a worker that meets nothing richer never loads devalue. */
const UNDEFINED = `${RICH}-1`

/** A branch this deep is most likely a cycle, which JSON would follow for ever. */
const DEEPEST_JSON = 200

/**
 * Turns a value into text. Plain JSON stays as it is, and repeated references in it become copies. Anything else is
 * written by devalue: undefined, NaN, -0, BigInt, Date, RegExp, URL, Map, Set, Buffer and typed arrays, holes, cycles,
 * and errors with their name, message, stack, code, cause and own properties.
 *
 * @param name What the value is called in an error's message: `args`, `result`.
 * @throws {SerializationError} when it holds a function, a symbol, a promise, an instance of a class, or a key
 *   `__proto__`; the message names the path to it.
 */
export function encode(value: unknown, name = 'value'): string {
  if (value === undefined) return UNDEFINED
  try {
    return isJson(value, 0) ? JSON.stringify(value) : RICH + devalue().stringify(value, REDUCERS)
  } catch (error) {
    throw refusal(error as Error, name)
  }
}

/**
 * Makes a text of {@link encode} ready to be sent and kept: deflated when `compress` says so, it is long enough and gets
 * smaller by it.
 *
 * @param name What the value is called in an error's message, such as `The result of "math.add"`.
 * @throws {SerializationError} when it still takes more bytes than `maxPayload`.
 */
export function pack(
  text: string,
  name: string,
  { compress, maxPayload }: Pick<Settings, 'compress' | 'maxPayload'>,
): string {
  const packed = compress && text.length >= WORTH_DEFLATING ? deflate(text) : text
  refuseLarge(packed, name, maxPayload)
  return packed
}

/**
 * Turns a text of {@link encode} or {@link pack} into a value again.
 *
 * @throws {SerializationError} when it is no such text.
 */
export function decode(text: string): unknown {
  if (text === UNDEFINED) return undefined
  try {
    if (text.startsWith(DEFLATED)) return decode(inflate(text))
    return text.startsWith(RICH) ? devalue().parse(text.slice(RICH.length), REVIVERS) : JSON.parse(text)
  } catch (error) {
    throw new SerializationError(
      `Expected an encoded value, got ${JSON.stringify(text.slice(0, 60))}: ${(error as Error).message}. Run one version of qcluster on both sides.`,
      { cause: error },
    )
  }
}

/** The fastest level: the next ones win a twentieth of the size for up to five times the time. */
function deflate(text: string): string {
  const deflated = DEFLATED + deflateRawSync(text, { level: 1 }).toString('base64')
  return deflated.length < Buffer.byteLength(text) ? deflated : text
}

function inflate(text: string): string {
  return inflateRawSync(Buffer.from(text.slice(DEFLATED.length), 'base64')).toString()
}

function refuseLarge(text: string, name: string, maxPayload: number): void {
  // No character takes more than three bytes, so most texts need no counting.
  if (text.length * 3 <= maxPayload) return
  const bytes = Buffer.byteLength(text)
  if (bytes > maxPayload)
    throw new SerializationError(
      `${name} would take ${bytes} bytes, and maxPayload allows ${maxPayload}; pass a reference such as a path or an id, or raise maxPayload.`,
    )
}

type Devalue = typeof import('devalue')
let loaded: Devalue | undefined

/**
 * Loaded with the first value that needs it. By `require`, which waits: were it `import()`, an argument could change
 * between a call of `encode` and its being encoded, and its errors would be thrown or rejected by turns.
 */
function devalue(): Devalue {
  loaded ??= createRequire(import.meta.url)('devalue') as Devalue
  return loaded
}

/** Whether JSON gives back exactly what it was given. Everything that it would drop or turn into something else is not. */
function isJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    case 'object':
      return value === null || (depth < DEEPEST_JSON && isJsonObject(value, depth + 1))
    default:
      return false
  }
}

function isJsonObject(value: object, depth: number): boolean {
  const prototype = Object.getPrototypeOf(value)
  if (prototype === Array.prototype) return isJsonArray(value as unknown[], depth)
  return prototype === Object.prototype && isJsonRecord(value as Record<string, unknown>, depth)
}

/** A hole reads as undefined, which is not JSON either. */
function isJsonArray(values: unknown[], depth: number): boolean {
  for (let i = 0; i < values.length; i += 1) if (!isJson(values[i], depth)) return false
  return true
}

/** A `toJSON` of its own is a function, and so no JSON. A key `__proto__` is left to devalue, which refuses it. */
function isJsonRecord(record: Record<string, unknown>, depth: number): boolean {
  for (const key in record) if (!isJson(record[key], depth) || key === '__proto__') return false
  return Object.getOwnPropertySymbols(record).length === 0
}

/** What devalue does not know, or knows otherwise. Each gives something truthy for a value of its kind. */
const REDUCERS = {
  Error: (value: unknown) =>
    isError(value) && { name: value.name, message: value.message, ...ownProperties(value) },
  /** In a list, because the text of an empty one is not truthy. */
  Buffer: (value: unknown) => Buffer.isBuffer(value) && [value.toString('base64')],
  /** devalue writes all the memory behind a view, which may hold what nobody meant to send. */
  Part: (value: unknown) => isPartialView(value) && [copyOfPart(value)],
}

const REVIVERS = {
  Error: (fields: ErrorFields) => reviveError(fields),
  Buffer: ([base64]: [string]) => Buffer.from(base64, 'base64'),
  Part: ([view]: [ArrayBufferView]) => view,
}

type ErrorFields = Record<string, unknown> & { readonly name: string; readonly message: string }

const isError = (value: unknown): value is Error => types.isNativeError(value) || value instanceof Error

/** Also those that enumeration hides: `stack`, `cause`, and the `errors` of an AggregateError. */
const ownProperties = (error: Error): Record<string, unknown> =>
  Object.fromEntries(Object.getOwnPropertyNames(error).map((key) => [key, error[key as keyof Error]]))

const ERROR_CLASSES = new Map<string, ErrorConstructor>(
  [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((type) => [
    type.name,
    type,
  ]),
)

/** An error of a class that is not the language's own becomes an Error of that name. */
function reviveError(fields: ErrorFields): Error {
  const { name, message, ...rest } = fields
  const error = name === 'AggregateError' ? new AggregateError([], message) : newError(name, message)
  if (error.name !== name) define(error, 'name', name)
  for (const [key, value] of Object.entries(rest)) define(error, key, value)
  return error
}

const newError = (name: string, message: string): Error => new (ERROR_CLASSES.get(name) ?? Error)(message)

const HIDDEN = new Set(['name', 'stack', 'cause', 'errors'])

function define(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, {
    value,
    enumerable: !HIDDEN.has(key),
    writable: true,
    configurable: true,
  })
}

type View = NodeJS.TypedArray | DataView

const isPartialView = (value: unknown): value is View =>
  ArrayBuffer.isView(value) && value.byteLength !== value.buffer.byteLength && !Buffer.isBuffer(value)

function copyOfPart(view: View): View {
  if (!(view instanceof DataView)) return view.slice()
  return new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
}

const EXPECTED = 'plain data, Date, Map, Set, BigInt, Buffer, a typed array or an Error'

/** Words what devalue says: its `path` leads to the value that it cannot write. */
function refusal(error: Error & { path?: string; value?: unknown }, name: string): SerializationError {
  if (error.path === undefined) return unreadable(error, name)
  const { what, pass } = describe(error.value)
  return new SerializationError(`${name}${error.path} ${what}; expected ${EXPECTED}; pass ${pass}.`, {
    cause: error,
  })
}

function unreadable(error: Error, name: string): SerializationError {
  const problem = error instanceof RangeError ? 'is nested too deeply' : `cannot be read: ${error.message}`
  return new SerializationError(`${name} ${problem}; pass plain data, or a reference to it such as an id.`, {
    cause: error,
  })
}

interface Description {
  readonly what: string
  readonly pass: string
}

function describe(value: unknown): Description {
  if (typeof value === 'function') return { what: 'is a function', pass: 'the name of a task instead' }
  if (typeof value === 'symbol') return { what: 'is a symbol', pass: 'a string instead' }
  const object = value as Partial<PromiseLike<unknown>> & object
  if (typeof object.then === 'function')
    return { what: 'is a promise', pass: 'what it resolves to: await it first' }
  return isPlain(object) ? describeKeys(object) : describeInstance(object)
}

const isPlain = (value: object): boolean => [Object.prototype, null].includes(Object.getPrototypeOf(value))

function describeKeys(value: object): Description {
  const what = Object.hasOwn(value, '__proto__') ? 'has a key "__proto__"' : 'has keys that are symbols'
  return { what, pass: 'it without them' }
}

function describeInstance(value: object): Description {
  const type = value.constructor?.name || 'a class'
  return { what: `is an instance of ${type}`, pass: 'its data as a plain object, or an id to load it by' }
}
