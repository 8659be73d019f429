import { randomUUID } from 'node:crypto'
import { createWebSocketReceiver } from '@statelyai/inspect'
import { expect } from 'chai'
import { asyncTask, Client, Stat } from 'qcluster'
import { createBroker } from '../../lib/brokers/index.ts'
import { eventually } from '../contracts/material.ts'
import { Example } from '../examples/example.ts'
import { service } from '../services.ts'
import { ended, killGroup, processesBelow, Stage } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const add = defineTask('math.add', (a, b) => a + b)
/** Names the sentinel that its worker belongs to. */
export const note = defineTask('ledger.note', async (n) => {
  appendFileSync('ledger', n + ' ' + process.ppid + '\\n')
  await sleep(5)
})`

describe('clusters on RabbitMQ', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let url: string
  let name: string
  let client: Client

  before(async function () {
    url = await service.call(this, 'rabbitmq')
  })
  beforeEach(() => {
    name = `story-${randomUUID()}`
    client = new Client({ name, broker: url, dataDir: stage.dataDir })
  })
  afterEach(async () => {
    await client.close()
    const broker = await createBroker({ broker: url })
    await broker.connect()
    await broker.deleteQueue(name)
    await broker.close()
  })

  const args = () => ['--name', name, '--broker', url, '--workers', '2']
  async function start() {
    const cluster = stage.qcluster('start', ...args())
    await cluster.line(/running\./)
    return cluster
  }

  it('run the quickstart', async () => {
    const example = new Example('quickstart', 'main.ts', { AMQP_URL: url })
    try {
      const { code, stdout, stderr, left } = await example.run([import.meta.dirname])
      expect(code, stderr).to.equal(0)
      expect(stdout).to.match(/total of \d+ files/)
      expect(left).to.deep.equal([])
    } finally {
      await example.remove()
    }
  })

  it('are started, given a task and stopped in two terminals', async () => {
    const cluster = await start()
    const enqueue = stage.qcluster('enqueue', 'math.add', '1', '2', '--wait', '--name', name, '--broker', url)
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    expect(enqueue.log()).to.equal('3\n')
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
  })

  it('show the machines of one to an inspector elsewhere, over the bus', async () => {
    const cluster = await start()
    const inspector = stage.qcluster(
      'inspect',
      '--at',
      '0',
      '--name',
      name,
      '--broker',
      url,
      ...(await only()),
    )
    const receiver = createWebSocketReceiver({ server: await inspector.line(/ws:\/\/\S+/) })
    const { promise: seen, resolve } = Promise.withResolvers<void>()
    const left = new Set(['cluster', 'sentinel', 'worker', 'monitor', 'pusher'])
    receiver.subscribe((event) => {
      if (event.type === '@xstate.actor') left.delete((event as { name?: string }).name?.split(' ')[0] ?? '')
      if (left.size === 0) resolve()
    })
    await seen
    for (const command of [inspector, cluster]) {
      command.process.kill('SIGTERM')
      expect(await command.exit, command.log()).to.deep.equal([0, null])
    }
  })

  /** Clusters of other specs may be at the same broker. */
  async function only(): Promise<string[]> {
    const find = async () => (await Stat.getAll({ client })).find(({ queue }) => queue === name)
    await eventually(async () => (await find()) !== undefined, true)
    return ['--cluster', (await find())?.clusterId as string]
  }

  it('show no password, whatever is logged', async () => {
    const cluster = stage.qcluster('start', '--broker', 'amqp://guest:hush@127.0.0.1:1')
    expect(await cluster.exit).to.deep.equal([3, null])
    expect(cluster.log()).to.include('RabbitMQ at amqp://127.0.0.1:1 does not answer')
    expect(cluster.log()).not.to.include('hush')
  })

  it('take over what one of them held that is killed whole', async () => {
    const [first, second] = [await start(), await start()]
    const [victim, survivor] = [first, second].map(({ process: { pid } }) => processesBelow(pid as number))
    const tasks = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) => asyncTask('ledger.note', [n] as never[], { client })),
    )
    const runsOf = async (sentinel?: number) =>
      (await stage.lines('ledger')).filter((line) => line.endsWith(` ${sentinel}`)).length
    await eventually(async () => (await runsOf(victim?.[0])) > 50, true)
    killGroup(first.process.pid as number)
    await ended(victim ?? [])
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 60_000, final: true })))
    expect(records.filter((record) => record?.success)).to.have.length(1_000)
    const runs = (await stage.lines('ledger')).map((line) => Number(line.split(' ')[0]))
    expect(new Set(runs)).to.have.property('size', 1_000)
    expect(await runsOf(survivor?.[0])).to.be.above(0)
    // What the dead one ran and had not saved is run again, by the other.
    console.log(`      ${runs.length - 1_000} of 1000 ran twice`)
  })

  it('move what nobody signed to the dead letters, and run the rest', async () => {
    const broker = await createBroker({ broker: url })
    await broker.connect()
    try {
      await broker.enqueue([{ queue: name, package: { taskId: 'forged', run: 1, attempt: 1, body: 'x' } }])
      const task = await asyncTask('math.add', [1, 2] as never[], { client })
      const cluster = await start()
      expect(await task.result({ wait: 30_000 })).to.equal(3)
      await cluster.line(/has no signature|is truncated/)
      await eventually(async () => (await broker.deadLetters(name)).length, 1)
    } finally {
      await broker.close()
    }
  })
})
