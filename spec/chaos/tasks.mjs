import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Writes a line for each of its runs. */
export const note = defineTask('chaos.note', async (ledger, n, ms) => {
  appendFileSync(ledger, `${n}\n`)
  await sleep(ms)
  return n
})
