import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Does nothing: what is measured is everything around it. */
export const noop = defineTask('bench.noop', (_payload: string) => {})

/** When it was to be enqueued, when it was at work, and where. */
export const tiny = defineTask('bench.tiny', (due: number) => ({ due, from: now(), pid: process.pid }))

/** Blocks its process, without keeping a processor from anybody else. */
export const block = defineTask('bench.block', (ms: number) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
  return { to: now(), pid: process.pid }
})

/** Milliseconds of the epoch, with fractions. */
function now(): number {
  return performance.timeOrigin + performance.now()
}

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
