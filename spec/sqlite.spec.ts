import { existsSync } from 'node:fs'
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import { type Broker, createBroker, type Delivery } from '../lib/brokers/index.ts'
import { thisProcess } from '../lib/directory.ts'
import { BrokerError, StoreError } from '../lib/errors.ts'
import { SqliteFile, type SqliteFileOptions } from '../lib/sqlite.ts'
import { createStore } from '../lib/stores/index.ts'
import {
  eventually,
  Inbox,
  outcomeOf,
  type Peer,
  packageOf,
  peer,
  range,
  rejection,
  taskIds,
} from './contracts/material.ts'
import type { PeerOrder } from './contracts/peer.ts'

const isWindows = process.platform === 'win32'

let folder: string
let owned: (() => unknown)[]

/** Gives each spec a folder, and releases what it owns afterwards, the last first. */
function useFolder(): void {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qc-spec-'))
    owned = []
  })
  afterEach(async () => {
    for (const release of owned.reverse()) await release()
    await rm(folder, { recursive: true })
  })
}

/** Somebody without a right to anything, on Linux and macOS alike. */
const NOBODY = 65_534

/** Does the work as somebody for whom the rights of files count: root may write whatever it likes. */
async function withoutPrivileges<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return work()
  await chown(folder, NOBODY, NOBODY)
  process.seteuid?.(NOBODY)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

