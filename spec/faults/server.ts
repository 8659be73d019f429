import { PostgresServer, postgresPrograms } from '../../tools/services/postgres.ts'
import { RabbitmqServer, rabbitmqScripts } from '../../tools/services/rabbitmq.ts'
import { service } from '../services.ts'

let rabbitmq: Promise<RabbitmqServer> | undefined

// For whoever asks in this run: it takes seconds to start.
after(async () => (await rabbitmq?.catch(() => undefined))?.remove())

/** A server of our own, whatever others there are: a spec may kill it and change its users, and leaves it running as it was. */
export function ownServer(): { server: RabbitmqServer } {
  const own = {} as { server: RabbitmqServer }
  before(async function () {
    await needRabbitmq(this)
    rabbitmq ??= startRabbitmq()
    own.server = await rabbitmq
  })
  return own
}

async function startRabbitmq(): Promise<RabbitmqServer> {
  const server = await RabbitmqServer.make()
  await server.start()
  return server
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
