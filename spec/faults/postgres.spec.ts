import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type Options, StoreError } from 'qcluster'
import { PostgresDatabase } from '../../lib/postgres.ts'
import type { PostgresServer } from '../../tools/services/postgres.ts'
import { eventually } from '../contracts/material.ts'
import { ownPostgres } from './server.ts'
import { Wire } from './wire.ts'

const TASKS = [join(import.meta.dirname, '..', 'stories', 'fixtures', 'tasks.mjs')]

/** A query that is not answered in 2 s, not 30, counts as lost. */
const urlAt = (port: number): string => `postgres://postgres@127.0.0.1:${port}/postgres?query_timeout=2000`

describe('a cluster whose PostgreSQL fails', function () {
  this.timeout(120_000)
  const own = ownPostgres()
  let server: PostgresServer
  let wire: Wire
  let folder: string
  let options: Options
  let cluster: Cluster
  let client: Client
  let log: string[]

  beforeEach(async () => {
    server = own.server
    wire = await Wire.to(server.port)
    folder = await mkdtemp(join(tmpdir(), 'qcluster-faults-'))
    log = []
    options = {
      ...{ name: 'faults', tasks: TASKS, workers: 2, dataDir: folder, retry: 0.1, saveLimit: 0 },
      ...{ logLevel: 'silent', store: urlAt(wire.port) },
    }
    cluster = new Cluster(options)
    client = new Client(options)
    cluster.on('store.lost', ({ reason }) => log.push(`lost: ${reason}`))
    cluster.on('store.connected', () => log.push('connected'))
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await wire.close()
    await rm(folder, { recursive: true })
  })

  const ledgerFile = () => join(folder, 'ledger')
  const runs = async (): Promise<number[]> => {
    const text = await readFile(ledgerFile(), 'utf8').catch(() => '')
    return text.split('\n').filter(Boolean).map(Number)
  }

  const note = (n: number) => asyncTask('ledger.note', [ledgerFile(), n] as never[], { client })

  /** Enqueues tasks while something happens; every one that was confirmed is to run once, and to be found in the store. */
  async function ledger(count: number, happens: () => Promise<unknown>): Promise<void> {
    const tasks = await Promise.all(Array.from({ length: count }, (_, n) => note(n)))
    const waiting = tasks.map((task) => task.fetch({ wait: 100_000, final: true }))
    // Who waits sits out what happens now; who comes meanwhile is told of it.
    await Promise.all(waiting.slice(0, count / 10))
    await happens()
    const records = await Promise.all(waiting)
    expect(records.filter((record) => record?.success)).to.have.length(count)
    const all = await runs()
    expect(new Set(all), 'tasks that ran').to.have.property('size', count)
    expect(all, 'runs').to.have.length(count)
    const saved = 'select 1 from public.qcluster_tasks where task_id = any($1)'
    expect(await rowsOf(saved, [tasks.map(({ id }) => id)])).to.equal(count)
  }

  /** How many rows the server itself has, asked beside what is tested: in a place where it sees no tables of ours. */
  async function rowsOf(sql: string, values: readonly unknown[] = []): Promise<number> {
    const elsewhere = `${server.url}?options=${encodeURIComponent('-c search_path=pg_catalog')}`
    const database = new PostgresDatabase({ url: elsewhere, migrations: [] })
    await database.connect()
    const rows = await database.query(sql, values)
    await database.close()
    return rows.length
  }

  it('loses nothing and runs nothing twice when it is killed and comes back', async () => {
    await cluster.start()
    await ledger(800, async () => {
      await server.kill()
      await eventually(async () => log.length > 0, true)
      await server.start()
    })
    expect(log[0]).to.match(/^lost: PostgreSQL at 127\.0\.0\.1:\d+\/postgres cannot be used/)
    expect(log.at(-1)).to.equal('connected')
  })

  it('does not stop for a clean restart', async () => {
    await cluster.start()
    await ledger(800, async () => {
      await server.stop()
      await server.start()
    })
  })

  it('comes back when the network is cut', async () => {
    await cluster.start()
    await ledger(800, async () => wire.cut())
  })

  it('notices a network that says nothing any more', async () => {
    await cluster.start()
    await ledger(800, async () => {
      wire.mute()
      await eventually(async () => log.length > 0, true)
      wire.unmute()
    })
    expect(log[0]).to.include('Query read timeout')
  })

  it('has a monitor that dies meanwhile back, which waits until PostgreSQL is there again', async () => {
    const pids: number[] = []
    cluster.on('monitor.ready', ({ pid }) => pids.push(pid as number))
    await cluster.start()
    await (await note(0)).result({ wait: 20_000 })
    wire.hangUp()
    for (const deaths of [1, 2, 3]) {
      process.kill(pids.at(-1) as number, 'SIGKILL')
      await eventually(async () => pids.length > deaths && log.length >= deaths, true)
    }
    const task = await note(1)
    wire.pickUp()
    expect(await task.fetch({ wait: 60_000, final: true })).to.include({ success: true })
    expect(log.filter((line) => line.includes('PostgreSQL at 127.0.0.1'))).to.have.length(3)
    expect(log.at(-1)).to.equal('connected')
    expect(await runs()).to.deep.equal([0, 1])
  })

  it('wakes whoever waits again after its connections were lost', async () => {
    await cluster.start()
    await (await note(0)).result({ wait: 20_000 })
    wire.cut()
    const waiting = (await note(1)).fetch({ wait: 60_000 })
    expect(await waiting).to.include({ success: true })
    const ears = `select 1 from pg_stat_activity where query = 'listen qcluster_outcomes'`
    await eventually(() => rowsOf(ears), 1)
  })

  it('keeps nobody from leaving while it is away', async () => {
    await cluster.start()
    await (await note(0)).result({ wait: 20_000 })
    await server.kill()
    try {
      await client.close()
      await cluster.stop()
      expect(cluster.exitCode).to.equal(0)
    } finally {
      await server.start()
    }
  })

  it('requeues what it could not save by the end of the grace, and runs it again when it is back', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    cluster = new Cluster({ ...options, grace: 1 })
    cluster.on('store.lost', () => resolve())
    await cluster.start()
    await (await note(0)).result({ wait: 20_000 })
    await server.kill()
    const task = await note(1)
    await promise
    await cluster.stop()
    expect(cluster.exitCode).to.equal(1)
    await server.start()
    cluster = new Cluster(options)
    await cluster.start()
    expect(await task.fetch({ wait: 60_000, final: true })).to.include({ success: true, attempt: 1 })
    expect(await runs()).to.deep.equal([0, 1, 1])
  })

  it('does not start without it, says why, and ends with exit code 3', async () => {
    wire.hangUp()
    const refused = await cluster.start().catch((error: unknown) => error)
    expect(refused).to.be.instanceOf(Error).with.property('message').that.includes('PostgreSQL at 127.0.0.1')
    expect(cluster.exitCode).to.equal(3)
    const asked = await client.outcome('any').catch((error: unknown) => error)
    expect(asked).to.be.instanceOf(StoreError)
  })
})
