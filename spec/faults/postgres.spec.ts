import { expect } from 'chai'
import { StoreError } from 'qcluster'
import { PostgresDatabase } from '../../lib/postgres.ts'
import type { PostgresServer } from '../../tools/services/postgres.ts'
import { eventually, range } from '../contracts/material.ts'
import { Line } from './line.ts'
import { ownPostgres } from './server.ts'

describe('a cluster whose PostgreSQL fails', function () {
  this.timeout(120_000)
  const own = ownPostgres()
  let server: PostgresServer
  let line: Line

  beforeEach(async () => {
    server = own.server
    line = await Line.toPostgres(server)
  })
  afterEach(() => line.end())

  const firstDone = async () => (await line.ledger.note(0)).result({ wait: 20_000 })

  /** How many rows the server itself has, asked beside what is tested: in a place where it sees no tables of ours. */
  async function rowsOf(sql: string, values: readonly unknown[] = []): Promise<number> {
    const elsewhere = `${server.url}?options=${encodeURIComponent('-c search_path=pg_catalog')}`
    const database = new PostgresDatabase({ url: elsewhere, migrations: [] })
    await database.connect()
    const rows = await database.query(sql, values)
    await database.close()
    return rows.length
  }

  /** Has tasks wait and run while something happens; each of them ends well after one run, and is found in the store. */
  async function survives(count: number, happens: () => Promise<unknown>): Promise<void> {
    const tasks = await Promise.all(range(count).map((n) => line.ledger.note(n)))
    const waiting = tasks.map((task) => task.fetch({ wait: 100_000, final: true }))
    // Who waits sits out what happens now; who comes meanwhile is told of it.
    await Promise.all(waiting.slice(0, count / 10))
    await happens()
    await Promise.all(waiting)
    await line.ledger.holds(tasks)
    const saved = 'select 1 from public.qcluster_tasks where task_id = any($1)'
    expect(await rowsOf(saved, [tasks.map(({ id }) => id)])).to.equal(count)
  }

  it('loses nothing and runs nothing twice when it is killed', async () => {
    await line.cluster.start()
    await survives(800, async () => {
      await server.kill()
      await line.isLost()
      await server.start()
    })
    expect(line.reasons[0]).to.match(/^PostgreSQL at 127\.0\.0\.1:\d+\/postgres cannot be used/)
    expect(line.log.at(-1)).to.equal('connected')
  })

  it('does not stop for a clean restart', async () => {
    await line.cluster.start()
    await survives(500, async () => {
      await server.stop()
      await server.start()
    })
  })

  it('goes on when the network is cut', async () => {
    await line.cluster.start()
    await survives(500, async () => line.wire.cut())
  })

  it('notices a network that says nothing any more', async () => {
    await line.cluster.start()
    await survives(500, async () => {
      line.wire.mute()
      await line.isLost()
      line.wire.unmute()
    })
    expect(line.reasons[0]).to.include('Query read timeout')
  })

  it('has a monitor that dies meanwhile back, which waits until PostgreSQL is there again', async () => {
    const monitors: number[] = []
    line.cluster.on('monitor.ready', ({ pid }) => monitors.push(pid))
    await line.cluster.start()
    await firstDone()
    line.wire.hangUp()
    for (const deaths of [1, 2, 3]) {
      process.kill(monitors.at(-1) as number, 'SIGKILL')
      await eventually(async () => monitors.length > deaths && line.reasons.length >= deaths, true)
    }
    const task = await line.ledger.note(1)
    line.wire.pickUp()
    expect(await task.fetch({ wait: 60_000, final: true })).to.include({ success: true })
    expect(line.reasons.filter((reason) => reason.includes('PostgreSQL at 127.0.0.1'))).to.have.length(3)
    expect(line.log.at(-1)).to.equal('connected')
    expect(await line.ledger.runs()).to.deep.equal([0, 1])
  })

  it('wakes whoever waits again after its connections were lost', async () => {
    await line.cluster.start()
    await firstDone()
    line.wire.cut()
    const waiting = (await line.ledger.note(1)).fetch({ wait: 60_000 })
    expect(await waiting).to.include({ success: true })
    const ears = `select 1 from pg_stat_activity where query = 'listen qcluster_outcomes'`
    await eventually(() => rowsOf(ears), 1)
  })

  it('keeps nobody from leaving while it is away', async () => {
    await line.cluster.start()
    await firstDone()
    await server.kill()
    try {
      await line.client.close()
      await line.cluster.stop()
      expect(line.cluster.exitCode).to.equal(0)
    } finally {
      await server.start()
    }
  })

  it('requeues what it could not save by the end of the grace, and runs it again when it is back', async () => {
    line.replace({ grace: 1 })
    await line.cluster.start()
    await firstDone()
    await server.kill()
    const task = await line.ledger.note(1)
    await line.isLost()
    await line.cluster.stop()
    expect(line.cluster.exitCode).to.equal(1)
    await server.start()
    line.replace()
    await line.cluster.start()
    expect(await task.fetch({ wait: 60_000, final: true })).to.include({ success: true, attempt: 1 })
    expect(await line.ledger.runs()).to.deep.equal([0, 1, 1])
  })

  it('does not start without it, says why, and ends with exit code 3', async () => {
    line.wire.hangUp()
    const refused = await line.cluster.start().catch((error: unknown) => error)
    expect(refused).to.be.instanceOf(Error).with.property('message').that.includes('PostgreSQL at 127.0.0.1')
    expect(line.cluster.exitCode).to.equal(3)
    const asked = await line.client.outcome('any').catch((error: unknown) => error)
    expect(asked).to.be.instanceOf(StoreError)
  })
})
