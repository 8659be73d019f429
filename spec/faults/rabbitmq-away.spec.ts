/** What a RabbitMQ that is away means to those who are there, and to those who come meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, control } from 'qcluster'
import { eventually, range } from '../contracts/material.ts'
import { Line } from './line.ts'
import { ownServer } from './server.ts'

/** As long as in the reference's F9, in milliseconds. Most of it goes by in the other specs. */
const AWAY = 25_000

const add = (client: Client) => asyncTask('math.add', [1, 2], { client })

describe('a RabbitMQ that is away for 25 seconds', function () {
  this.timeout(120_000)
  const own = ownServer()
  const told: string[] = []
  const back = Promise.withResolvers<void>()
  let line: Line
  let hasty: Client
  let survival: Promise<void>
  let since: number

  before(async () => {
    const logger = {
      levels: { fatal: 0, error: 1, warn: 2, info: 3, debug: 4 },
      log: ({ level, message }: { level: string; message: string }) => {
        if (level !== 'info' && level !== 'debug') told.push(`${level} ${message}`)
      },
    }
    line = await Line.toRabbitmq(own.server, { logger, logLevel: 'info' })
    hasty = new Client({ ...line.options, enqueueTimeout: 5 })
    await line.cluster.start()
    await add(hasty).then((task) => task.result({ wait: 60_000 }))
    const { promise: gone, resolve } = Promise.withResolvers<void>()
    survival = line.ledger.survives(200, () => {
      line.wire.hangUp()
      resolve()
      return back.promise
    })
    await Promise.race([gone, survival])
    since = performance.now()
  })
  after(async () => {
    await hasty.close()
    await line.end()
  })

  it('lets no cluster start, and says what to do', async () => {
    const refused = await new Cluster(line.options).start().catch((error) => error)
    expect(refused).to.have.property('exitCode', 3)
    expect(refused.message).to.match(/RabbitMQ at amqp:.* (hangs up|does not answer)/)
  })

  it('refuses a task that it could not take in time, of one who comes and of one who was there', async () => {
    await using newcomer = new Client({ ...line.options, enqueueTimeout: 0.5 })
    for (const client of [newcomer, hasty]) {
      const refused = await line.ledger.note(1_000, client).catch((error) => error)
      expect(refused).to.have.property('code', 'QCLUSTER_BROKER')
      expect(refused.message).to.match(/RabbitMQ at amqp:.* (hangs up|does not answer)/)
    }
  })

  it('F9: is found again by itself, lets wait who can wait, and is not gone on about', async () => {
    const waiting = add(line.client)
    await sleep(since + AWAY - performance.now())
    line.wire.pickUp()
    back.resolve()
    await survival
    for (const task of [await waiting, await add(line.client), await add(hasty)])
      expect(await task.result({ wait: 60_000 })).to.equal(3)
    expect(told.filter((one) => !/^error Process-\w+ lost the broker - /.test(one))).to.deep.equal([])
    expect(told, 'the pusher, and the scheduler if it had something to do').to.have.length.within(1, 2)
    expect(line.cluster.stat.reincarnations).to.equal(0)
  })
})

describe('a RabbitMQ that is away', function () {
  this.timeout(120_000)
  const own = ownServer()
  let line: Line

  beforeEach(async () => {
    line = await Line.toRabbitmq(own.server)
  })
  afterEach(() => line.end())

  it('keeps what was enqueued and delayed when it is killed right after its queue was made', async () => {
    const delays = range(200).map((n) => 0.5 + n * 0.04)
    const { client, ledger } = line
    const tasks = await Promise.all([
      ledger.note(-1),
      ...delays.map((delay, n) => asyncTask('ledger.note', [ledger.file, n], { client, delay })),
    ])
    await own.server.kill()
    await own.server.start()
    await line.cluster.start()
    await ledger.holds(tasks)
  })

  it('is closed in seconds by a client that it does not answer, or that is cut off meanwhile', async () => {
    for (const happens of [() => line.wire.mute(), () => line.wire.cut()]) {
      const leaving = new Client(line.options)
      await add(leaving)
      await control('ping', { client: leaving, patience: 10 })
      const since = performance.now()
      const closed = leaving.close()
      happens()
      await closed
      expect(performance.now() - since).to.be.below(20_000)
      line.wire.unmute()
    }
  })

  it('does not keep a cluster from stopping, and the rest is done by the next one', async () => {
    await line.cluster.start()
    const tasks = await Promise.all(range(800).map((n) => line.ledger.note(n)))
    await line.ledger.atLeast(80)
    line.wire.hangUp()
    await line.isLost()
    await line.cluster.stop()
    line.wire.pickUp()
    line.replace()
    await line.cluster.start()
    await line.ledger.holds(tasks)
  })

  it('runs once what was sent twice, since nobody heard that it was kept the first time', async () => {
    const { ledger, wire } = line
    await ledger.note(0)
    wire.muffle()
    const enqueued = Promise.all(range(50).map((n) => ledger.note(n + 1)))
    await using other = new Client({ ...line.options, broker: own.server.url })
    await eventually(() => other.queueSize(), 51)
    wire.unmuffle()
    wire.cut()
    const tasks = await enqueued
    expect(await other.queueSize(), 'copies and all').to.equal(101)
    await line.cluster.start()
    for (const task of tasks) await task.result({ wait: 60_000 })
    const inFlight = () =>
      other.atBroker(
        async (broker, { settings: { name } }) =>
          (await broker.queueSize(name)) + (await broker.lockSize(name)),
      )
    await eventually(inFlight, 0)
    expect(await ledger.runs()).to.have.length(51)
  })

  it('lets whoever enqueues wait until it is back', async () => {
    line.wire.hangUp()
    const task = add(line.client)
    await eventually(async () => line.wire.refused > 1, true)
    line.wire.pickUp()
    await task
  })
})
