import { PostgresServer, postgresPrograms } from '../../tools/services/postgres.ts'
import { RabbitmqServer, rabbitmqScripts } from '../../tools/services/rabbitmq.ts'
import { service } from '../services.ts'

/** A server of our own for a suite, whatever others there are: it may be killed, and its users changed. */
export function ownServer(): { server: RabbitmqServer } {
  const own = {} as { server: RabbitmqServer }
  before(async function () {
    await needRabbitmq(this)
    own.server = await RabbitmqServer.make()
    await own.server.start()
  })
  after(() => own.server?.remove())
  return own
}

/** Where none is installed, the script installs it, or says why it cannot. */
export async function needRabbitmq(context: Mocha.Context): Promise<void> {
  if (!rabbitmqScripts()) await service.call(context, 'rabbitmq')
}

/** The same of PostgreSQL. */
export function ownPostgres(): { server: PostgresServer } {
  const own = {} as { server: PostgresServer }
  before(async function () {
    if (!postgresPrograms()) await service.call(this, 'postgres')
    own.server = await PostgresServer.make()
    await own.server.start()
  })
  after(() => own.server?.remove())
  return own
}
