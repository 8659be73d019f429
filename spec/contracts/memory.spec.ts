import { MemoryQueues } from '../../lib/brokers/memory.ts'
import { MemoryTables } from '../../lib/stores/memory.ts'
import { type BrokerPlace, describeBroker } from './broker.contract.ts'
import { describeSchedules } from './schedules.contract.ts'
import { describeStore, type StorePlace } from './store.contract.ts'

async function makeTables(): Promise<StorePlace> {
  const tables = new MemoryTables()
  await tables.connect()
  return { make: (retention) => tables.store(retention), remove: () => tables.close() }
}

async function makeQueues(): Promise<BrokerPlace> {
  const queues = new MemoryQueues()
  return { make: () => queues.broker(), remove: async () => {} }
}

describeBroker('memory', makeQueues, { ofOneProcess: true })
describeStore('memory', makeTables, { ofOneProcess: true })
describeSchedules('memory', makeTables)
