import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import { type Broker, createBroker, type Delivery } from '../../lib/brokers/index.ts'
import { Inbox, packageOf } from '../contracts/material.ts'
import { service } from '../services.ts'

/** Milliseconds, from the shortest to the longest that a spec can wait for. */
const DELAYS = [1, 31, 33, 100, 250, 500, 777, 1_000, 1_999, 2_500, 4_000, 6_100]

describe('delays over RabbitMQ', function () {
  this.timeout(90_000)
  let url: string
  let broker: Broker
  let queue: string

  before(async function () {
    url = await service.call(this, 'rabbitmq')
  })
  beforeEach(async () => {
    queue = `delays-${randomUUID()}`
    broker = await createBroker({ broker: url, enqueueTimeout: 30_000 })
    await broker.connect()
    // Makes the ladder, so that its making is not measured.
    await broker.enqueue([{ queue, package: packageOf('first'), delay: 10_000 }])
    await broker.purge(queue)
  })
  afterEach(async () => {
    await broker.close()
    await broker.connect()
    await broker.deleteQueue(queue)
    await broker.close()
  })

  /** Takes what comes; tells how long after the beginning each one came. */
  async function arrivals(): Promise<{ since: (count: number) => Promise<Map<string, number>> }> {
    const began = performance.now()
    const inbox = new Inbox<readonly [string, number]>()
    const { settle } = await consume()
    async function consume() {
      const consumer = await broker.consume({ queue, prefetch: 100, onDeliveries: take, onLost: () => {} })
      return {
        settle: (deliveries: Delivery[]) =>
          consumer.settle(deliveries.map(({ receipt }) => ({ type: 'ack', receipt }))),
      }
    }
    function take(deliveries: Delivery[]) {
      inbox.put(deliveries.map(({ taskId }) => [taskId, performance.now() - began] as const))
      void settle(deliveries)
    }
    return { since: async (count) => new Map(await inbox.atLeast(count)) }
  }

  it('are kept to, the short ones behind long ones too', async () => {
    const { since } = await arrivals()
    const longestFirst = DELAYS.toReversed()
    const before = performance.now()
    await broker.enqueue(longestFirst.map((delay) => ({ queue, package: packageOf(`${delay}`), delay })))
    const took = performance.now() - before
    const came = await since(DELAYS.length)
    for (const delay of DELAYS) {
      const late = (came.get(`${delay}`) as number) - delay
      expect(late, `${delay} ms, never too soon`).to.be.at.least(0)
      // What a loaded machine adds is not the ladder's; head-of-line blocking would be seconds.
      expect(late, `${delay} ms, not much too late`).to.be.below(delay * 0.1 + 1_000 + took)
    }
  })

  it('reach a year, and are counted', async () => {
    const year = 365 * 86_400_000
    await broker.enqueue([{ queue, package: packageOf('a'), delay: year }])
    expect(await broker.queueSize(queue)).to.equal(1)
    expect(await broker.purge(queue)).to.equal(1)
  })
})
