import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type Options, result, resultGroup, type Task } from 'qcluster'
import { createBroker } from '../../lib/brokers/index.ts'
import type { Settings } from '../../lib/config.ts'
import { createStore, storeOptionsOf } from '../../lib/stores/index.ts'
import type { Store } from '../../lib/stores/store.ts'
import { service } from '../services.ts'

const TASKS = [join(import.meta.dirname, 'fixtures', 'tasks.mjs')]

/** Long enough for whoever looks again and again to be seen to do so. */
const NAP = 2_500

for (const kind of ['SQLite', 'PostgreSQL behind a PgBouncer in transaction mode'])
  describe(`results over RabbitMQ to whoever waits, kept in ${kind}`, function () {
    this.timeout(60_000)
    let options: Options
    let cluster: Cluster
    let client: Client
    let looks: number

    before(async function () {
      const broker = await service.call(this, 'rabbitmq')
      const store = kind === 'SQLite' ? {} : { store: await service.call(this, 'pgbouncer') }
      const dataDir = await mkdtemp(join(tmpdir(), 'qcluster-results-'))
      options = { name: `results-${randomUUID()}`, broker, ...store, dataDir, tasks: TASKS, workers: 2 }
      cluster = new Cluster({ ...options, retry: 0.1, logLevel: 'silent' })
      await cluster.start()
    })
    after(async () => {
      await cluster?.stop()
      const broker = await createBroker({ broker: options.broker as string })
      await broker.connect()
      await broker.deleteQueue(options.name as string)
      await broker.close()
      await rm(options.dataDir as string, { recursive: true })
    })
    beforeEach(() => {
      looks = 0
      client = new Client(options, { makeStore })
    })
    afterEach(() => client.close())

    /** Counts how often it is looked for outcomes. */
    async function makeStore(settings: Settings): Promise<Store> {
      const store = await createStore(storeOptionsOf(settings))
      const fetch = store.fetch.bind(store)
      store.fetch = (ids) => {
        looks += 1
        return fetch(ids)
      }
      return store
    }

    const enqueue = (name: string, args: unknown[], group?: string): Promise<Task> =>
      asyncTask(name, args, { client, ...(group !== undefined && { group }) })

    /** A client begins to listen when it first waits; then it is brought what it has just enqueued. */
    async function listen(): Promise<void> {
      await (await enqueue('math.add', [1, 1])).result({ wait: 20_000 })
      do {
        looks = 0
        await (await enqueue('clock', [300])).result({ wait: 20_000 })
      } while (looks > 0)
    }

    it('come without a look into the store', async () => {
      await listen()
      const task = await enqueue('clock', [NAP])
      await task.result({ wait: 20_000 })
      expect(looks).to.equal(0)
    })

    it('answers thousands who wait at once', async () => {
      await listen()
      const tasks = await Promise.all(Array.from({ length: 2_000 }, (_, n) => enqueue('math.add', [n, 1])))
      const sums = await Promise.all(tasks.map((task) => task.result({ wait: 50_000 })))
      expect(sums).to.deep.equal(Array.from({ length: 2_000 }, (_, n) => n + 1))
      expect(looks).to.be.below(100)
    })

    it('tells another client, and one that waits for a group', async () => {
      await using other = new Client(options)
      const group = randomUUID()
      const tasks = await Promise.all([1, 2, 3].map((n) => enqueue('math.add', [n, n], group)))
      const sums = resultGroup<number>(group, { client: other, count: 3, wait: 20_000 })
      const byId = result(tasks[0]?.id as string, { client: other, wait: 20_000 })
      expect((await sums).toSorted()).to.deep.equal([2, 4, 6])
      expect(await byId).to.equal(2)
    })

    it('runs on when whoever waited is gone', async () => {
      const waiting = new Client(options)
      await asyncTask('math.add', [1, 1], { client: waiting }).then((task) => task.result({ wait: 20_000 }))
      const task = await asyncTask('clock', [500], { client: waiting })
      await waiting.close()
      expect(await result(task.id, { client, wait: 20_000 })).to.be.a('number')
    })
  })
