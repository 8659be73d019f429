import { MemoryTables } from '../../lib/stores/memory.ts'
import { describeSchedules } from './schedules.contract.ts'
import { describeStore, type StorePlace } from './store.contract.ts'

async function makeTables(): Promise<StorePlace> {
  const tables = new MemoryTables()
  await tables.connect()
  return { make: (retention) => tables.store(retention), remove: () => tables.close() }
}

describeStore('memory', makeTables, { ofOneProcess: true })
describeSchedules('memory', makeTables)
