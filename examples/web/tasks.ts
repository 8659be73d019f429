import { setTimeout as delay } from 'node:timers/promises'
import { currentTask, defineTask } from 'qcluster'

/** Writes a report, page by page, and says how far it is. */
export const report = defineTask({ name: 'report', timeout: 300 }, async (pages: number) => {
  const { progress, signal } = currentTask()
  for (let page = 1; page <= pages; page += 1) {
    progress((page - 1) / pages, `page ${page} of ${pages}`)
    await delay(1_000, undefined, { signal })
  }
  return { pages, words: pages * 250 }
})
