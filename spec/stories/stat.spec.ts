/** What is seen of clusters from outside, with real forks and commands as in terminals. */
import { expect } from 'chai'
import { control } from '../../lib/control.ts'
import { asyncTask, Client, Stat } from '../../lib/index.ts'
import { pause } from '../contracts/material.ts'
import { BIN, type Command, ended, killGroup, processesBelow, Stage } from './stage.ts'

/** Those that take a while take it until the file "go" is there. */
const TASKS = `import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const add = defineTask('add', (a, b) => a + b)
export const fail = defineTask({ name: 'fail', maxAttempts: 1 }, () => { throw new Error('no') })
export const slow = defineTask('slow', async () => {
  while (!existsSync('go')) await sleep(20)
})
export const block = defineTask('block', () => {
  while (!existsSync('go'));
})`

describe('clusters seen from outside', function () {
  this.timeout(180_000)
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

  /** Looks until the clusters are as wanted: each look waits for the broker, so that others get their turn. */
  async function seen(isWanted: (stats: readonly Stat[]) => boolean): Promise<Stat[]> {
    for (;;) {
      const stats = await Stat.getAll({ client })
      if (isWanted(stats)) return stats
    }
  }

  async function seenOne(isWanted: (stat: Stat) => boolean): Promise<Stat> {
    const stats = await seen((all) => all.some(isWanted))
    return stats.find(isWanted) as Stat
  }

  const tasksOf = ({ processes }: Stat) => processes.flatMap(({ tasks }) => tasks)
  const enqueue = (...args: string[]) => stage.qcluster('enqueue', ...args)

  it('are Working while a worker is busy and nothing waits, and show what it runs', async () => {
    await started('--workers', '2')
    const wait = enqueue('slow', '--wait')
    const stat = await seenOne((one) => tasksOf(one).length > 0)
    expect(stat).to.include({ status: 'Working', taskQueueSize: 0, workerCount: 2 })
    expect(tasksOf(stat)[0]).to.include({ func: 'slow', attempt: 1 })
    await stage.write('go', '')
    await wait.exit
    await seenOne(({ status }) => status === 'Idle')
  })

  it('show the task of a worker whose event loop is blocked, and since when', async () => {
    await started('--workers', '1')
    const before = Date.now()
    const wait = enqueue('block', '--wait')
    const stat = await seenOne((one) => tasksOf(one).length > 0)
    const worker = stat.processes.find(({ role }) => role === 'worker')
    expect(worker).to.include({ state: 'running.working' })
    expect(worker?.rss, 'it cannot say so itself').to.be.above(10_000_000)
    const [task] = worker?.tasks ?? []
    expect(task?.func).to.equal('block')
    expect(task?.startedAt).to.be.within(before, Date.now())
    expect(stat.status).to.equal('Working')
    await seenOne(({ processes }) => processes.some(({ role, blocked }) => role === 'worker' && blocked))
    const info = stage.qcluster('info')
    await info.exit
    expect(info.log()).to.match(/worker-1 +\d+ +running\.working, blocked/)
    await stage.write('go', '')
    await wait.exit
    await seenOne(({ processes }) => processes.every(({ blocked }) => !blocked))
  })

  it('are gone within 5 seconds when all their processes are killed', async () => {
    const cluster = await started('--workers', '1')
    await seen((stats) => stats.length === 1)
    const pids = processesBelow(cluster.process.pid as number)
    killGroup(cluster.process.pid as number)
    const killedAt = performance.now()
    await ended(pids)
    await seen((stats) => stats.length === 0)
    expect(performance.now() - killedAt).to.be.below(5_000)
  })

  it('are both listed where two share a folder, and the second one says so', async () => {
    const first = await started('--workers', '1')
    await seen((stats) => stats.length === 1)
    const second = await started('--workers', '1')
    const [one, other] = await seen((stats) => stats.length === 2)
    expect([one?.pid, other?.pid]).to.deep.equal([first.process.pid, second.process.pid])
    expect(await second.line(/shares its queue with [\w-]+\./)).to.include(one?.name)
    expect(first.log()).to.not.include('shares')
    expect(await Stat.get(other?.clusterId as string, { client })).to.include({ pid: second.process.pid })
  })

  it('say so where their keys differ, for neither can take what is enqueued for the other', async () => {
    await started('--workers', '1')
    await seen((stats) => stats.length === 1)
    const env = { ...process.env, QCLUSTER_SECRET_KEY: 'a key of its own' }
    const stranger = stage.run([BIN, 'start', '--workers', '1'], env)
    await stranger.line(
      /WARNING .*shares its queue with 1 cluster that cannot be trusted.*the same secretKey/,
    )
    expect(stranger.log()).to.not.match(/shares its queue with [\w-]+\./)
  })

  it('say nothing of each other where they serve other queues', async () => {
    await started('--workers', '1')
    await seen((stats) => stats.length === 1)
    const other = await started('--workers', '1', '--name', 'other')
    await seen((stats) => stats.length === 2)
    other.process.kill('SIGTERM')
    await other.exit
    expect(other.log()).to.not.include('shares')
  })

  it('count what became of tasks', async () => {
    await started('--workers', '1')
    for (const args of [['add', '1', '2'], ['add', '1', '2'], ['fail']]) await enqueue(...args, '--wait').exit
    const { counters } = await seenOne(({ counters: { failed = 0 } }) => failed > 0)
    expect(counters).to.include({ succeeded: 2, failed: 1 })
  })

  it('tell where a task is, from its queue to its outcome', async () => {
    const task = await asyncTask('slow', [], { client })
    expect(await task.state()).to.equal('queued')
    await started('--workers', '1')
    while ((await task.state()) === 'queued') await pause()
    expect(await task.state()).to.equal('running')
    const show = stage.qcluster('tasks', 'show', task.id)
    expect([await show.exit, show.log()]).to.satisfy(
      ([[code], log]: [[number], string]) => code === 0 && /^state +running$/m.test(log),
    )
    await stage.write('go', '')
    await task.result()
    expect(await task.state()).to.equal('success')
  })

  describe('and steered', () => {
    const order = async (...args: string[]) => {
      const command = stage.qcluster('control', ...args)
      const [code] = await command.exit
      return { code, log: command.log() }
    }

    it('carry out each order and answer it', async () => {
      const clusters = [await started('--workers', '1'), await started('--workers', '1', '--name', 'other')]
      const [one, other] = await seen((stats) => stats.length === 2)
      const id = one?.clusterId as string
      const both = (words: string) => new RegExp(`^(\\S+ \\S+ {2}${words}\n){2}$`)

      expect((await order('ping', '--all')).log).to.match(
        /^(\S+ \S+ {2}status Idle, queue (default|other).*\n){2}$/,
      )
      expect(await order('pause', '--cluster', id)).to.deep.equal({
        code: 0,
        log: `${one?.name} ${id}  paused\n`,
      })
      const states = (await seen((stats) => stats[0]?.status === 'Paused')).map(({ status }) => status)
      expect(states).to.deep.equal(['Paused', 'Idle'])
      expect(await order('resume', '--all')).to.satisfy(
        ({ code, log }: { code: number; log: string }) => code === 0 && both('resumed').test(log),
      )
      await seen((stats) => stats.every(({ status }) => status === 'Idle'))

      expect((await order('scale', '2', '--all')).log).to.match(both('scaled to 2'))
      await seen((stats) => stats.every(({ workers, workerCount }) => workers.length + workerCount === 4))
      const refusals = await order('scale', '0', '--all')
      expect(refusals.code).to.equal(1)
      expect(refusals.log).to.match(both('refused: Expected a whole number of workers.*'))

      const workers = async () => (await Stat.get(id, { client }))?.workers ?? []
      const before = await workers()
      expect((await order('reload', '--cluster', id)).log).to.include('  reloaded\n')
      await ended(before)

      expect((await order('stop', '--cluster', id)).log).to.include('  stopping\n')
      expect(await clusters[0]?.exit).to.deep.equal([0, null])
      const [left] = await seen((stats) => stats.length === 1)
      expect(left?.clusterId).to.equal(other?.clusterId)
      const json = await order('stop', '--all', '--json')
      expect(JSON.parse(json.log)).to.have.lengthOf(1)
      expect(await clusters[1]?.exit).to.deep.equal([0, null])
      expect(await order('ping', '--all')).to.deep.equal({ code: 1, log: 'No cluster answered.\n' })
    })

    it('do not obey who signs with another key', async () => {
      const cluster = await started('--workers', '1')
      const [stat] = await seen((stats) => stats.length === 1)
      await using stranger = new Client({ dataDir: stage.dataDir, secretKey: 'another' })
      expect(await Stat.getAll({ client: stranger })).to.deep.equal([])
      const to = stat?.clusterId as string
      expect(await control('stop', { client: stranger, cluster: to, patience: 1_000 })).to.deep.equal([])
      await cluster.line(/refused an order - Expected an order signed with our key/)
      expect((await control('ping', { client, cluster: to }))[0]?.result).to.include({ status: 'Idle' })
    })
  })
})
