import type { Broker } from './broker.ts'
import type { SqliteBrokerOptions } from './sqlite.ts'

export type * from './broker.ts'

/** What a broker needs to know. */
export type BrokerOptions = SqliteBrokerOptions

/** Makes the broker that the options ask for, loading only what that one needs. Nothing is opened before `connect()`. */
export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const { sqliteBroker } = await import('./sqlite.ts')
  return sqliteBroker(options)
}
