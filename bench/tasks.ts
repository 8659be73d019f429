import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Does nothing: what is measured is everything around it. */
export const noop = defineTask('bench.noop', (_payload: string) => {})

/** Tells how many milliseconds after `due` (of the epoch) it was at work. */
export const tiny = defineTask(
  'bench.tiny',
  (due: number) => performance.timeOrigin + performance.now() - due,
)

/** Blocks its process, without keeping a processor from anybody else. */
export const block = defineTask('bench.block', (ms: number) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
})

/** Takes as long as it is told: one name for tasks that change. */
export const take = defineTask('bench.take', async (ms: number) => {
  if (ms > 0) await sleep(ms)
})

export const fail = defineTask('bench.fail', () => {
  throw new Error('as it should')
})

/** Takes its process with it. */
export const crash = defineTask('bench.crash', () => process.kill(process.pid, 'SIGKILL'))

/** What it takes it keeps. */
export const leak = defineTask('bench.leak', (bytes: number) => {
  leaked.push(Buffer.alloc(bytes, 1))
})
const leaked: Buffer[] = []
