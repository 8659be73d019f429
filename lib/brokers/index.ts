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
