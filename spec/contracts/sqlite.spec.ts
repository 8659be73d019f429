import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeBroker } from './broker.contract.ts'
import { describeSchedules } from './schedules.contract.ts'
import { describeStore } from './store.contract.ts'

async function makeDataFolder() {
  const dataDir = await mkdtemp(join(tmpdir(), 'qc-spec-'))
  return { options: { dataDir }, remove: () => rm(dataDir, { recursive: true }) }
}

describeBroker('SQLite', makeDataFolder)
describeStore('SQLite', makeDataFolder)
describeSchedules('SQLite', makeDataFolder)
