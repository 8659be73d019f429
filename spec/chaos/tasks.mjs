import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'

/** Writes into the ledger when one of its runs begins and when it ends. */
export const note = defineTask('chaos.note', async (ledger, name, ms) => {
  appendFileSync(ledger, `${name} begins\n`)
  await sleep(ms)
  appendFileSync(ledger, `${name} ends\n`)
  return name
})

/** The same for a slot of a schedule, which is told its time. */
export const tick = defineTask('chaos.tick', (ledger, { at }) => {
  appendFileSync(ledger, `slot-${at} begins\nslot-${at} ends\n`)
})
