import { createHash, randomBytes, randomFillSync, randomInt, randomUUID } from 'node:crypto'

/**
 * A maker of task ids: UUID v7 as 32 hex digits, so that ids sort by the time they were made. The package behind it is
 * loaded by the first call: importing qcluster loads no package but xstate.
 */
export async function loadIds(): Promise<() => string> {
  const { v7 } = await import('uuid')
  // Randomness costs as much as all else that is done to enqueue, and asking for much of it at once next to nothing.
  const random = new Uint8Array(16 * 256)
  let used = random.length
  let msecs = 0
  let seq = randomInt(2 ** 31)
  return () => {
    if (used === random.length) {
      randomFillSync(random)
      used = 0
    }
    msecs = Math.max(msecs, Date.now())
    seq = (seq + 1) >>> 0
    used += 16
    return v7({ random: random.subarray(used - 16, used), msecs, seq }).replaceAll('-', '')
  }
}

/**
 * The id of a task that several may make of the same cause: it is the same for all of them, and looks like every other.
 * @param at milliseconds since the epoch, by which it sorts among ids
 */
export function derivedId(at: number, ...cause: readonly (string | number)[]): string {
  const time = Math.max(0, at).toString(16).padStart(12, '0')
  const hash = createHash('sha256')
    .update(JSON.stringify([at, ...cause]))
    .digest('hex')
  return `${time}7${hash.slice(0, 3)}8${hash.slice(3, 18)}`
}

/**
 * The id of a task that follows from another one: the same whenever it is made again, and sorted with that one by its time.
 * @param id the other one's id
 * @param what tells it from all else that follows from that one
 */
export function followerId(id: string, ...what: readonly (string | number)[]): string {
  return derivedId(Number.parseInt(id.slice(0, TIME), 16), id, ...what)
}

/** Whether a text is the id of a task: 32 hex digits. */
export function isTaskId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text)
}

/** The id of a piece of an iter; those of one iter sort by their place in it. */
export function pieceId(iter: string, index: number): string {
  const place = index.toString(16).padStart(8, '0')
  return iter.slice(0, TIME) + place + followerId(iter, index).slice(TIME + place.length)
}

/** Hex digits of the time that an id begins with. */
const TIME = 12

/**
 * Whether a text can be the name of something: it fits into a line of a log and shows all that it is. Not so are control
 * characters, line separators, what turns the reading direction, and U+FFFD, which stands where bytes were no UTF-8.
 */
export function isName(value: unknown, longest = 200): value is string {
  return typeof value === 'string' && value.length <= longest && NAME.test(value)
}

const NAME = /^[^\p{C}\p{Zl}\p{Zp}\ufffd]+$/u

/** A new cluster's id: a UUID v4. */
export const newClusterId = (): string => randomUUID()

/** A new process's name, as the reference prints it: `Process-` and 32 hex digits. */
export const processName = (): string => `Process-${randomBytes(16).toString('hex')}`

/**
 * Four words for people in place of a hex digest, such as `freddie-uncle-twenty-ten`: humanhash, as the reference does
 * it. The same digest always gets the same words; different ones may share them, so a name is not an id.
 *
 * @param hexDigest At least 8 hex digits, without dashes.
 */
export function humanName(hexDigest: string): string {
  const bytes = Buffer.from(hexDigest, 'hex')
  if (bytes.length < SEGMENTS || bytes.length * 2 !== hexDigest.length)
    throw new TypeError(`Expected ${SEGMENTS * 2} hex digits or more, an even number, got "${hexDigest}".`)
  return fold(bytes)
    .map((byte) => WORDS[byte])
    .join('-')
}

/**
 * A task's human name: that of its id with the bytes dealt out in turn, like cards, to the four segments. An id begins
 * with the time, so in their own order all ids of one minute would share their first word and half of their second;
 * dealt out, each word has its share of what is random.
 *
 * @param id a task id: 32 hex digits
 */
export function taskName(id: string): string {
  let folded = 0
  for (let at = 0; at < id.length; at += 8) folded ^= Number.parseInt(id.slice(at, at + 8), 16)
  return [24, 16, 8, 0].map((shift) => WORDS[(folded >>> shift) & 0xff]).join('-')
}

/** The known name that is nearest to a word, for a message about one that is not known. */
export function nearestName(word: string, known: readonly string[]): string {
  const distances = known.map((name) => distance(word.toLowerCase(), name.toLowerCase()))
  return known[distances.indexOf(Math.min(...distances))] as string
}

const SEGMENTS = 4

/** Each of the equal segments becomes one byte; the last one takes what the division leaves over. */
function fold(bytes: Buffer): number[] {
  const length = Math.floor(bytes.length / SEGMENTS)
  const last = SEGMENTS - 1
  return Array.from({ length: SEGMENTS }, (_, i) =>
    xor(bytes.subarray(i * length, i === last ? bytes.length : (i + 1) * length)),
  )
}

const xor = (bytes: Buffer): number => bytes.reduce((folded, byte) => folded ^ byte, 0)

/** Levenshtein's: the letters to change, add or leave out to get from one word to the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, n) => n)
  for (const [i, letter] of [...from].entries()) row = nextRow(row, i + 1, letter, to)
  return row[to.length] as number
}

function nextRow(above: readonly number[], first: number, letter: string, to: string): number[] {
  const row = [first]
  for (let j = 0; j < to.length; j++) {
    const changed = (above[j] as number) + (letter === to[j] ? 0 : 1)
    row.push(Math.min((above[j + 1] as number) + 1, (row[j] as number) + 1, changed))
  }
  return row
}

/** The word list of humanhash by Zachary Voase, which is in the public domain. Its order is the encoding. */
export const WORDS: readonly string[] = `
  ack alabama alanine alaska alpha angel apart april arizona arkansas artist asparagus aspen august autumn
  avocado bacon bakerloo batman beer berlin beryllium black blossom blue bluebird bravo bulldog burger
  butter california carbon cardinal carolina carpet cat ceiling charlie chicken coffee cola cold colorado
  comet connecticut crazy cup dakota december delaware delta diet don double early earth east echo edward
  eight eighteen eleven emma enemy equal failed fanta fifteen fillet finch fish five fix floor florida
  football four fourteen foxtrot freddie friend fruit gee georgia glucose golf green grey hamper happy harry
  hawaii helium high hot hotel hydrogen idaho illinois india indigo ink iowa island item jersey jig johnny
  juliet july jupiter kansas kentucky kilo king kitten lactose lake lamp lemon leopard lima lion lithium
  london louisiana low magazine magnesium maine mango march mars maryland massachusetts may mexico michigan
  mike minnesota mirror mississippi missouri mobile mockingbird monkey montana moon mountain muppet music
  nebraska neptune network nevada nine nineteen nitrogen north november nuts october ohio oklahoma one
  orange oranges oregon oscar oven oxygen papa paris pasta pennsylvania pip pizza pluto potato princess
  purple quebec queen quiet red river robert robin romeo rugby sad salami saturn september seven seventeen
  shade sierra single sink six sixteen skylark snake social sodium solar south spaghetti speaker spring
  stairway steak stream summer sweet table tango ten tennessee tennis texas thirteen three timing triple
  twelve twenty two uncle undress uniform uranus utah vegan venus vermont victor video violet virginia
  washington west whiskey white william winner winter wisconsin wolfram wyoming xray yankee yellow zebra
  zulu
`
  .trim()
  .split(/\s+/)
