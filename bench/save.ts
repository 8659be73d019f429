/**
 * What it costs to save outcomes in the embedded store, with few and with many successes kept, and with and without
 * pruning: `node bench/save.ts`. Processor time, which neighbours on the
 * machine disturb less than they do the clock. The cost must follow from what is saved, not from what is kept.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { humanName, loadIds } from '../lib/names.ts'
import { sqliteStore } from '../lib/stores/sqlite.ts'
import type { Outcome, Retention, Store } from '../lib/stores/store.ts'

const BATCH = 500
const MEASURED = 40_000

const newId = await loadIds()

function outcome(n: number): Outcome {
  const taskId = newId()
  return {
    ...{ taskId, run: 1, attempt: 1, name: humanName(taskId), func: `func ${n % 5}`, args: '[1,2]' },
    ...{ cluster: 'default', enqueuedAt: Date.now(), startedAt: Date.now(), stoppedAt: Date.now() },
    ...{ group: `group ${n % 100}`, success: true, result: '3', fate: 'ack' },
  }
}

async function save(store: Store, count: number): Promise<void> {
  for (let n = 0; n < count; n += BATCH)
    await store.save(Array.from({ length: Math.min(BATCH, count - n) }, (_, i) => outcome(n + i)))
}

/** Microseconds of processor time for one of many outcomes, when as many are kept as are pruned. */
async function costOf(kept: number, retention: Partial<Retention> | undefined): Promise<number> {
  const dataDir = await mkdtemp(join(tmpdir(), 'qc-bench-'))
  const rule = { queue: 'default', limit: kept, per: null, atLeast: 0, ...retention }
  const store = sqliteStore({ dataDir, ...(retention && { retention: rule }) })
  try {
    await store.connect()
    await save(store, kept + 2 * BATCH)
    const before = process.cpuUsage()
    await save(store, MEASURED)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / MEASURED
  } finally {
    await store.close()
    await rm(dataDir, { recursive: true })
  }
}

const rules: [string, Partial<Retention> | undefined][] = [
  ['nothing is pruned', undefined],
  ['saveLimit', {}],
  ['saveLimit per func', { per: 'func' }],
  ['saveLimit per group', { per: 'group' }],
]
console.log('µs per success, in batches of 500      10,000 kept   1,000,000 kept')
for (const [name, rule] of rules) {
  const costs = []
  for (const kept of [10_000, 1_000_000]) {
    const owners = rule?.per === 'func' ? 5 : rule?.per === 'group' ? 100 : 1
    costs.push(await costOf(kept, rule && { ...rule, limit: kept / owners }))
  }
  console.log(name.padEnd(38), ...costs.map((cost) => cost.toFixed(1).padStart(11)))
}
