import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Takes half a second, and tells who did it. */
export const shrink = defineTask({ name: 'pictures.shrink', timeout: 30 }, async (picture: string) => {
  await sleep(500)
  return `${picture} by process ${process.pid} on ${hostname()}`
})
