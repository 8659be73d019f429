/** Four clusters and four callers at once, who all want the same. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, fetchGroup } from 'qcluster'
import { createBroker } from '../../lib/brokers/index.ts'
import { eventually, range } from '../contracts/material.ts'
import { OwnSchema } from '../contracts/schema.ts'
import { service } from '../services.ts'
import { hold, note } from './fixtures/racing.ts'

const tasks = [join(import.meta.dirname, 'fixtures', 'racing.ts')]

/** Where clusters meet, and how to leave nothing there. */
interface Place {
  readonly options: { readonly name: string; readonly broker?: string; readonly store?: string }
  remove(): Promise<void>
}

async function onServers(this: Mocha.Context): Promise<Place> {
  const urls = { broker: await service.call(this, 'rabbitmq'), store: await service.call(this, 'postgres') }
  const schema = await OwnSchema.make(urls.store)
  const { name } = schema
  return {
    options: { name, broker: urls.broker, store: schema.options.store },
    async remove() {
      await schema.remove()
      const broker = await createBroker({ broker: urls.broker })
      await broker.connect()
      await broker.deleteQueue(name)
      await broker.close()
    },
  }
}

async function onThisMachine(): Promise<Place> {
  return { options: { name: 'racing' }, remove: async () => {} }
}

for (const [where, makePlace] of [
  ['SQLite', onThisMachine],
  ['RabbitMQ and PostgreSQL', onServers],
] as const)
  describe(`four clusters and four callers on ${where}`, function () {
    this.timeout(90_000)
    let place: Place
    let dataDir: string
    let clusters: Cluster[]
    let clients: Client[]

    before(async function () {
      place = await makePlace.call(this)
      dataDir = await mkdtemp(join(tmpdir(), 'qcluster-racing-'))
      const options = { ...place.options, tasks, dataDir, logLevel: 'silent' as const, secretKey: 'shared' }
      clusters = range(4).map(() => new Cluster({ ...options, workers: 1, scheduler: false }))
      clients = range(4).map(() => new Client(options))
      await Promise.all(clusters.map((cluster) => cluster.start()))
    })
    after(async () => {
      await Promise.all(clusters.map((cluster) => cluster.stop()))
      await Promise.all(clients.map((client) => client.close()))
      await place.remove()
      await rm(dataDir, { recursive: true })
    })

    it('run what is unique within a time once for each key, and all callers get that one', async () => {
      const ledger = join(dataDir, 'ledger')
      const keys = range(25).map(String)
      const handles = await Promise.all(
        clients.flatMap((client, i) =>
          (i % 2 ? keys : keys.toReversed()).map((key) =>
            asyncTask(note, [ledger, key], { client, group: 'race', unique: { key, within: 600 } }),
          ),
        ),
      )
      expect(handles.filter(({ isNew }) => isNew)).to.have.length(25)
      expect(new Set(handles.map(({ id }) => id)).size).to.equal(25)
      await Promise.all(handles.map((task) => task.result({ wait: 60_000 })))
      const noted = (await readFile(ledger, 'utf8')).trim().split('\n')
      expect(noted.toSorted()).to.deep.equal(keys.toSorted())
      const saved = await fetchGroup('race', { client: clients[0] as Client })
      expect(saved.map(({ result }) => result)).to.have.members(keys)
    })

    it('run no second one beside one that waits or runs', async () => {
      const gate = join(dataDir, 'gate')
      const ask = () =>
        Promise.all(clients.map((client) => asyncTask(hold, [gate], { client, unique: true })))
      const [first, again] = [await ask(), await ask()]
      const [one] = first.filter(({ isNew }) => isNew)
      expect([...first, ...again].filter(({ isNew }) => isNew)).to.deep.equal([one])
      await writeFile(gate, '')
      await one?.result({ wait: 60_000 })
      // The key is free a moment after the outcome is there.
      await eventually(async () => (await ask()).some(({ isNew }) => isNew), true)
    })
  })
