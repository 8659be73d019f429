import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Says what time it is for, which its schedule tells it. */
export const chime = defineTask('chime', (bell: string, { date = '' }: { date?: string } = {}) => {
  console.log(`${bell} for ${date}`)
})

/** Takes longer than the pause between two of its times. */
export const clean = defineTask('clean', async () => {
  await sleep(1_500)
})
