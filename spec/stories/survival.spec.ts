/** What becomes of a cluster whose sentinel is killed, with or without the cluster itself. */
import { expect } from 'chai'
import { asyncTask, Client } from 'qcluster'
import { pause } from '../contracts/material.ts'
import { type Command, ended, processesBelow, Stage, titleOf } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const note = defineTask('ledger.note', async (n) => {
  appendFileSync('ledger', n + '\\n')
  await sleep(5)
})
export const block = defineTask('block', () => {
  appendFileSync('blocked', process.pid + '\\n')
  for (;;);
})`

describe('the processes of a cluster', function () {
  this.timeout(60_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })

  it('are called in ps as what they are, and a worker as what it does, also while that blocks it', async () => {
    const cluster = stage.qcluster('start', '--workers', '1')
    const words = /Q Cluster (\S+) /.exec(await cluster.line(/Q Cluster \S+ \[.*running\./))?.[1]
    const titles = () => processesBelow(cluster.process.pid as number).map(titleOf)
    const roles = ['sentinel', 'worker', 'monitor', 'scheduler', 'pusher']
    expect(titles()).to.have.members(roles.map((role) => `qcluster ${role} ${words}`))
    await using client = new Client({ dataDir: stage.dataDir })
    const { name } = await asyncTask('block', [], { client, taskName: 'a-name-of-some-length' })
    while ((await stage.lines('blocked')).length === 0) await pause()
    expect(titles()).to.include(`qcluster worker ${words} ${name} 'block'`)
  })
})

describe('a cluster whose sentinel is killed', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let client: Client

  beforeEach(() => {
    client = new Client({ dataDir: stage.dataDir })
  })
  afterEach(() => client.close())

  async function started(...flags: string[]): Promise<Command> {
    const cluster = stage.qcluster('start', ...flags)
    await cluster.line(/running\./)
    return cluster
  }

  const sentinelOf = ({ process: { pid } }: Command) => processesBelow(pid as number)[0] as number
  const kill = (pid: number) => process.kill(pid, 'SIGKILL')

  /** The worker that runs a task which blocks it, once there is one. */
  async function blockedWorker(): Promise<number> {
    await asyncTask('block', [], { client })
    while ((await stage.lines('blocked')).length === 0) await pause()
    return Number((await stage.lines('blocked'))[0])
  }

  it('goes on with another one, which finds nothing lost and nothing run twice', async () => {
    const cluster = await started('--workers', '2')
    const old = processesBelow(cluster.process.pid as number)
    const numbers = Array.from({ length: 400 }, (_, n) => n)
    const tasks = await Promise.all(numbers.map((n) => asyncTask('ledger.note', [n], { client })))
    await tasks[20]?.fetch({ wait: 20_000 })
    kill(sentinelOf(cluster))
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 40_000, final: true })))
    expect(records.every((record) => record?.success)).to.equal(true)
    const runs = (await stage.lines('ledger')).map(Number)
    expect(runs.toSorted((a, b) => a - b)).to.deep.equal(numbers)
    expect(cluster.log()).to.match(/CRITICAL reincarnated sentinel Process-\w+ after sudden death/)
    await ended(old)
    const after = await asyncTask('ledger.note', [400], { client })
    expect(await after.fetch({ wait: 20_000 })).to.include({ success: true })
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
  })

  it('kills a blocked worker of the old one when its grace is over, and has its task run again', async () => {
    const cluster = await started('--workers', '1', '--grace', '1')
    const worker = await blockedWorker()
    kill(sentinelOf(cluster))
    expect(await cluster.line(/WARNING .* killed what outlived.*/)).to.match(/ - Process-\w+/)
    await ended([worker])
    while ((await stage.lines('blocked')).length < 2) await pause()
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([1, null])
    expect(cluster.log()).to.match(/Interrupted and requeued 'block'/)
  })

  it('leaves nothing behind where it is killed as well, not even a blocked worker', async () => {
    const cluster = await started('--workers', '1', '--grace', '1')
    const all = processesBelow(cluster.process.pid as number)
    await blockedWorker()
    for (const pid of [cluster.process.pid as number, sentinelOf(cluster)]) kill(pid)
    await ended(all)
  })
})
