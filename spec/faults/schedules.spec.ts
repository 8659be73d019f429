import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { Client, schedule } from 'qcluster'
import { createBroker } from '../../lib/brokers/index.ts'
import { pause, range } from '../contracts/material.ts'
import { OwnSchema } from '../contracts/schema.ts'
import { service } from '../services.ts'
import { BIN, type Command, Stage } from '../stories/stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { defineTask } from 'qcluster'
export const note = defineTask('note', ({ date }) => appendFileSync('notes', date + '\\n'))`

describe('schedules on machines whose clocks differ, over RabbitMQ and PostgreSQL', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  const clock = pathToFileURL(join(import.meta.dirname, 'fixtures', 'offset-clock.mjs')).href
  let urls: { broker: string; store: string }
  let name: string
  let client: Client
  let schema: OwnSchema

  before(async function () {
    urls = { broker: await service.call(this, 'rabbitmq'), store: await service.call(this, 'postgres') }
  })
  beforeEach(async () => {
    schema = await OwnSchema.make(urls.store)
    name = schema.name
    const { store } = schema.options
    stage.environment = {
      ...process.env,
      QCLUSTER_NAME: name,
      QCLUSTER_BROKER: urls.broker,
      QCLUSTER_STORE: store,
    }
    client = new Client({ name, broker: urls.broker, store, dataDir: stage.dataDir })
  })
  afterEach(async () => {
    await client.close()
    await schema.remove()
    const broker = await createBroker({ broker: urls.broker })
    await broker.connect()
    await broker.deleteQueue(name)
    await broker.close()
  })

  function start(offset: number): Command {
    const env = { ...stage.environment, NODE_OPTIONS: `--import=${clock}`, CLOCK_OFFSET: String(offset) }
    return stage.run([BIN, 'start', '--workers', '1', '--log-level', 'debug'], env)
  }

  async function slots(count: number): Promise<number[]> {
    for (;;) {
      const lines = await stage.lines('notes')
      if (lines.length >= count) return lines.map((line) => Date.parse(line))
      await pause()
    }
  }

  it('lose no slot and save one result for each, also when schedulers are killed', async () => {
    const clusters = [-7_000, 0, 3_000, 11_000].map(start)
    await Promise.all(clusters.map((cluster) => cluster.line(/running\./)))
    await schedule('note', [{}], { client, name: 'tick', cron: '* * * * * *', intendedDateKwarg: 'date' })
    await slots(3)
    for (const cluster of clusters.slice(0, 3)) {
      const [, pid] = /scheduling at (\d+)/.exec(cluster.log()) ?? []
      process.kill(Number(pid), 'SIGKILL')
    }
    await Promise.all(clusters.slice(0, 3).map((cluster) => cluster.line(/reincarnated scheduler/)))
    // As long as it takes to hand over again what one of them may have left.
    await slots((await slots(0)).length + 12)
    for (const cluster of clusters) cluster.process.kill('SIGTERM')
    for (const cluster of clusters) expect(await cluster.exit).to.deep.equal([0, null])

    const log = clusters.map((cluster) => cluster.log()).join('')
    const noted = (await slots(1)).toSorted()
    const first = noted[0] as number
    const distinct = [...new Set(noted)]
    expect(distinct, 'no slot missing').to.deep.equal(range(distinct.length).map((n) => first + n * 1_000))
    const republished = log.match(/published task \w+ of schedule/g) ?? []
    expect(noted.length - distinct.length, 'doubles are counted').to.be.at.most(republished.length)
    const outcomes = await client.atStore((store) => store.list({ group: 'tick' }))
    expect(outcomes.map(({ success }) => success)).to.deep.equal(distinct.map(() => true))
  })
})
