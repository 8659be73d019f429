/**
 * Measures the codec beside what else could have been chosen: microseconds to write and to read, and characters of text.
 * Run: `node bench/codec.ts`.
 */
import { deserialize, serialize } from 'node:v8'
import { decode, encode, pack } from '../lib/tasks/codec.ts'

const row = (id: number) => ({ id, name: `user ${id}`, mail: `u${id}@example.org`, score: id / 7 })
const rows = Array.from({ length: 100 }, (_, id) => row(id))
const SUBJECTS: Readonly<Record<string, unknown>> = {
  'two numbers': [2, 3],
  'a row': [row(1)],
  'a hundred rows': [rows],
  'a hundred rows with dates': [rows.map((one) => ({ ...one, at: new Date(one.id) }))],
  'a Map of a hundred rows': [new Map(rows.map((one) => [one.id, one]))],
}

interface Way {
  readonly write: (value: unknown) => string
  readonly read: (text: string) => unknown
}

const packing = { compress: true, maxPayload: 16_000_000 }
const WAYS: Readonly<Record<string, Way>> = {
  codec: { write: encode, read: decode },
  'codec, deflated': { write: (value) => pack(encode(value), 'args', packing), read: decode },
  'JSON (loses dates and Maps)': { write: JSON.stringify, read: JSON.parse },
  'v8, as base64': {
    write: (value) => serialize(value).toString('base64'),
    read: (text) => deserialize(Buffer.from(text, 'base64')),
  },
}

/** Microseconds of one call, after some to warm up. */
function microsecondsOf(work: () => unknown): number {
  for (let i = 0; i < 200; i += 1) work()
  const began = process.hrtime.bigint()
  let runs = 0
  while (process.hrtime.bigint() - began < 100_000_000n) for (let i = 0; i < 10; i += 1, runs += 1) work()
  return Number(process.hrtime.bigint() - began) / runs / 1000
}

for (const [subject, value] of Object.entries(SUBJECTS)) {
  const measured = Object.entries(WAYS).map(([way, { write, read }]) => {
    const text = write(value)
    return {
      way,
      'write µs': microsecondsOf(() => write(value)),
      'read µs': microsecondsOf(() => read(text)),
      characters: text.length,
    }
  })
  console.log(subject)
  console.table(
    measured.map((one) => ({
      ...one,
      'write µs': one['write µs'].toFixed(1),
      'read µs': one['read µs'].toFixed(1),
    })),
  )
}
