import type { Settings } from '../config.ts'
import type { Broker } from './broker.ts'
import type { RabbitmqBrokerOptions } from './rabbitmq.ts'
import type { SqliteBrokerOptions } from './sqlite.ts'

export type * from './broker.ts'

/** What a broker needs to know: where RabbitMQ is, or the folder of an embedded one. */
export type BrokerOptions = SqliteBrokerOptions | RabbitmqBrokerOptions

/** Makes the broker that the options ask for, loading only what that one needs. Nothing is opened before `connect()`. */
export async function createBroker(options: BrokerOptions): Promise<Broker> {
  if ('broker' in options) {
    const { rabbitmqBroker } = await import('./rabbitmq.ts')
    return rabbitmqBroker(options)
  }
  const { sqliteBroker } = await import('./sqlite.ts')
  return sqliteBroker(options)
}

/** What of the settings a broker needs. */
export function brokerOptionsOf(settings: Settings): BrokerOptions {
  const { broker, name, enqueueTimeout, dataDir, durability, poll } = settings
  if (broker === null) return { dataDir, durability, pollInterval: poll * 1000 }
  return { broker, enqueueTimeout: enqueueTimeout * 1000, label: `qcluster ${name}` }
}
