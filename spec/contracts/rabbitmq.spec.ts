import { service } from '../services.ts'
import { describeBroker } from './broker.contract.ts'
import { describeNotices } from './notices.contract.ts'

describe('over a server', function () {
  this.timeout(30_000)
  let url: string

  before(async function () {
    url = await service.call(this, 'rabbitmq')
  })

  const makeBroker = async () => ({ options: { broker: url }, remove: async () => {} })
  describeBroker('RabbitMQ', makeBroker)
  describeNotices('RabbitMQ', makeBroker)
})
