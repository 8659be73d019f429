import { EventEmitter, once } from 'node:events'
import type { ConsumeMessage, Message } from 'amqplib'
import { expect } from 'chai'
import type { Delivery } from '../../lib/brokers/broker.ts'
import { RabbitmqConsumer } from '../../lib/brokers/rabbitmq-consumer.ts'
import type { Link } from '../../lib/brokers/rabbitmq-link.ts'

/** A channel whose server has declared everything, and hands out what it is told to. */
class FakeChannel extends EventEmitter {
  /** The tags of what was acknowledged; `≤` before one stands for all up to it. */
  readonly acks: string[] = []
  #hand: (message: ConsumeMessage) => void = () => {}

  assertQueue = async () => {}
  assertExchange = async () => {}
  bindQueue = async () => {}
  checkQueue = async () => {}
  prefetch = async () => {}
  cancel = async () => {}

  async consume(_queue: string, hand: (message: ConsumeMessage) => void) {
    this.#hand = hand
    return { consumerTag: 'one' }
  }

  /** Hands out as many messages, the tags of which begin with 1. */
  handOut(count: number): void {
    for (let deliveryTag = 1; deliveryTag <= count; deliveryTag += 1)
      this.#hand({
        ...{ fields: { deliveryTag }, properties: { headers: {} }, content: Buffer.alloc(0) },
      } as ConsumeMessage)
  }

  ack({ fields }: Message, allUpTo = false): void {
    this.acks.push(`${allUpTo ? '≤' : ''}${fields.deliveryTag}`)
    this.emit('ack')
  }

  async close(): Promise<void> {
    this.emit('close')
  }
}

/** A consumer that has taken so many deliveries, and what it has them from. */
async function consumerOf(count: number) {
  const channel = new FakeChannel()
  const unopened = [channel]
  // All but the first are for declarations, and closed after them.
  const open = async () => unopened.shift() ?? new FakeChannel()
  const link = { channel: open, hold: () => {}, release: () => {}, traits: {} }
  const { promise: taken, resolve } = Promise.withResolvers<readonly Delivery[]>()
  const consumer = await RabbitmqConsumer.open(
    { queue: 'some', prefetch: 10, onDeliveries: resolve, onLost: () => {} },
    { link: link as unknown as Link, publish: async () => {}, opened: () => {}, gone: () => {} },
  )
  channel.handOut(count)
  const deliveries = await taken
  const settle = (...tags: number[]) =>
    consumer.settle(
      tags.map((tag) => ({ type: 'ack', receipt: (deliveries[tag - 1] as Delivery).receipt }) as const),
    )
  return { channel, consumer, settle }
}

describe('the consumer of RabbitMQ', () => {
  it('acknowledges what was settled out of order together with what came before it', async () => {
    const { channel, consumer, settle } = await consumerOf(3)
    await settle(3, 2)
    expect(channel.acks).to.eql([])
    await settle(1)
    expect(channel.acks).to.eql(['≤3'])
    expect(consumer.unsettled).to.equal(0)
  })

  it('does not have it wait for one that takes long', async () => {
    const { channel, consumer, settle } = await consumerOf(3)
    await settle(3, 2)
    await once(channel, 'ack')
    expect(channel.acks).to.eql(['2', '3'])
    expect(consumer.unsettled).to.equal(1)
    await settle(1)
    expect(channel.acks).to.eql(['2', '3', '≤1'])
  })

  it('acknowledges at once what it has when it stops, and what is settled then', async () => {
    const { channel, consumer, settle } = await consumerOf(4)
    await settle(3)
    await consumer.stop()
    expect(channel.acks).to.eql(['3'])
    await settle(4, 2)
    expect(channel.acks).to.eql(['3', '2', '4'])
    const closed = once(channel, 'close')
    await settle(1)
    await closed
    expect(channel.acks.at(-1)).to.equal('≤1')
  })

  it('acknowledges nothing on a channel that is lost', async () => {
    const { channel, consumer, settle } = await consumerOf(2)
    await settle(2)
    await channel.close()
    expect(await settle(1)).to.eql({ void: 1 })
    expect(channel.acks).to.eql([])
    expect(consumer.unsettled).to.equal(0)
  })
})
