import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import { RabbitmqBus } from '../../lib/brokers/rabbitmq-bus.ts'
import type { Link } from '../../lib/brokers/rabbitmq-link.ts'

type Hear = (message: object | null) => void

/** What a station on the bus sees of a server: two connections, what is heard on the one, and who hears the other. */
class FakeServer {
  readonly heard: Hear[] = []
  readonly listening: FakeChannel[] = []
  readonly speaking: FakeChannel[] = []
  readonly #present: number
  readonly #answers: readonly string[]

  /** Each question gets these answers; so many stations are known. */
  constructor({ present, answers }: { readonly present: number; readonly answers: readonly string[] }) {
    this.#present = present
    this.#answers = answers
  }

  bus(beforeSpeaking = async () => {}, timeout = 10_000): RabbitmqBus {
    return new RabbitmqBus({
      listen: async () => this.#link(this.listening),
      speak: async () => {
        await beforeSpeaking()
        return this.#link(this.speaking)
      },
      held: () => ({ unsettled: 0, consumers: 0 }),
      timeout,
    })
  }

  get present(): number {
    return this.#present
  }

  async answer(correlationId: string): Promise<void> {
    for (const body of this.#answers) {
      await turn()
      this.heard[0]?.({ fields: { exchange: '' }, properties: { correlationId }, content: Buffer.from(body) })
    }
  }

  #link(channels: FakeChannel[]): Link {
    const channel = async () => {
      channels.push(new FakeChannel(this))
      return channels.at(-1)
    }
    return Object.assign(new EventEmitter(), { channel, ended: new Promise(() => {}) }) as unknown as Link
  }
}

class FakeChannel extends EventEmitter {
  isOpen = true
  readonly #server: FakeServer

  constructor(server: FakeServer) {
    super()
    this.#server = server
  }

  async assertExchange(): Promise<void> {}

  async bindQueue(): Promise<void> {}

  async assertQueue(name: string) {
    return { queue: name || 'amq.gen-1' }
  }

  async checkQueue() {
    return { consumerCount: this.#server.present }
  }

  async consume(_queue: string, hear: Hear): Promise<void> {
    this.#server.heard.push(hear)
  }

  publish(_exchange: string, _key: string, _body: Buffer, options: { correlationId: string }): boolean {
    void this.#server.answer(options.correlationId)
    return true
  }

  async close(): Promise<void> {
    this.isOpen = false
    this.emit('close')
  }
}

describe('the bus over RabbitMQ', () => {
  const answers = ['["one"]', '["two"]']

  it('asks no longer than until all have answered', async () => {
    const bus = new FakeServer({ present: 2, answers }).bus()
    expect(await bus.stats()).to.deep.equal(['one', 'two'])
  })

  it('hears all for as long as it asks where nobody knows how many there are', async () => {
    const bus = new FakeServer({ present: 0, answers }).bus()
    expect(await bus.stats()).to.deep.equal(['one', 'two'])
  })

  it('is not misled by answers that are none, for anybody who reaches the server can answer', async () => {
    const stray = ['', 'no JSON', 'null', '7', '{"__proto__":1}', '{"unsettled":"many","consumers":-1}']
    const shown = new FakeServer({ present: 2, answers: [...stray, '[1,"one",null]', '["two"]'] }).bus()
    expect(await shown.stats()).to.deep.equal(['one', 'two'])
    const holding = new FakeServer({ present: 2, answers: [...stray, '{"unsettled":3,"consumers":2}'] }).bus()
    expect(await holding.held('q')).to.equal(3)
  })

  it('leaves no channel open on the connection that lasts when the other one is lost', async () => {
    const server = new FakeServer({ present: 2, answers })
    await server.bus().stats()
    expect(server.speaking.map(({ isOpen }) => isOpen)).to.deep.equal([true])
    await server.listening[0]?.close()
    await turn()
    expect(server.speaking.map(({ isOpen }) => isOpen)).to.deep.equal([false])
  })

  it('says so when it is lost before it has asked', async () => {
    const server = new FakeServer({ present: 2, answers })
    const lose = async () => {
      await server.listening[0]?.close()
      await turn()
    }
    const failure = await server.bus(lose).stats().then(String, String)
    expect(failure).to.include('The channel was closed')
  })

  it('tells who listens that it hears nothing any more when its queue is deleted', async () => {
    const server = new FakeServer({ present: 1, answers })
    const lost: string[] = []
    const onLost = ({ message }: Error) => void lost.push(message)
    await server.bus().onControl({ clusterId: 'c', onOrder: async () => undefined, onLost })
    server.heard[0]?.(null)
    await turn()
    expect(lost).to.deep.equal(['RabbitMQ refuses: its queue was deleted.'])
  })

  it('is counted again when somebody deletes the queue that counts it', async () => {
    const server = new FakeServer({ present: 1, answers })
    await server.bus().stats()
    expect(server.heard).to.have.length(2)
    server.heard[1]?.(null)
    await turn()
    expect(server.heard).to.have.length(3)
  })

  it('waits no longer than it may for a server that opens nothing, and closes what is opened too late', async () => {
    const server = new FakeServer({ present: 1, answers })
    const { promise: late, resolve: open } = Promise.withResolvers<void>()
    const bus = server.bus(() => late, 5)
    const order = { to: 'c', body: '', patience: 60_000, onAnswer: () => true }
    const failure = await bus.control(order).then(String, String)
    expect(failure).to.include('RabbitMQ did not answer within 0.005 seconds')
    open()
    await turn()
    await turn()
    expect(server.speaking.map(({ isOpen }) => isOpen)).to.deep.equal([false])
    await bus.control({ ...order, to: null })
    expect(server.speaking.map(({ isOpen }) => isOpen)).to.deep.equal([false, true])
  })
})
