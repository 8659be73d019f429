import { expect } from 'chai'
import { Client } from '../../lib/client.ts'
import { StoreError } from '../../lib/errors.ts'
import { PostgresDatabase } from '../../lib/postgres.ts'
import { createStore, type Store } from '../../lib/stores/index.ts'
import { service } from '../services.ts'
import { eventually, outcomeOf } from './material.ts'
import { describeSchedules } from './schedules.contract.ts'
import { OwnSchema } from './schema.ts'
import { describeStore } from './store.contract.ts'

let url: string

describe('PostgreSQL', function () {
  this.timeout(30_000)

  before(async function () {
    url = await service.call(this, 'postgres')
  })

  describeStore('PostgreSQL', () => OwnSchema.make(url))
  describeSchedules('PostgreSQL', () => OwnSchema.make(url))

  describe('a PostgreSQL store', () => {
    let place: OwnSchema

    beforeEach(async () => {
      place = await OwnSchema.make(url)
    })
    afterEach(() => place.remove())

    const open = async (store = place.options.store) => {
      const opened = await createStore({ store })
      await opened.connect()
      return opened
    }

    it('opens its connections once, however many connect at the same time', async () => {
      const database = new PostgresDatabase({ url: place.options.store, migrations: [] })
      await Promise.all([database.connect(), database.connect(), database.connect()])
      await database.close()
      const closed = performance.now()
      await eventually(() => place.connections(), 0)
      expect(performance.now() - closed, 'one that nobody closes lasts for ten seconds').to.be.below(5_000)
    })

    const refusalOf = async (store: string) => {
      const closed = await createStore({ store })
      return closed.connect().then(
        () => expect.fail('it was let in'),
        (error: unknown) => error as StoreError,
      )
    }

    it('makes its tables once, however many come at the same time', async () => {
      const stores = await Promise.all(Array.from({ length: 8 }, () => open()))
      await Promise.all(stores.map((store) => store.save([outcomeOf('a')])))
      expect(await stores[0]?.counts()).to.deep.equal({ successes: 1, failures: 0 })
      await Promise.all(stores.map((store) => store.close()))
    })

    it('wakes nobody where those who wait are told otherwise', async () => {
      const [telling, silent] = [await open(), await createStore({ ...place.options, tells: false })]
      await silent.connect()
      const woken: string[] = []
      const told = Promise.withResolvers<void>()
      await telling.watch((taskIds) => {
        woken.push(...taskIds)
        told.resolve()
      })
      await silent.save([outcomeOf('a')])
      await telling.save([outcomeOf('b')])
      await told.promise
      expect(woken).to.deep.equal(['b'])
      await Promise.all([telling.close(), silent.close()])
    })

    it('keeps what has a NUL or half a surrogate pair in it', async () => {
      const store = await open()
      await store.save([outcomeOf('a', { group: 'g\0', name: 'half \ud800', result: '"\\u0000"' })])
      expect(await store.list({})).to.have.lengthOf(1)
      expect(await store.countGroup('g\0')).to.include({ successes: 1 })
      expect(await store.fetchByName('half \ud800')).to.include({ result: '"\\u0000"' })
      await store.close()
    })

    it('keeps a huge result', async () => {
      const store = await open()
      const result = JSON.stringify('x'.repeat(16_000_000))
      await store.save([outcomeOf('a', { result })])
      const [record] = await store.fetch(['a'])
      expect(record?.result === result, 'the same text').to.equal(true)
      await store.close()
    })

    it('is right when two clusters save the same tasks at once', async () => {
      const [one, other] = [await open(), await open()]
      const ids = Array.from({ length: 300 }, (_, i) => `t${i}`)
      const failed = { success: false, fate: 'retry' } as const
      await Promise.all([
        one.save(ids.map((id) => outcomeOf(id, { run: 2 }))),
        other.save(ids.toReversed().map((id) => outcomeOf(id, failed))),
      ])
      expect(await one.counts()).to.deep.equal({ successes: 300, failures: 0 })
      await Promise.all([one.close(), other.close()])
    })

    it('refuses tables that a newer version has made', async () => {
      await (await open()).close()
      const server = new PostgresDatabase({ url: place.options.store, migrations: [] })
      const error = await server.connect().catch((refused: unknown) => refused)
      expect(error).to.be.instanceOf(StoreError).with.property('message').that.includes('newer qcluster')
      await server.close()
    })

    it('says what is wrong with an address, and never a password', async () => {
      const nobody = await refusalOf(`${url.replace(/:\d+\//, ':1/')}`.replace('@', ':s3cret@'))
      expect(nobody.message).to.include('Nobody listens there').and.not.to.include('s3cret')
      const unknown = await refusalOf(url.replace(/\/[^/]*$/, '/nowhere'))
      expect(unknown.message).to.include('There is no such database')
      expect(unknown.exitCode).to.equal(3)
    })

    it('goes on after its connections were cut', async () => {
      const store = await open()
      const heard = new Set<string>()
      await store.watch((ids) => {
        for (const id of ids) heard.add(id)
      })
      await place.cut()
      await store.save([outcomeOf('a')])
      for (let i = 0; heard.size === 0; i++) await store.save([outcomeOf(`t${i}`)])
      await store.close()
    })
  })
})

describe('PostgreSQL behind a PgBouncer in transaction mode', function () {
  this.timeout(30_000)
  let pool: string
  let stores: Store[]

  before(async function () {
    pool = await service.call(this, 'pgbouncer')
  })
  beforeEach(() => {
    stores = []
  })
  afterEach(() => Promise.all(stores.map((store) => store.close())))

  const open = async () => {
    const store = await createStore({
      store: pool,
      retention: { queue: 'default', limit: 0, per: null, atLeast: 0 },
    })
    stores.push(store)
    await store.connect()
    return store
  }

  it('makes its tables once, however many come at the same time', async () => {
    await Promise.all(Array.from({ length: 6 }, open))
  })

  it('keeps, finds and counts what many save at once over two connections', async () => {
    const opened = await Promise.all(Array.from({ length: 6 }, open))
    const prefix = `p${process.pid}-${Date.now()}`
    const group = `group of ${prefix}`
    const ids = Array.from({ length: 300 }, (_, i) => `${prefix}-${i}`)
    await Promise.all(ids.map((id, i) => opened[i % 6]?.save([outcomeOf(id, { group })])))
    const found = await Promise.all(opened.map((store) => store.fetch(ids)))
    expect(found.map(({ length }) => length)).to.deep.equal(Array(6).fill(300))
    expect(await opened[0]?.countGroup(group)).to.include({ successes: 300 })
    expect(await opened[0]?.deleteGroup(group, true)).to.equal(300)
  })

  it('lets a caller wait for a result although no notification comes through', async () => {
    const [store, caller] = [await open(), new Client({ store: pool })]
    const id = `${process.pid}${Date.now()}`.padStart(32, '0')
    try {
      const waiting = caller.outcome(id, { wait: 20_000 })
      await store.save([outcomeOf(id)])
      expect(await waiting).to.include({ taskId: id, success: true })
      await store.delete([id])
    } finally {
      await caller.close()
    }
  })
})