describe('an SQLite file', () => {
  useFolder()

  const TABLE = 'create table things (name text primary key not null) strict'

  function fileAt(path: string, given: Partial<SqliteFileOptions> = {}): SqliteFile {
    const options = { path, durability: 'normal', migrations: [TABLE], Failure: StoreError } as const
    const file = new SqliteFile({ ...options, ...given })
    owned.push(() => file.close())
    return file
  }

  async function opened(given: Partial<SqliteFileOptions> = {}): Promise<SqliteFile> {
    const file = fileAt(join(folder, 'things.db'), given)
    await file.connect()
    return file
  }

  /** Another program that has the same file open. */
  function stranger(): DatabaseSync {
    const database = new DatabaseSync(join(folder, 'things.db'))
    owned.push(() => database.close())
    return database
  }

  const add = (file: SqliteFile, name: string | null) =>
    file.write(() => file.run('insert into things values (?)', name))
  const names = (file: SqliteFile) =>
    file.read(() => file.all<{ name: string }>('select name from things').map(({ name }) => name))

  it('is made for its owner alone, in a folder for its owner alone', async () => {
    const path = join(folder, 'data', 'things.db')
    await fileAt(path).connect()
    if (isWindows) return
    expect((await stat(join(folder, 'data'))).mode & 0o777).to.equal(0o700)
    for (const name of await readdir(join(folder, 'data')))
      expect((await stat(join(folder, 'data', name))).mode & 0o777, name).to.equal(0o600)
  })

  it('syncs each commit only where that was asked for', async () => {
    const pragma = (file: SqliteFile) => file.read(() => file.get('pragma synchronous'))
    expect(await pragma(await opened())).to.include({ synchronous: 1 })
    expect(await pragma(await opened({ durability: 'full' }))).to.include({ synchronous: 2 })
  })

  it('is made once when many open it at once', async () => {
    const files = await Promise.all(range(5).map(() => opened()))
    await Promise.all(files.map((file, i) => add(file, `${i}`)))
    expect(await names(files[0] as SqliteFile)).to.have.lengthOf(5)
  })

  it('is migrated from the version that it has', async () => {
    await (await opened()).close()
    const migrated = await opened({ migrations: [TABLE, 'create table others (id integer primary key)'] })
    await migrated.write(() => migrated.run('insert into others values (1)'))
    expect(await migrated.read(() => migrated.get('pragma user_version'))).to.include({ user_version: 2 })
  })

  it('is refused when a newer version made it', async () => {
    const newer = await opened({ migrations: [TABLE, 'create table others (id integer primary key)'] })
    await newer.close()
    const refused = await rejection(opened())
    expect(refused).to.be.instanceOf(StoreError)
    expect(refused.message).to.match(/made by a newer qcluster \(file version 2, this one knows 1\): update/)
  })

  it('is refused when it is something else', async () => {
    await writeFile(join(folder, 'things.db'), 'This is a letter to my aunt. '.repeat(100))
    expect((await rejection(opened())).message).to.match(/not an SQLite database .*: move it away/)
  })

  it('is refused when it is damaged', async () => {
    const file = await opened()
    await add(file, 'a')
    await file.close()
    const bytes = await readFile(join(folder, 'things.db'))
    await writeFile(join(folder, 'things.db'), bytes.fill(0xff, 4096))
    const refused = await rejection(opened().then(names))
    expect(refused.message).to.match(/is damaged \(.*malformed.*\): restore a copy/)
  })

  it('is refused when it cannot be written', async function () {
    if (isWindows) this.skip()
    await (await opened()).close()
    await chmod(join(folder, 'things.db'), 0o444)
    expect((await rejection(withoutPrivileges(opened))).message).to.match(
      /cannot be written \(EACCES\): give this user/,
    )
  })

  it('is refused when its folder cannot be written', async function () {
    if (isWindows) this.skip()
    await chmod(folder, 0o500)
    owned.push(() => chmod(folder, 0o700))
    expect((await rejection(withoutPrivileges(opened))).message).to.match(
      /cannot be written \(EACCES\): give this user/,
    )
  })

  it('is refused when a folder stands in its place', async () => {
    await mkdir(join(folder, 'things.db'))
    expect((await rejection(opened())).message).to.match(/things\.db is a folder: move it away/)
  })

  it('waits for another program without blocking the event loop', async () => {
    const file = await opened()
    const other = stranger()
    other.exec('begin immediate')
    const writing = add(file, 'a')
    await turn()
    await turn() // A wait inside of SQLite would never get here.
    other.exec('rollback')
    await writing
    expect(await names(file)).to.deep.equal(['a'])
  })

  it('says so when another program never lets go, and works again when it does', async () => {
    const file = await opened({ patience: 20 })
    const other = stranger()
    other.exec('begin immediate')
    const refused = await rejection(add(file, 'a'))
    expect(refused.message).to.match(/has been locked by another program for 0.02 s: end what holds/)
    other.exec('rollback')
    await add(file, 'b')
    expect(await names(file)).to.deep.equal(['b'])
  })

  it('waits for no program longer than two seconds when it is closed, and as long as ever when it is opened again', async () => {
    const file = await opened({ patience: 60_000 })
    const other = stranger()
    other.exec('begin immediate')
    const refused = rejection(add(file, 'a'))
    await file.close()
    expect((await refused).message).to.match(/has been locked by another program for 2\b/)
    await file.connect()
    const writing = add(file, 'b')
    await turn()
    other.exec('rollback')
    await writing
    expect(await names(file)).to.deep.equal(['b'])
  })

  it('says so when it was removed, and works with a new one after connecting again', async () => {
    const file = await opened()
    await rename(join(folder, 'things.db'), join(folder, 'gone.db'))
    expect((await rejection(add(file, 'a'))).message).to.match(/was removed or replaced .*: connect again/)
    await rm(join(folder, 'things.db-wal'))
    await rm(join(folder, 'things.db-shm'))
    await file.connect()
    await add(file, 'b')
    expect(await names(file)).to.deep.equal(['b'])
  })

  it('commits together what is written in one turn', async () => {
    const file = await opened()
    const watching = stranger().prepare('pragma data_version')
    const before = Number(watching.get()?.data_version)
    await Promise.all(range(100).map((i) => add(file, `${i}`)))
    expect(Number(watching.get()?.data_version)).to.equal(before + 1)
    expect(await names(file)).to.have.lengthOf(100)
  })

  it('undoes what fails, and nothing else', async () => {
    const file = await opened()
    const results = await Promise.allSettled([
      add(file, 'a'),
      add(file, null),
      add(file, 'a'),
      add(file, 'b'),
    ])
    expect(results.map(({ status }) => status)).to.deep.equal([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
    ])
    expect(await names(file)).to.deep.equal(['a', 'b'])
  })

  it('writes what it was asked to before it closes', async () => {
    const file = await opened()
    void add(file, 'a')
    await file.close()
    expect(await names(await opened())).to.deep.equal(['a'])
  })
})

