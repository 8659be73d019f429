import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type Options, TaskFailedError } from 'qcluster'
import { isAlive, processesBelow } from './stage.ts'

const modules = [join(import.meta.dirname, 'fixtures', 'tasks.mjs')]

describe('a cluster of forked processes', function () {
  this.timeout(120_000)
  let folder: string
  let cluster: Cluster
  let client: Client
  let events: string[]
  /** The newest pid of each role. */
  let pids: Record<string, number>

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-story-'))
  })

  afterEach(async () => {
    await cluster?.stop()
    await client?.close()
    await rm(folder, { recursive: true })
  })

  async function start(options: Options = {}): Promise<void> {
    const settings: Options = {
      ...{
        name: 'story',
        tasks: modules,
        workers: 2,
        dataDir: folder,
        logLevel: 'silent',
        retry: 0.1,
        ...options,
      },
    }
    events = []
    pids = {}
    cluster = new Cluster(settings)
    client = new Client(settings)
    for (const event of [
      ...([
        'cluster.starting',
        'worker.ready',
        'monitor.ready',
        'sentinel.guarding',
        'pusher.ready',
      ] as const),
      ...([
        'cluster.running',
        'cluster.stopping',
        'sentinel.stopping',
        'pusher.drained',
        'worker.stopped',
      ] as const),
      ...(['sentinel.waiting', 'monitor.stopped', 'cluster.stopped'] as const),
    ])
      cluster.on(event, (record) => {
        events.push(event)
        const role = event.split('.')[0] as string
        if ('pid' in record) pids[role] = record.pid as number
      })
    await cluster.start()
  }

  it('says the documented lines in the documented order, and leaves no process', async () => {
    await start()
    const forked = processesBelow(process.pid)
    expect(forked, 'sentinel, two workers, monitor, scheduler, pusher').to.have.length.of.at.least(6)
    expect(await cluster.stop()).to.equal(true)
    expect(await cluster.stop()).to.equal(false)
    expect(events[0]).to.equal('cluster.starting')
    expect(events.slice(1, 4)).to.have.members(['worker.ready', 'worker.ready', 'monitor.ready'])
    expect(events.slice(4, 5)).to.deep.equal(['sentinel.guarding'])
    expect(events.slice(5, 7)).to.deep.equal(['pusher.ready', 'cluster.running'])
    expect(events.slice(7)).to.deep.equal([
      ...['cluster.stopping', 'sentinel.stopping', 'pusher.drained', 'worker.stopped', 'worker.stopped'],
      ...['sentinel.waiting', 'monitor.stopped', 'cluster.stopped'],
    ])
    expect(forked.filter(isAlive)).to.deep.equal([])
    expect(cluster.exitCode).to.equal(0)
  })

  it('runs good and bad tasks, by function and by name', async () => {
    await start()
    const run = async (name: string, args: unknown[] = []) =>
      (await asyncTask(name, args as never[], { client })).result({ wait: 20_000 })
    expect(await run('math.add', [2, 3])).to.equal(5)
    expect(await run('tasks.plain', ['a'])).to.equal('A')
    const failures = await Promise.all(
      ['boom', 'nope.nada', 'exit', 'forever', 'block'].map((name) =>
        run(name).then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    )
    for (const failure of failures) expect(failure).to.be.instanceOf(TaskFailedError)
    const messages = failures.map((failure) => (failure as Error).message)
    expect(messages[0]).to.equal('boom')
    expect(messages[1]).to.equal('Function nope.nada is not defined')
    expect(messages[2]).to.include('exit code 3')
    for (const message of messages.slice(3)) expect(message).to.include('Task exceeded maximum timeout value')
  })

  it('tells events below its log level also to who listens after the start, and of processes that come later', async () => {
    await start({ logLevel: 'error', workers: 1 })
    const names: string[] = []
    const heard = (name: string) =>
      new Promise<void>((resolve) => {
        cluster.on('task.started', ({ task }) => {
          names.push(task)
          if (task === name) resolve()
        })
      })
    const run = async (taskName: string) =>
      (await asyncTask('math.add', [2, 3], { client, taskName })).fetch({ wait: 20_000, final: true })
    const first = heard('first')
    // The order to tell such events and the task are on different ways to the worker.
    while (names.length === 0) await run('first')
    await first
    const second = heard('second')
    process.kill(pids.worker as number, 'SIGKILL')
    await run('second')
    await second
  })

  it('can be stopped by a listener', async () => {
    await start({ workers: 1 })
    const { promise, resolve } = Promise.withResolvers<boolean>()
    cluster.on('task.finished', () => resolve(cluster.stop()))
    const tasks = await Promise.all([1, 2, 3].map((n) => asyncTask('math.add', [n, n], { client })))
    expect(await promise).to.equal(true)
    expect(cluster.hasStopped).to.equal(true)
    expect(cluster.exitCode).to.equal(0)
    expect(await Promise.any(tasks.map((task) => task.result()))).to.be.a('number')
  })

  it('has nothing to stop before it is started, and starts all the same', async () => {
    cluster = new Cluster({ tasks: modules, workers: 1, dataDir: folder, logLevel: 'silent' })
    expect(await cluster.stop()).to.equal(false)
    expect([cluster.isStarting, cluster.hasStopped]).to.deep.equal([false, false])
    expect(await cluster.start()).to.equal(process.pid)
    expect(await cluster.stop()).to.equal(true)
  })

  for (const role of ['worker', 'monitor', 'pusher'] as const)
    it(`loses nothing when its ${role} is killed under load`, async () => {
      await start()
      const ledger = join(folder, 'ledger')
      const numbers = Array.from({ length: 300 }, (_, n) => n)
      const tasks = await Promise.all(
        numbers.map((n) => asyncTask('ledger.note', [ledger, n] as never[], { client })),
      )
      await tasks[20]?.fetch({ wait: 20_000 })
      const killed = pids[role] as number
      const reincarnated = new Promise((resolve) => cluster.on(`${role}.reincarnated`, resolve))
      process.kill(killed, 'SIGKILL')
      const results = await Promise.all(tasks.map((task) => task.fetch({ wait: 40_000, final: true })))
      expect(results.every((record) => record?.success)).to.equal(true)
      const runs = (await readFile(ledger, 'utf8')).trim().split('\n').map(Number)
      expect(new Set(runs)).to.have.property('size', 300)
      // Only the run that a killed worker had in hand may be seen twice.
      expect(runs.length).to.be.at.most(role === 'worker' ? 301 : 300)
      await reincarnated
      await cluster.stop()
      expect(await directoryOwners()).not.to.include(killed)
    })

  it('keeps the code that its processes compile in the data folder, for the next start', async () => {
    await start()
    await cluster.stop()
    const kept = await readdir(join(folder, 'compile-cache'), { recursive: true, withFileTypes: true })
    expect(kept.filter((entry) => entry.isFile())).not.to.be.empty
  })

  it('finishes what it holds when it is stopped under load, and keeps the rest for the next', async () => {
    await start()
    const ledger = join(folder, 'ledger')
    const tasks = await Promise.all(
      Array.from({ length: 3_000 }, (_, n) => asyncTask('ledger.note', [ledger, n] as never[], { client })),
    )
    await tasks[0]?.fetch({ wait: 20_000 })
    await cluster.stop()
    const runs = (await readFile(ledger, 'utf8')).trim().split('\n').map(Number)
    const records = await Promise.all(runs.map((n) => tasks[n]?.fetch()))
    expect(new Set(runs).size).to.equal(runs.length)
    expect(records.every((record) => record?.success)).to.equal(true)
    expect(runs.length).to.be.below(3_000)
    expect(cluster.exitCode).to.equal(0)
  })
})

/** The pids of those who have made the runtime directories that are there. */
async function directoryOwners(): Promise<number[]> {
  const names = (await readdir(tmpdir())).filter((name) => name.startsWith('qc-'))
  const owners = names.map((name) => readFile(join(tmpdir(), name, 'owner'), 'utf8').catch(() => '{}'))
  return (await Promise.all(owners)).map((owner) => (JSON.parse(owner) as { pid: number }).pid)
}
