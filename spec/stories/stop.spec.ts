/** How a cluster stops: at which signal, in whatever it is doing, and at its deadline. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import { asyncTask, Client, control, type Task } from 'qcluster'
import { pause } from '../contracts/material.ts'
import { type Command, isAlive, processesBelow, processesOf, Stage } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { currentTask, defineTask } from 'qcluster'
const note = (text) => appendFileSync('ledger', text + '\\n')
export const add = defineTask('add', (a, b) => a + b)
/** Ends when it is told to, and writes down why. */
export const patient = defineTask('patient', async () => {
  const { signal } = currentTask()
  note('begun')
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
  note(signal.reason.why)
  throw signal.reason
})
export const deaf = defineTask('deaf', () => {
  note('begun')
  for (;;);
})`

describe('a cluster that is told to stop', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let client: Client

  beforeEach(() => {
    client = new Client({ dataDir: stage.dataDir })
  })
  afterEach(() => client.close())

  async function start(...flags: string[]): Promise<Command> {
    const cluster = stage.qcluster('start', '--workers', '1', ...flags)
    await cluster.line(/running\./)
    return cluster
  }

  const enqueue = (task: string): Promise<Task> => asyncTask(task, [], { client })

  /** The task is at work. */
  async function atWork(task: string, cluster: Command): Promise<Task> {
    const given = await enqueue(task)
    await cluster.line(new RegExp(`processing \\S+ '${task}'`))
    while ((await stage.lines('ledger')).length === 0) await pause()
    return given
  }

  /** It ends with this exit code, and nothing of it is left. */
  async function ends(cluster: Command, pids: readonly number[], code: number): Promise<void> {
    expect(await cluster.exit, cluster.log()).to.deep.equal([code, null])
    expect(cluster.log()).to.include('has stopped.')
    expect(pids).not.to.be.empty
    expect(pids.filter(isAlive)).to.deep.equal([])
  }

  const below = ({ process: { pid } }: Command) => processesBelow(pid as number)

  for (const signal of ['SIGHUP', 'SIGINT'] as const)
    it(`stops in order at ${signal}`, async () => {
      const cluster = await start()
      const pids = below(cluster)
      cluster.process.kill(signal)
      await ends(cluster, pids, 0)
    })

  it('tells its tasks to end at the second signal, whichever it is, and requeues them', async () => {
    const cluster = await start()
    const pids = below(cluster)
    const task = await atWork('patient', cluster)
    cluster.process.kill('SIGTERM')
    await cluster.line(/stopping\./)
    cluster.process.kill('SIGHUP')
    await ends(cluster, pids, 1)
    expect(await stage.lines('ledger')).to.deep.equal(['begun', 'shutdown'])
    expect(cluster.log()).to.match(/WARNING Interrupted and requeued 'patient' \(\S+\)/)
    expect(await task.state()).to.equal('queued')
    expect(await task.fetch(), 'no attempt is spent').to.equal(undefined)
  })

  it('kills what does not heed at the third signal, and requeues it', async () => {
    const cluster = await start('--grace', '600')
    const pids = below(cluster)
    const task = await atWork('deaf', cluster)
    // Two of a kind that come at once are one to a process.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) cluster.process.kill(signal)
    await ends(cluster, pids, 1)
    expect(cluster.log()).to.match(/WARNING Interrupted and requeued 'deaf' \(\S+\)/)
    expect(await task.state()).to.equal('queued')
  })

  it('names at its deadline what it requeues', async () => {
    const cluster = await start('--grace', '0.5')
    const pids = below(cluster)
    const task = await atWork('deaf', cluster)
    cluster.process.kill('SIGTERM')
    await ends(cluster, pids, 1)
    expect(cluster.log()).to.include(`Interrupted and requeued 'deaf' (${task.name})`)
    expect(await task.state()).to.equal('queued')
  })

  it('stops while its workers are replaced', async () => {
    const cluster = await start()
    const before = below(cluster)
    const answers = control('reload', { client, patience: 3_000 })
    while (below(cluster).length === before.length) await pause()
    const pids = below(cluster)
    cluster.process.kill('SIGTERM')
    await ends(cluster, pids, 0)
    await answers
  })

  it('stops while a worker that died often is not started yet', async () => {
    const cluster = await start()
    for (const deaths of [1, 2, 3, 4, 5]) {
      let [worker] = processesOf('worker', cluster.process.pid as number)
      for (; worker === undefined; [worker] = processesOf('worker', cluster.process.pid as number))
        await pause()
      process.kill(worker, 'SIGKILL')
      await cluster.line(new RegExp(`(reincarnated worker[^]*){${deaths}}`))
    }
    const pids = below(cluster)
    cluster.process.kill('SIGTERM')
    await ends(cluster, pids, 0)
  })

  it('stops while it is paused, and leaves what waits to the next', async () => {
    const cluster = await start()
    await control('pause', { client, patience: 20_000 })
    await cluster.line(/paused/)
    const task = await enqueue('add')
    const pids = below(cluster)
    cluster.process.kill('SIGTERM')
    await ends(cluster, pids, 0)
    expect(await task.state()).to.equal('queued')
  })

  for (const file of ['queue.db', 'results.db'])
    it(`waits for nobody who holds ${file}, even where it has not started yet`, async () => {
      const first = await start()
      first.process.kill('SIGTERM')
      await first.exit
      const holder = new DatabaseSync(join(stage.dataDir, file), { timeout: 10_000 })
      try {
        holder.exec('begin exclusive')
        const cluster = stage.qcluster('start', '--workers', '1')
        await cluster.line(/starting\./)
        const began = performance.now()
        cluster.process.kill('SIGTERM')
        expect(await cluster.exit, cluster.log()).to.deep.equal([0, null])
        expect(performance.now() - began, 'milliseconds').to.be.below(9_000)
      } finally {
        holder.close()
      }
    })
})
