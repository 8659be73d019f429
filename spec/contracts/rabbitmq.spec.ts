import { service } from '../services.ts'
import { describeBroker } from './broker.contract.ts'

describe('over a server', function () {
  this.timeout(30_000)
  let url: string

  before(async function () {
    url = await service.call(this, 'rabbitmq')
  })

  describeBroker('RabbitMQ', async () => ({ options: { broker: url }, remove: async () => {} }))
})
