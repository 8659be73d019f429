import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { doublesIn } from './chaos/ledger.ts'
import { allBlows, shuffled } from './chaos/pairs.ts'
import { sweep, tableOf } from './chaos/sweep.ts'

/** The same in each run: what it finds can be found again. A few blows; the whole sweep is `npm run chaos`. */
const SEED = 7

describe('a cluster that is hit in any state of any of its machines', function () {
  this.timeout(240_000)

  before(function () {
    // What a process is doing, and whose it is, is read from /proc.
    if (process.platform !== 'linux') this.skip()
  })

  it('has a blow for every state that can last', () => {
    const states = new Set(allBlows().map(({ state }) => state))
    for (const one of [
      'pusher.running.connected',
      'worker.running.working',
      'sentinel.stopping.stage.stoppingWorkers',
    ])
      expect(states).to.include(one)
    expect(allBlows()).to.have.length(3 * states.size)
  })

  it('tells a run that was cut off from one that had ended and one that was still at it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qx-'))
    const ledger = join(folder, 'ledger')
    const runs = { once: 'be', cut: 'bbe', late: 'bebe', both: 'bbee' }
    const lines = Object.entries(runs).flatMap(([name, steps]) =>
      [...steps].map((step) => `${name} ${step === 'b' ? 'begins' : 'ends'}\n`),
    )
    try {
      await writeFile(ledger, lines)
      expect(doublesIn(ledger)).to.deep.equal({ interrupted: 1, unsettled: 1, beside: 1 })
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('loses nothing, and leaves nothing behind', async () => {
    const trials = await sweep(shuffled(allBlows(), SEED), {
      minutes: Number(process.env.CHAOS_MINUTES ?? 0.12),
      pause: 500,
    })
    const bad = trials.filter(({ faults }) => faults.length > 0)
    expect(bad, `${tableOf(bad)}\n${bad.map(({ log }) => log).join('\n')}`).to.deep.equal([])
    expect(trials.filter(({ reached }) => reached)).not.to.be.empty
  })
})