describe('the SQLite broker', () => {
  useFolder()

  const queue = 'default'
  /** So long that only a doorbell can be what wakes a consumer. */
  const RARELY = { pollInterval: 600_000, leaseTime: 6_000_000 }

  async function open(given: object = {}): Promise<Broker> {
    const broker = await createBroker({ dataDir: folder, ...given })
    owned.push(() => broker.close())
    await broker.connect()
    return broker
  }

  async function consume(broker: Broker, given: { prefetch?: number } = {}) {
    const inbox = new Inbox<Delivery>()
    const lost = Promise.withResolvers<Error>()
    const consumer = await broker.consume({
      queue,
      prefetch: 10,
      onDeliveries: inbox.put,
      onLost: lost.resolve,
      ...given,
    })
    return { consumer, inbox, lost: lost.promise }
  }

  const enqueue = (broker: Broker, ...ids: string[]) =>
    broker.enqueue(ids.map((taskId) => ({ queue, package: packageOf(taskId) })))

  function start(order: PeerOrder): Peer {
    const started = peer(order)
    owned.push(() => started.kill())
    return started
  }

  /** The tables, seen from outside. */
  function tables(): DatabaseSync {
    const database = new DatabaseSync(join(folder, 'queue.db'))
    owned.push(() => database.close())
    return database
  }

  it('is woken by the doorbell when another process enqueues', async () => {
    const { inbox } = await consume(await open(RARELY))
    start({ do: 'enqueue', at: { dataDir: folder }, queue, prefix: 'p', count: 3 })
    expect(await inbox.atLeast(3)).to.have.lengthOf(3)
  })

  it('is woken by the doorbell when another consumer gives something back', async () => {
    const giver = await open(RARELY)
    await enqueue(giver, 'a')
    const { consumer, inbox } = await consume(giver)
    const [delivery] = (await inbox.atLeast(1)) as [Delivery]
    const taker = await consume(await open(RARELY))
    await consumer.stop()
    await consumer.settle([{ type: 'requeue', receipt: delivery.receipt }])
    expect(taskIds(await taker.inbox.atLeast(1))).to.deep.equal(['a'])
  })

  it('finds what no doorbell told it of', async () => {
    const { inbox } = await consume(await open({ pollInterval: 20 }))
    tables().exec(`
      insert into messages (task_id, run, attempt, body) values ('a', 1, 1, '');
      insert into waiting (queue, due, seq, deliveries) values ('${queue}', 0, last_insert_rowid(), 0)`)
    expect(taskIds(await inbox.atLeast(1))).to.deep.equal(['a'])
  })

  it('unlists the doorbell of one who is gone', async () => {
    const broker = await open()
    tables().exec(`insert into leases values (1, '${queue}', '', '', 1, '', 0, '${join(folder, 'nobody')}')`)
    await enqueue(broker, 'a')
    const listed = tables().prepare('select count(*) as count from leases where doorbell is not null')
    await eventually(async () => listed.get()?.count, 0)
  })

  it('gives what a frozen process holds to others after the lease time, and tells it', async function () {
    if (isWindows) this.skip()
    const broker = await open({ leaseTime: 400 })
    await enqueue(broker, 'a')
    const frozen = start({ do: 'hold', at: { dataDir: folder, leaseTime: 400 }, queue, count: 1 })
    await frozen.report()
    frozen.process.kill('SIGSTOP')
    const { inbox, consumer } = await consume(broker)
    const [delivery] = (await inbox.atLeast(1)) as [Delivery]
    expect(delivery).to.include({ taskId: 'a', deliveries: 2 })
    expect(await consumer.settle([{ type: 'ack', receipt: delivery.receipt }])).to.deep.equal({ void: 0 })
    const report = frozen.report()
    frozen.process.kill('SIGCONT')
    expect(await report).to.deep.equal({ type: 'lost', code: 'QCLUSTER_BROKER' })
  })

  it('leaves a process alone that renews its lease', async () => {
    const broker = await open({ leaseTime: 400 })
    await enqueue(broker, 'a')
    const holder = await consume(broker)
    await holder.inbox.atLeast(1)
    const other = await consume(await open({ leaseTime: 400 }))
    await broker.enqueue([{ queue, package: packageOf('later'), delay: 1_200 }])
    await Promise.race([holder.inbox.atLeast(2), other.inbox.atLeast(1)])
    expect(taskIds([...holder.inbox.items, ...other.inbox.items])).to.deep.equal(['a', 'later'])
  })

  it('settles nothing for a lease that was taken over', async () => {
    const broker = await open(RARELY)
    await enqueue(broker, 'a', 'b')
    const { consumer, inbox } = await consume(broker)
    const [a, b] = (await inbox.atLeast(2)) as [Delivery, Delivery]
    tables().exec('update held set lease = 1')
    const settled = await consumer.settle([
      { type: 'ack', receipt: a.receipt },
      { type: 'retry', receipt: b.receipt, package: packageOf('b', { run: 2 }), delay: 0, reason: '' },
    ])
    expect(settled).to.deep.equal({ void: 2 })
    expect(tables().prepare('select count(*) as count from messages').get()).to.include({ count: 2 })
    expect(await broker.queueSize(queue)).to.equal(0)
  })

  it('takes nothing for a lease that was taken over', async () => {
    const broker = await open(RARELY)
    await enqueue(broker, 'a', 'b')
    const { consumer, inbox, lost } = await consume(broker, { prefetch: 1 })
    const [a] = (await inbox.atLeast(1)) as [Delivery]
    tables().exec('delete from leases')
    expect(await consumer.settle([{ type: 'ack', receipt: a.receipt }])).to.deep.equal({ void: 0 })
    expect((await lost).message).to.match(/was given to others, because it showed no sign of life/)
    expect(await broker.queueSize(queue)).to.equal(1)
    expect(inbox.items).to.have.lengthOf(1)
  })

  it('neither loses nor doubles a task when the process that retries it is killed', async () => {
    const broker = await open()
    await enqueue(broker, ...range(20).map((i) => `t${i}`))
    const churner = start({ do: 'churn', at: { dataDir: folder }, queue })
    for (const _ of range(3)) await churner.report()
    await churner.kill()
    const { inbox } = await consume(broker, { prefetch: 100 })
    expect(await inbox.atLeast(20)).to.have.lengthOf(20)
    expect(tables().prepare('select count(*) as count from messages').get()).to.include({ count: 20 })
  })

  it('reports the loss of its file once, and consumes again after connecting again', async () => {
    const broker = await open({ pollInterval: 20, leaseTime: 100 })
    const { lost } = await consume(broker)
    for (const name of await readdir(folder)) await rm(join(folder, name))
    expect(await lost).to.be.instanceOf(BrokerError)
    await broker.connect()
    await enqueue(broker, 'a')
    const { inbox } = await consume(broker)
    expect(taskIds(await inbox.atLeast(1))).to.deep.equal(['a'])
  })

  it('takes over at once what a dead process held, and tells a consumer that was taken for dead', async function () {
    if (process.platform !== 'linux') this.skip()
    const timing = { pollInterval: 20, leaseTime: 1_000 }
    const broker = await open(timing)
    await enqueue(broker, 'a')
    const { inbox, lost } = await consume(broker)
    await inbox.atLeast(1)
    tables().exec(`update leases set started_at = 'before another process got this pid'`)
    const next = await consume(await open(timing))
    expect(taskIds(await next.inbox.atLeast(1))).to.deep.equal(['a'])
    expect(await lost).to.be.instanceOf(BrokerError)
  })

  it('leaves nothing behind when it is closed', async () => {
    const broker = await open()
    await enqueue(broker, 'a')
    const { inbox } = await consume(broker)
    await inbox.atLeast(1)
    const { doorbell } = tables().prepare('select doorbell from leases').get() as { doorbell: string }
    expect(isWindows || existsSync(doorbell)).to.equal(true)
    await broker.close()
    expect(existsSync(doorbell)).to.equal(false)
    expect(tables().prepare('select count(*) as count from leases').get()).to.include({ count: 0 })
  })

  it('names this process in its lease', async () => {
    await consume(await open())
    const { boot, pidNamespace, pid, startedAt } = thisProcess()
    expect(tables().prepare('select * from leases').get()).to.include({
      boot,
      pid,
      pid_namespace: pidNamespace,
      started_at: startedAt,
    })
  })
})

describe('the SQLite store', () => {
  useFolder()

  it('unlists watchers that were killed', async () => {
    const store = await createStore({ dataDir: folder })
    owned.push(() => store.close())
    await store.connect()
    const database = new DatabaseSync(join(folder, 'results.db'))
    owned.push(() => database.close())
    const listed = database.prepare('select count(*) as count from watchers')
    database.exec(`insert into watchers (doorbell) values ('${join(folder, 'nobody')}')`)
    await store.save([outcomeOf('a')])
    await eventually(async () => listed.get()?.count, 0)
  })

  it('leaves nothing behind when it is closed', async () => {
    const store = await createStore({ dataDir: folder })
    await store.connect()
    await store.watch(() => {})
    const database = new DatabaseSync(join(folder, 'results.db'))
    owned.push(() => database.close())
    const { doorbell } = database.prepare('select doorbell from watchers').get() as { doorbell: string }
    await store.close()
    expect(existsSync(doorbell)).to.equal(false)
    expect(database.prepare('select count(*) as count from watchers').get()).to.include({ count: 0 })
  })
})
