import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import type { Broker, ConsumeOptions, Consumer, Delivery, Settlement } from '../../lib/brokers/broker.ts'
import { Intake } from '../../lib/roles/intake.ts'
import { packageOf } from '../contracts/material.ts'

/** A broker whose consumers do as the spec says. */
class FakeBroker {
  readonly consumers: FakeConsumer[] = []
  /** Whether it lets anybody consume. */
  isClosed = false

  async consume(options: ConsumeOptions): Promise<Consumer> {
    if (this.isClosed) throw new Error('no such queue')
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

  setPrefetch(prefetch: number): void {
    this.did += `prefetch ${prefetch} `
  }

  async check(): Promise<void> {
    this.did += 'check '
    throw new Error('gone')
  }

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

  it('tells that it could not be opened, and can be opened once more', async () => {
    broker.isClosed = true
    intake.open(broker as unknown as Broker, 10)
    await turn()
    expect([losses, opened, intake.size]).to.deep.equal([['no such queue'], 0, 0])
    broker.isClosed = false
    await open()
    expect([losses.length, opened, intake.size]).to.deep.equal([1, 1, 1])
  })

  it('is not open where it was closed before the broker let it consume', async () => {
    intake.open(broker as unknown as Broker, 10)
    intake.close()
    await turn()
    expect([opened, intake.size, broker.consumers[0]?.did]).to.deep.equal([0, 0, 'stop '])
  })

  it('has its consumer take as many as was said last, also before that was there', async () => {
    intake.open(broker as unknown as Broker, 10)
    intake.setPrefetch(20)
    await turn()
    expect(broker.consumers[0]?.did).to.match(/^(prefetch 20 )+$/)
    intake.setPrefetch(30)
    await turn()
    expect(broker.consumers[0]?.did).to.match(/ prefetch 30 $/)
  })

  it('has its consumer checked while it is open, and leaves it to the consumer to tell that it is lost', async () => {
    intake.check()
    const consumer = await open()
    intake.check()
    await pause()
    intake.check()
    await turn()
    expect(consumer.did).to.equal('check stop ')
    expect(losses).to.deep.equal([])
  })

  it('tells that a closed consumer was lost while its receipts are out', async () => {
    const first = await open()
    first.deliver(1)
    await pause()
    first.options.onLost(new Error('gone'))
    expect(losses).to.deep.equal(['gone'])
  })
})
