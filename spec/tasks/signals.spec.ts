import { expect } from 'chai'
import {
  asyncTask,
  asyncTasks,
  defineTask,
  type ExecutedTask,
  onError,
  postExecute,
  postExecuteInWorker,
  postSpawn,
  preEnqueue,
  preExecute,
  type SignalledTask,
  type WorkerOutcome,
} from '../../lib/index.ts'
import { TestCluster } from '../../lib/testing.ts'

const add = defineTask('add', (a: number, b: number) => a + b)
const fail = defineTask({ name: 'fail', maxAttempts: 2, retry: 60 }, () => {
  throw new RangeError('too much')
})

/** Where each is called in a real cluster is told by the reference's scenario TestSignals; here all is one process. */
describe('the signal', () => {
  let cluster: TestCluster
  let ends: (() => void)[]

  beforeEach(async () => {
    ends = []
    cluster = await TestCluster.start({ tasks: [add, fail] })
  })
  afterEach(async () => {
    for (const end of ends) end()
    await cluster[Symbol.asyncDispose]()
  })

  const failures = () => cluster.events.filter(({ event }) => event === 'signal.failed')
  const message = (work: Promise<unknown>) =>
    work.then(
      () => expect.fail('it is not rejected'),
      (error: Error) => error.message,
    )

  it('preEnqueue is told each task before it is enqueued, and waited for', async () => {
    const told: SignalledTask[] = []
    ends.push(
      preEnqueue(async (task) => {
        await Promise.resolve()
        expect(cluster.enqueued()).to.deep.equal([])
        told.push(task)
      }),
    )
    const tasks = await asyncTasks(
      add,
      [
        [1, 2],
        [3, 4],
      ],
      { group: 'sums' },
    )

    expect(told.map(({ id, args }) => [id, args])).to.deep.equal([
      [tasks[0]?.id, [1, 2]],
      [tasks[1]?.id, [3, 4]],
    ])
    expect(told[0]).to.deep.equal({
      ...{
        id: tasks[0]?.id,
        name: tasks[0]?.name,
        func: 'add',
        group: 'sums',
        run: 1,
        attempt: 1,
        args: [1, 2],
      },
    })
  })

  it('preEnqueue rejects an enqueueing by what it throws, and is not heard once it was ended', async () => {
    const end = preEnqueue(() => {
      throw new Error('not today')
    })
    ends.push(end)
    const enqueue = () => asyncTask(add, [1, 2], { unique: { within: 60 } })
    expect(await message(enqueue())).to.equal('not today')
    expect(cluster.enqueued()).to.deep.equal([])
    end()
    expect(await enqueue()).to.include({ isNew: true })
    expect(cluster.enqueued()).to.have.length(1)
  })

  it('preEnqueue is not told what a cluster enqueues by itself', async () => {
    const told: string[] = []
    ends.push(preEnqueue(({ func }) => told.push(func)))
    await asyncTask(fail, [], { hook: 'add' })
    await cluster.advance(60)

    expect(cluster.enqueued().map(({ func }) => func)).to.deep.equal(['fail', 'add'])
    expect(cluster.runs(fail)).to.have.length(2)
    expect(told).to.deep.equal(['fail'])
  })

  it('postSpawn is told each worker that has loaded its tasks, before it runs any', async () => {
    const told: unknown[] = []
    ends.push(
      postSpawn((process) => told.push(['spawned', process])),
      preExecute(({ func }) => told.push(['runs', func])),
    )
    await asyncTask(add, [2, 3])
    await cluster.crash()
    await cluster.drain()
    await cluster.crash()

    expect(told).to.deep.equal([
      ['spawned', 'worker-2'],
      ['runs', 'add'],
      ['spawned', 'worker-3'],
    ])
  })

  it('preExecute is told each run before it begins, and what it throws holds nothing up', async () => {
    const told: unknown[] = []
    ends.push(
      preExecute(async ({ func, args, attempt }) => {
        await Promise.resolve()
        told.push([func, args, attempt, cluster.runs().length])
        throw new Error('deaf')
      }),
    )
    const task = await asyncTask(add, [2, 3])
    await asyncTask(fail, [])
    await cluster.advance(60)

    expect(told).to.deep.equal([
      ['add', [2, 3], 1, 0],
      ['fail', [], 1, 1],
      ['fail', [], 2, 2],
    ])
    expect(await task.result()).to.equal(5)
    expect(failures()[0]).to.include({ signal: 'preExecute' })
    expect(failures()[0]?.error).to.include({ message: 'deaf' })
  })

  it('postExecuteInWorker is told each run, and how it ended', async () => {
    const told: [SignalledTask, WorkerOutcome][] = []
    ends.push(postExecuteInWorker((task, outcome) => told.push([task, outcome])))
    await asyncTask(add, [2, 3])
    await asyncTask(fail, [])
    await cluster.drain()

    expect(told.map(([{ func, args }]) => [func, args])).to.deep.equal([
      ['add', [2, 3]],
      ['fail', []],
    ])
    expect(told[0]?.[1]).to.deep.equal({ success: true, result: 5 })
    expect(told[1]?.[1]).to.include({ success: false })
    expect(told[1]?.[1].error).to.include({ name: 'RangeError', message: 'too much' })
  })

  it('postExecute is told each run whose outcome is decided', async () => {
    const told: ExecutedTask[] = []
    ends.push(postExecute((task) => told.push(task)))
    const task = await asyncTask(add, [2, 3], { group: 'sums' })
    await asyncTask(fail, [])
    await cluster.advance(60)

    expect(told[0]).to.deep.equal({
      ...{ id: task.id, name: task.name, func: 'add', group: 'sums', run: 1, attempt: 1, success: true },
    })
    expect(told.map(({ func, success, attempt }) => [func, success, attempt])).to.deep.equal([
      ['add', true, 1],
      ['fail', false, 1],
      ['fail', false, 2],
    ])
  })

  it('onError is told each run that fails with its error, and nobody else of what it throws itself', async () => {
    const told: unknown[] = []
    ends.push(
      onError(({ func, attempt, error }) => {
        told.push([func, attempt, error.name, error.message])
        throw new Error('no network')
      }),
    )
    await asyncTask(add, [2, 3])
    await asyncTask(fail, [])
    await cluster.advance(60)

    expect(told).to.deep.equal([
      ['fail', 1, 'RangeError', 'too much'],
      ['fail', 2, 'RangeError', 'too much'],
    ])
    expect(failures()).to.have.length(2)
    expect(failures()[0]).to.include({ signal: 'onError' })
  })
})
