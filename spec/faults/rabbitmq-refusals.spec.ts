import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { connect } from 'amqplib'
import { expect } from 'chai'
import { type Broker, createBroker, type Delivery } from '../../lib/brokers/index.ts'
import { deadQueue, workQueue } from '../../lib/brokers/rabbitmq-topology.ts'
import { BrokerError } from '../../lib/errors.ts'
import { Inbox, packageOf, rejection } from '../contracts/material.ts'
import { ownServer } from './server.ts'

describe('RabbitMQ, where it refuses', function () {
  this.timeout(60_000)
  const own = ownServer()
  let brokers: Broker[]
  let listening: Server[]
  let queue: string

  beforeEach(() => {
    brokers = []
    listening = []
    queue = `refusals-${randomUUID()}`
  })
  afterEach(async () => {
    for (const broker of brokers) await broker.close()
    for (const server of listening) server.close()
  })

  async function brokerAt(url: string, given: object = {}): Promise<Broker> {
    const broker = await createBroker({ broker: url, enqueueTimeout: 5_000, ...given })
    brokers.push(broker)
    return broker
  }

  /** What connecting there is refused with; the password is in no message. */
  async function refusal(url: string): Promise<string> {
    const broker = await brokerAt(url)
    const error = await rejection(broker.connect())
    expect(error).to.be.instanceOf(BrokerError)
    expect(error.message).not.to.include('hush')
    return error.message
  }

  const at = (login: string, vhost = '', scheme = 'amqp') =>
    `${scheme}://${login}127.0.0.1:${own.server.port}${vhost}`

  async function listen(server: Server): Promise<number> {
    await once(server.listen(0, '127.0.0.1'), 'listening')
    listening.push(server)
    return (server.address() as AddressInfo).port
  }

  /** A queue as somebody else made it, or messages as somebody else sends them. */
  async function asStranger(
    work: (
      channel: Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['createConfirmChannel']>>,
    ) => Promise<unknown>,
  ) {
    const connection = await connect(own.server.url)
    const channel = await connection.createConfirmChannel()
    await work(channel)
    await channel.close()
    await connection.close()
  }

  it('says that user or password is wrong', async () => {
    expect(await refusal(at('guest:hush@'))).to.match(/refuses the user "guest": unknown, wrong password/)
  })

  it('says that there is no such virtual host', async () => {
    expect(await refusal(at('', '/nowhere'))).to.include('has no virtual host "nowhere"')
  })

  it('says what the user may not do, and which permissions are needed', async () => {
    await own.server.control('add_user', 'mute', 'hush')
    await own.server.control('set_permissions', 'mute', '', '', '')
    const broker = await brokerAt(at('mute:hush@'))
    await broker.connect()
    const error = await rejection(broker.enqueue([{ queue, package: packageOf('a') }]))
    expect(error).to.be.instanceOf(BrokerError)
    expect(error.message).to.match(/does not allow it: .*ACCESS_REFUSED.*set_permissions/)
    await own.server.control('delete_user', 'mute')
  })

  it('says that nobody answers at the port', async () => {
    expect(await refusal('amqp://127.0.0.1:1')).to.include(
      'does not answer (connect ECONNREFUSED 127.0.0.1:1)',
    )
  })

  it('tries several servers in turn, and lists what each said', async () => {
    const broker = await createBroker({ broker: ['amqp://127.0.0.1:1', own.server.url] })
    brokers.push(broker)
    await broker.connect()
    const nowhere = await createBroker({ broker: ['amqp://127.0.0.1:1', 'amqp://127.0.0.1:2'] })
    expect((await rejection(nowhere.connect())).message).to.match(
      /None of 2 servers.*127.0.0.1:1.*127.0.0.1:2/s,
    )
  })

  it('says that something else answers', async () => {
    const port = await listen(createHttpServer((_, response) => void response.end()))
    expect(await refusal(`amqp://127.0.0.1:${port}`)).to.match(/not (be RabbitMQ|as RabbitMQ does)/)
  })

  it('says that a port expects TLS', async () => {
    const port = await listen(createTlsServer({}))
    expect(await refusal(`amqp://127.0.0.1:${port}`)).to.include('amqps://')
  })

  it('says that a port does not speak TLS', async () => {
    expect(await refusal(at('', '', 'amqps'))).to.match(/amqp:\/\/|hangs up/)
  })

  it('says which argument of a queue that exists differs, and what to do', async () => {
    await asStranger((channel) => channel.assertQueue(workQueue(queue), { durable: true }))
    const broker = await brokerAt(own.server.url)
    await broker.connect()
    const error = await rejection(broker.enqueue([{ queue, package: packageOf('a') }]))
    expect(error.message).to.match(/exists, but its x-\S+ differs: expected .*, got none\. .*delete_queue/)
    await broker.deleteQueue(queue)
  })

  it('hands on what a stranger sent, whatever its headers, for its signature to be checked', async () => {
    const broker = await brokerAt(own.server.url)
    await broker.connect()
    const inbox = new Inbox<Delivery>()
    const consumer = await broker.consume({ queue, prefetch: 10, onDeliveries: inbox.put, onLost: () => {} })
    await asStranger(async (channel) => {
      const wrong = { 'qcluster-run': 'two', 'qcluster-attempt': { deep: [1] }, 'x-delivery-count': 'many' }
      channel.publish('', workQueue(queue), Buffer.from([0xff, 0xfe, 0]), { headers: wrong })
      channel.publish('', workQueue(queue), Buffer.alloc(0))
      await channel.waitForConfirms()
    })
    const [odd, empty] = (await inbox.atLeast(2)) as [Delivery, Delivery]
    expect(odd).to.include({ taskId: '', run: 0, attempt: 0, deliveries: 1 })
    expect(empty).to.include({ taskId: '', run: 0, body: '' })
    await consumer.settle([
      { type: 'deadLetter', receipt: odd.receipt, package: odd, reason: 'no signature' },
    ])
    expect(await broker.deadLetters(queue)).to.have.length(1)
    await broker.deleteQueue(queue)
  })

  it('lists dead letters that a stranger put there', async () => {
    const broker = await brokerAt(own.server.url)
    await broker.connect()
    await broker.enqueue([{ queue, package: packageOf('a') }])
    await asStranger(async (channel) => {
      channel.publish('', deadQueue(queue), Buffer.from('?'))
      await channel.waitForConfirms()
    })
    expect(await broker.deadLetters(queue)).to.deep.equal([
      { queue, taskId: '', run: 0, attempt: 0, body: '?', reason: 'unknown', diedAt: 0 },
    ])
    await broker.deleteQueue(queue)
  })

  it('carries 20 MB where the server takes them, and says the limit where it does not', async () => {
    const broker = await brokerAt(own.server.url, { enqueueTimeout: 30_000 })
    await broker.connect()
    const large = packageOf('large', { body: 'x'.repeat(20_000_000) })
    const others = Array.from({ length: 20 }, (_, i) =>
      broker.enqueue([{ queue, package: packageOf(`t${i}`) }]),
    )
    const outcome = await broker.enqueue([{ queue, package: large }]).catch((error) => error)
    if (outcome)
      expect(outcome.message).to.match(
        /package of task large is too large for RabbitMQ .*: expected at most \d+ bytes, got 20000000/,
      )
    await Promise.all(others)
    expect(await broker.queueSize(queue)).to.equal(outcome ? 20 : 21)
    await broker.deleteQueue(queue)
  })

  it('refuses a queue name that is too long for AMQP, and a delay that is longer than a year', async () => {
    const broker = await brokerAt(own.server.url)
    await broker.connect()
    const long = await rejection(broker.enqueue([{ queue: '🎉'.repeat(90), package: packageOf('a') }]))
    expect(long.message).to.include('at most 232 bytes, got 360')
    const late = await rejection(
      broker.enqueue([{ queue, package: packageOf('a'), delay: 400 * 86_400_000 }]),
    )
    expect(late.message).to.match(/a delay of at most 398 days, got 400/)
  })
})
