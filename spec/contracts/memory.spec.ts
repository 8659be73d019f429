import { expect } from 'chai'
import type { Delivery } from '../../lib/brokers/broker.ts'
import { MemoryQueues } from '../../lib/brokers/memory.ts'
import { MemoryTables } from '../../lib/stores/memory.ts'
import { TestClock } from '../../lib/testing/clock.ts'
import { type BrokerPlace, describeBroker } from './broker.contract.ts'
import { packageOf, taskIds } from './material.ts'
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

describe('queues in memory', () => {
  it('keep no process once their brokers are closed, and go on when one opens', async () => {
    const clock = new TestClock(0)
    const queues = new MemoryQueues(clock)
    const [one, other] = [queues.broker(), queues.broker()]
    for (const broker of [one, other, other]) await broker.connect()
    await one.enqueue([{ queue: 'q', package: packageOf('a'), delay: 1_000 }])
    await one.close()
    expect(clock.next).to.equal(1_000)
    for (const broker of [other, other]) await broker.close()
    expect(clock.next).to.equal(Infinity)
    await one.connect()
    expect(clock.next).to.equal(1_000)
    const { promise: taken, resolve: take } = Promise.withResolvers<readonly Delivery[]>()
    const consumer = await one.consume({ queue: 'q', prefetch: 1, onDeliveries: take, onLost: () => {} })
    clock.moveTo(1_000)
    expect(taskIds(await taken)).to.deep.equal(['a'])
    await consumer.stop()
    await one.close()
  })
})

describeBroker('memory', makeQueues, { ofOneProcess: true })
describeStore('memory', makeTables, { ofOneProcess: true })
describeSchedules('memory', makeTables)
