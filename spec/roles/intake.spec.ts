import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import type { Broker, ConsumeOptions, Consumer, Delivery, Settlement } from '../../lib/brokers/broker.ts'
import { Intake } from '../../lib/roles/intake.ts'
import { packageOf } from '../contracts/material.ts'

/** A broker whose consumers do as the spec says. */
class FakeBroker {
  readonly consumers: FakeConsumer[] = []

  async consume(options: ConsumeOptions): Promise<Consumer> {
    this.consumers.push(new FakeConsumer(options))
    return this.consumers.at(-1) as FakeConsumer
  }
}

class FakeConsumer implements Consumer {
  readonly options: ConsumeOptions
  readonly settled: Settlement[] = []
  did = ''

  constructor(options: ConsumeOptions) {
    this.options = options
  }

  deliver(receipt: number): void {
    this.options.onDeliveries([{ ...packageOf(`task ${receipt}`), deliveries: 1, receipt }])
  }

  setPrefetch(): void {}

  async settle(settlements: readonly Settlement[]): Promise<{ readonly void: number }> {
    this.settled.push(...settlements)
    return { void: 0 }
  }

  async stop(): Promise<void> {
    this.did += 'stop '
  }

  async leave(): Promise<void> {
    this.did += 'leave '
  }
}

describe('the intake of a pusher', () => {
  let broker: FakeBroker
  let taken: Delivery[]
  let losses: string[]
  let opened: number
  let intake: Intake

  beforeEach(() => {
    broker = new FakeBroker()
    taken = []
    losses = []
    opened = 0
    intake = new Intake({
      queue: 'q',
      onDeliveries: (deliveries) => taken.push(...deliveries),
      onOpened: () => {
        opened += 1
      },
      onLost: ({ message }) => losses.push(message),
    })
  })

  async function open(): Promise<FakeConsumer> {
    intake.open(broker as unknown as Broker, 10)
    await turn()
    return broker.consumers.at(-1) as FakeConsumer
  }
  async function pause(): Promise<void> {
    intake.close()
    await turn()
  }
  const settle = (one: number) => {
    const { receipt } = taken[one] as Delivery
    return intake.settle([{ type: 'ack', receipt }])
  }

  it('settles with the consumer that took it, also after a pause', async () => {
    const first = await open()
    first.deliver(1)
    await pause()
    const second = await open()
    second.deliver(2)
    await settle(0)
    await settle(1)
    expect(first.settled).to.deep.equal([{ type: 'ack', receipt: 1 }])
    expect(second.settled).to.deep.equal([{ type: 'ack', receipt: 2 }])
    expect(opened).to.equal(2)
  })

  it('keeps a consumer that is closed until its last receipt is settled, and no longer', async () => {
    const first = await open()
    first.deliver(1)
    await pause()
    await open()
    expect(intake.size).to.equal(2)
    await settle(0)
    expect(intake.size).to.equal(1)
    await pause()
    expect(intake.size).to.equal(0)
  })

  it('lets go of what a closed consumer holds when the open one is lost: all receipts are void', async () => {
    const first = await open()
    first.deliver(1)
    await pause()
    const second = await open()
    second.options.onLost(new Error('gone'))
    await turn()
    expect(losses).to.deep.equal(['gone'])
    expect([first.did, second.did]).to.deep.equal(['stop leave ', ''])
    expect(intake.size).to.equal(0)
    first.options.onLost(new Error('too late'))
    expect(losses, 'told once').to.have.length(1)
  })

  it('tells that a closed consumer was lost while its receipts are out', async () => {
    const first = await open()
    first.deliver(1)
    await pause()
    first.options.onLost(new Error('gone'))
    expect(losses).to.deep.equal(['gone'])
  })
})
