import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Takes its time, so that a worker is seen at work. */
export const brew = defineTask('brew', async (tea: string) => {
  await sleep(300)
  return `a cup of ${tea}`
})
