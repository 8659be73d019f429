import { mkdir, rename, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import { asyncTask, Client } from 'qcluster'
import { createBroker } from '../../lib/brokers/index.ts'
import { taskName } from '../../lib/names.ts'
import { sealPackage } from '../../lib/package.ts'
import { Signer } from '../../lib/signing.ts'
import { eventually } from '../contracts/material.ts'
import { ended, killGroup, processesBelow, processesOf, Stage } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const write = defineTask('ledger.write', (n) => appendFileSync('ledger', n + '\\n'))
/** Names the sentinel that its worker belongs to. */
export const note = defineTask('ledger.note', async (n) => {
  appendFileSync('ledger', n + ' ' + process.ppid + '\\n')
  await sleep(5)
})
export const die = defineTask({ name: 'die', maxAttempts: 1 }, () => {
  appendFileSync('ledger', 'died\\n')
  process.kill(process.pid, 'SIGKILL')
})`

const PRODUCER = `import { asyncTask, close } from 'qcluster'
const [first, count] = process.argv.slice(1).map(Number)
const numbers = Array.from({ length: count }, (_, n) => first + n)
const tasks = await Promise.all(numbers.map((n) => asyncTask('ledger.write', [n])))
const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 120_000 })))
console.log('saved', records.filter((record) => record.success).length)
await close()`

describe('tasks in the custody of a cluster', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let clients: Client[]

  beforeEach(() => {
    clients = []
  })
  afterEach(async () => {
    for (const one of clients) await one.close()
  })

  function client(): Client {
    const one = new Client({ dataDir: stage.dataDir })
    clients.push(one)
    return one
  }

  async function start(...flags: string[]) {
    const cluster = stage.qcluster('start', '--workers', '2', ...flags)
    await cluster.line(/running\./)
    return cluster
  }

  it('are run once each: 2,000 of them, from three producers', async () => {
    await start()
    const shares = [
      [0, 667],
      [667, 667],
      [1334, 666],
    ]
    const producers = shares.map((share) => stage.script(PRODUCER, ...share.map(String)))
    for (const [i, producer] of producers.entries()) {
      expect(await producer.exit, producer.log()).to.deep.equal([0, null])
      expect(producer.log()).to.equal(`saved ${shares[i]?.[1]}\n`)
    }
    const runs = await stage.lines('ledger')
    expect(runs.map(Number).toSorted((a, b) => a - b)).to.deep.equal(
      Array.from({ length: 2_000 }, (_, n) => n),
    )
  })

  it('are shared by two clusters in one data folder, and taken over when one is killed whole', async () => {
    const [first, second] = [await start(), await start()]
    const sentinels = [first, second].map(({ process: { pid } }) => processesBelow(pid as number)[0])
    const tasks = await Promise.all(
      Array.from({ length: 600 }, (_, n) =>
        asyncTask('ledger.note', [n], { client: clients[0] ?? client() }),
      ),
    )
    await Promise.all([first, second].map((cluster) => cluster.line(/Processed 'ledger.note'/)))
    const below = processesBelow(first.process.pid as number)
    killGroup(first.process.pid as number)
    await ended(below)
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 60_000, final: true })))
    expect(records.every((record) => record?.success)).to.equal(true)
    const runs = (await stage.lines('ledger')).map((line) => line.split(' ').map(Number))
    expect(new Set(runs.map(([n]) => n)).size).to.equal(600)
    expect([...new Set(runs.map(([, sentinel]) => sentinel))]).to.have.members(sentinels as number[])
    // Seen twice is what the killed workers had in hand, or had not yet seen saved: of what their pusher had taken, at most.
    expect(runs.length).to.be.at.most(700)
    second.process.kill('SIGTERM')
    expect(await second.exit).to.deep.equal([0, null])
  })

  it('are judged by the limits of their definition when their worker dies, however they were enqueued', async () => {
    await start()
    const record = await (await asyncTask('die', [], { client: client() })).fetch({
      wait: 60_000,
      final: true,
    })
    expect(record).to.include({ success: false, attempt: 1, final: true })
    expect(await stage.lines('ledger')).to.deep.equal(['died'])
  })

  it('wait while another program holds the store, and are saved when it lets go', async () => {
    const cluster = await start()
    const holder = new DatabaseSync(join(stage.dataDir, 'results.db'), { timeout: 10_000 })
    try {
      holder.exec('begin exclusive')
      const task = await asyncTask('ledger.write', [1], { client: client() })
      expect(await cluster.line(/lost the store.*/)).to.match(
        /results\.db has been locked by another program/,
      )
      holder.exec('rollback')
      expect(await task.fetch({ wait: 60_000 })).to.include({ success: true })
      await cluster.line(/connected to the store again/)
      expect(await stage.lines('ledger')).to.deep.equal(['1'])
    } finally {
      holder.close()
    }
  })

  it('wait for a store that is away, however often the monitor dies meanwhile', async () => {
    // A scheduler would say of itself that it has lost the store.
    const cluster = await start('--no-scheduler')
    const here = (name: string) => join(stage.dataDir, name)
    const files = ['results.db', 'results.db-wal', 'results.db-shm']
    for (const file of files) await rename(here(file), here(`away-${file}`))
    await mkdir(here('results.db'))
    const task = await asyncTask('ledger.write', [1], { client: client() })
    await cluster.line(/lost the store - .*results\.db was removed or replaced/)
    for (const deaths of [1, 2, 3]) {
      const [monitor] = processesOf('monitor', cluster.process.pid as number)
      process.kill(monitor as number, 'SIGKILL')
      await cluster.line(new RegExp(`(lost the store - .*results\\.db is a folder[^]*){${deaths}}`))
    }
    await rmdir(here('results.db'))
    for (const file of files) await rename(here(`away-${file}`), here(file))
    expect(await task.fetch({ wait: 60_000 })).to.include({ success: true })
    expect(cluster.log().match(/reincarnated monitor/g)).to.have.length(3)
    expect(cluster.log().match(/lost the store/g), 'once for each').to.have.length(4)
    expect(await stage.lines('ledger')).to.deep.equal(['1'])
  })

  it('wait while another program holds the queue as the cluster starts', async () => {
    const task = await asyncTask('ledger.write', [1], { client: client() })
    const holder = new DatabaseSync(join(stage.dataDir, 'queue.db'), { timeout: 10_000 })
    try {
      holder.exec('begin exclusive')
      await start()
      holder.exec('rollback')
      expect(await task.fetch({ wait: 60_000 })).to.include({ success: true })
    } finally {
      holder.close()
    }
  })

  const REFUSED = [
    ['that a newer version made', newer, /results\.db was made by a newer qcluster .*: update qcluster/],
    ['that is something else', strange, /results\.db is not an SQLite database .*: move it away/],
    ['in whose place is a folder', folder, /results\.db is a folder: move it away/],
  ] as const
  for (const [what, spoil, words] of REFUSED)
    it(`survive a cluster that cannot start with a store ${what}`, async () => {
      const producer = client()
      const task = await asyncTask('ledger.write', [1], { client: producer })
      await producer.close()
      await spoil(join(stage.dataDir, 'results.db'))
      const refused = stage.qcluster('start', '--workers', '1')
      expect(await refused.exit).to.deep.equal([3, null])
      expect(refused.log()).to.match(words)
      await rename(join(stage.dataDir, 'results.db'), join(stage.folder, 'away'))
      await start()
      expect(await task.fetch({ wait: 60_000 })).to.include({ success: true })
    })

  it('are run whatever strangers put into the queue, which becomes dead letters', async () => {
    const cluster = await start()
    const broker = await createBroker({ dataDir: stage.dataDir })
    await broker.connect()
    try {
      const { secretKey } = await client().settings()
      const header = (digit: string) => {
        const id = digit.repeat(32)
        return { id, run: 1, attempt: 1, name: taskName(id), func: 'ledger.write', enqueuedAt: Date.now() }
      }
      const sealed = (digit: string, key: readonly string[], queue = 'default') =>
        sealPackage(header(digit), '[1]', queue, new Signer(key))
      const whole = sealed('c', secretKey)
      const strangers = [
        ['forged', sealed('a', ['a guess'])],
        ['of another queue', sealed('b', secretKey, 'other')],
        ['cut', { ...whole, body: whole.body.slice(0, 30) }],
        ['foreign', { ...sealed('d', secretKey), body: '{"celery": true}' }],
        ['relabelled', { ...sealed('e', secretKey), taskId: 'f'.repeat(32) }],
      ] as const
      await broker.enqueue(strangers.map(([, one]) => ({ queue: 'default', package: one })))
      const task = await asyncTask('ledger.write', [2], { client: client() })
      expect(await task.fetch({ wait: 60_000 })).to.include({ success: true })
      // Both are a moment later than they are decided.
      await cluster.line(new RegExp(`(ERROR Failed to push task to queue[^]*){${strangers.length}}`))
      await eventually(async () => (await broker.deadLetters('default')).length, strangers.length)
      const dead = await broker.deadLetters('default')
      expect(dead.map(({ body }) => body).toSorted()).to.deep.equal(
        strangers.map(([, { body }]) => body).toSorted(),
      )
      for (const { reason } of dead) expect(cluster.log()).to.include(reason)
      expect(cluster.log().match(/ERROR Failed to push task to queue/g)).to.have.length(strangers.length)
      expect(await stage.lines('ledger')).to.deep.equal(['2'])
    } finally {
      await broker.close()
    }
  })
})

async function newer(path: string): Promise<void> {
  const database = new DatabaseSync(path)
  database.exec('pragma user_version = 99')
  database.close()
}

async function strange(path: string): Promise<void> {
  await writeFile(path, 'This is a letter to my aunt. '.repeat(100))
}

async function folder(path: string): Promise<void> {
  await mkdir(path)
}
