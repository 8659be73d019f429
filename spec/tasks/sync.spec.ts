import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import {
  AsyncTask,
  asyncChain,
  asyncIter,
  asyncTask,
  asyncTasks,
  Chain,
  Client,
  currentTask,
  defineTask,
  fetch,
  link,
  onError,
  pipe,
  postExecute,
  preEnqueue,
  queueSize,
  schedule,
  TaskFailedError,
  type TaskRecord,
} from '../../lib/index.ts'
import { range } from '../contracts/material.ts'

const add = defineTask('add', (a: number, b: number) => a + b)
const broken = new RangeError('too much')
const fail = defineTask({ name: 'fail', maxAttempts: 5 }, (): number => {
  throw broken
})
const told: TaskRecord[] = []
const tell = defineTask('tell', (record: TaskRecord) => void told.push(record))
const whoAmI = defineTask('who', () => currentTask().id)

/** The modules of tasks import the package, so these are looked for in what is built. */
const tasks = [join(import.meta.dirname, '..', 'stories', 'fixtures', 'reference.ts')]

describe('a task that is sync', () => {
  let dataDir: string
  let client: Client

  beforeEach(async () => {
    told.length = 0
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-sync-'))
    client = new Client({ dataDir, tasks })
  })
  afterEach(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  const here = () => ({ client, sync: true }) as const
  const thrownBy = (work: Promise<unknown>) =>
    work.then(
      () => expect.fail('it does not throw'),
      (error: unknown) => error,
    )

  it('runs here and now, and its outcome is saved', async () => {
    const task = await asyncTask(add, [2, 3], { ...here(), group: 'sums' })

    expect(await task.fetch()).to.deep.include({
      ...{ id: task.id, group: 'sums', args: [2, 3], result: 5, state: 'success', attempt: 1, final: true },
    })
    expect(await (await asyncTask(whoAmI, [], here())).result()).to.match(/^[0-9a-f]{32}$/)
    expect(await queueSize({ client })).to.equal(0)
  })

  it('throws what it throws, and is not tried again', async () => {
    const enqueued: string[] = []
    const end = preEnqueue(({ id }) => enqueued.push(id))
    try {
      expect(await thrownBy(asyncTask(fail, [], here()))).to.equal(broken)
    } finally {
      end()
    }
    expect(await fetch(enqueued[0] as string, { client })).to.include({
      ...{ state: 'failure', attempt: 1, final: true },
    })
    expect(await queueSize({ client })).to.equal(0)
    expect(await client.atBroker((broker) => broker.deadLetters('default'))).to.deep.equal([])
  })

  it('is found by its name in the task modules', async () => {
    expect(await (await asyncTask('multiply', [2, 3], here())).result()).to.equal(6)
    expect(await thrownBy(asyncTask('ghost', [], here())))
      .to.be.instanceOf(TaskFailedError)
      .and.include({ message: 'Function ghost is not defined' })
  })

  it('is told when its time is over', async () => {
    const nap = defineTask('nap', () => sleep(5_000, undefined, { signal: currentTask().signal }))
    const error = await thrownBy(asyncTask(nap, [], { ...here(), timeout: 0.05 }))

    expect((error as Error).message).to.equal('Task exceeded maximum timeout value (0.05 seconds)')
  })

  it('calls its hook; what that throws is in its own outcome only', async () => {
    const task = await asyncTask(add, [2, 3], { ...here(), hook: tell })
    expect(told).to.have.length(1)
    expect(told[0]).to.include({ id: task.id, result: 5 })

    await asyncTask(add, [2, 3], { ...here(), hook: fail, taskName: 'calm' })
    expect(await thrownBy(asyncTask(fail, [], { ...here(), hook: tell }))).to.equal(broken)
    expect(told[1]).to.include({ state: 'failure' })
  })

  it('is followed by the links of its chain, until one fails', async () => {
    const chain = await asyncChain([link(add, [2, 3]), pipe(add, [4])], here())
    expect(await chain.result({ wait: 0 })).to.deep.equal([5, 9])

    const broke = new Chain(here()).append(add, [1, 1]).append(fail).append(add, [2, 2])
    expect(await thrownBy(broke.run())).to.equal(broken)
    expect((await broke.fetch()).map(({ state }) => state)).to.deep.equal(['success', 'failure'])
    const task = await asyncTask(add, [1, 1], { ...here(), chain: [pipe(tell)] })
    expect(await task.result({ wait: 0 })).to.equal(2)
  })

  it('is a piece of an iter, whose result is there at once', async () => {
    const whole = await asyncIter(
      add,
      [
        [1, 2],
        [3, 4],
      ],
      { ...here(), hook: tell },
    )
    expect(await whole.result({ wait: 0 })).to.deep.equal([3, 7])
    expect(told.map(({ id }) => id)).to.deep.equal([whole.id])
    await asyncIter(add, [], { ...here(), hook: tell })
    expect(told[1]).to.deep.include({ result: [] })
  })

  it('is one of many, all of which run before the first failure is thrown', async () => {
    const half = defineTask('half', (n: number) => {
      if (n % 2) throw new Error(`${n} is odd`)
      return n / 2
    })
    const error = await thrownBy(asyncTasks(half, [[1], [2], [3]], { ...here(), group: 'halves' }))

    expect((error as Error).message).to.equal('1 is odd')
    const saved = await client.atStore((store) => store.countGroup('halves'))
    expect(saved).to.include({ successes: 1, failures: 2 })
  })

  it('is an AsyncTask that says so', async () => {
    const task = new AsyncTask(add, [2, 3], { client })
    task.sync = true
    await task.run()
    expect(await task.result({ wait: 0 })).to.equal(5)
  })

  it('is told of by the signals that the process of a cluster has', async () => {
    const heard: unknown[] = []
    const ends = [
      postExecute(({ func, success }) => heard.push([func, success])),
      onError(({ func, error }) => heard.push([func, error.message])),
    ]
    try {
      await asyncTask(add, [2, 3], here())
      await thrownBy(asyncTask(fail, [], here()))
    } finally {
      for (const end of ends) end()
    }
    expect(heard).to.deep.equal([
      ['add', true],
      ['fail', false],
      ['fail', 'too much'],
    ])
  })

  it('frees its key when it is unique', async () => {
    const unique = { ...here(), unique: true }
    expect((await asyncTask(add, [2, 3], unique)).isNew).to.equal(true)
    expect((await asyncTask(add, [2, 3], unique)).isNew).to.equal(true)
    await asyncTask(add, [2, 3], { client, unique: true })
    expect((await asyncTask(add, [2, 3], unique)).isNew, 'that one waits').to.equal(false)
  })

  it('is kept as the settings say', async () => {
    const options = { dataDir, saveLimit: 2, saveFor: 0, sync: true }
    await using frugal = new Client(options)
    for (const n of range(4)) await asyncTask(add, [n, n], { client: frugal })
    expect(await frugal.atStore((store) => store.list({ limit: 10 }))).to.have.length(2)
    await using waiting = new Client({ dataDir, sync: true })
    await asyncTask(add, [1, 1], { client: waiting, sync: false })
    expect(await queueSize({ client: waiting })).to.equal(1)
  })

  it('cannot be one of later', async () => {
    for (const delay of [5, 0]) {
      const error = await thrownBy(asyncTask(add, [2, 3], { ...here(), delay }))
      expect((error as Error).message).to.equal(
        'asyncTask("add"): what is sync runs now; remove sync, or delay.',
      )
    }
  })
})

describe('an option of asyncTask and its like', () => {
  let dataDir: string
  let client: Client

  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-options-'))
    client = new Client({ dataDir, sync: true, saveLimit: -1 })
  })
  after(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  const refusal = (work: Promise<unknown>) =>
    work.then(
      () => expect.fail('it is not refused'),
      (error: Error) => `${error.name}: ${error.message}`,
    )

  it('that would be ignored because the client is sync is refused, and nothing runs', async () => {
    let runs = 0
    const count = defineTask('count', () => runs++)
    const runAt = new Date(Date.now() + 5_000)
    for (const options of [{ delay: 5 }, { runAt }])
      expect(await refusal(asyncTask(count, [], { client, ...options }))).to.equal(
        'ConfigError: asyncTask("count"): the option sync is on, and what is sync runs now; give sync: false, or neither delay nor runAt.',
      )
    expect(runs).to.equal(0)
    await asyncTask(count, [], { client, runAt: new Date(0) })
    await asyncTask(count, [], { client, delay: 60, sync: false })
    expect([runs, await queueSize({ client })]).to.deep.equal([1, 1])
  })

  it('keeps what is cached, also where no success is saved', async () => {
    expect(await (await asyncTask(add, [1, 2], { client })).fetch()).to.equal(undefined)
    const kept = await asyncTask(add, [1, 2], { client, cached: 60 })
    expect(await kept.fetch()).to.include({ result: 3 })
    expect(await (await asyncTask(add, [1, 2], { client, cached: 0 })).fetch()).to.equal(undefined)
    await using other = new Client({ dataDir, sync: true, saveLimit: -1, cached: 60 })
    expect(await (await asyncTask(add, [1, 2], { client: other })).fetch()).to.include({ result: 3 })
    for (const cached of [-1, Number.NaN])
      expect(await refusal(asyncTask(add, [1, 2], { client, cached }))).to.include(
        'cached must be true, false or',
      )
  })

  it('that contradicts another one is refused', async () => {
    expect(await refusal(asyncTask(add, [1, 2], { client, save: false, cached: 60 }))).to.equal(
      'ConfigError: asyncTask("add"): what is not saved cannot be cached; remove save: false, or cached.',
    )
    const piece = { client, group: 'g', iterCount: 2, save: false }
    expect(await refusal(asyncTask(add, [1, 2], piece))).to.include('has to be saved until then')
    const daily = { client, type: 'daily' } as const
    expect(await refusal(schedule(add, [1, 2], { ...daily, cron: '0 9 * * *' }))).to.equal(
      'ScheduleError: The schedule of "add" is of type daily, which has no cron; remove one of them.',
    )
    expect(await refusal(schedule(add, [1, 2], { client, cron: '0 9 * * *', minutes: 5 }))).to.include(
      'no minutes',
    )
  })

  it('that has no meaning for links, iters, chains and schedules is refused, as the compiler does', async () => {
    const foreign = { delay: 5 } as object
    const links = asyncChain([link(add, [1, 2], foreign)], { client })
    expect(await refusal(links)).to.equal(
      'ConfigError: A link cannot have the option "delay" for itself; remove it.',
    )
    expect(await refusal(asyncIter(add, [[1, 2]], { client, ...foreign }))).to.include('An iter cannot have')
    expect(await refusal(schedule(add, [1, 2], { client, options: foreign }))).to.include(
      'A task of a schedule cannot have',
    )
    expect(await refusal(asyncChain([link(add, [1, 2])], { client, ...foreign }))).to.include(
      'A chain has no option "delay"',
    )
  })
})

describe('a chain', () => {
  it('has no id when its enqueueing was refused', async () => {
    const end = preEnqueue(() => {
      throw new Error('not today')
    })
    const dataDir = await mkdtemp(join(tmpdir(), 'qcluster-chain-'))
    const client = new Client({ dataDir })
    const chain = new Chain({ client }).append(add, [1, 2])
    try {
      const refused = await chain.run().catch((error: Error) => error.message)
      expect([refused, chain.id, await chain.current()]).to.deep.equal(['not today', undefined, undefined])
      end()
      expect(await chain.run()).to.equal(chain.id)
      expect(await chain.current()).to.equal(0)
    } finally {
      end()
      await client.close()
      await rm(dataDir, { recursive: true })
    }
  })
})

describe('tasks of a group with an iterCount', () => {
  let dataDir: string
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-collect-'))
    client = new Client({ dataDir, sync: true })
  })
  afterEach(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  it('become one under the name of the group, in the order they were enqueued in', async () => {
    const options = { client, group: 'sums', iterCount: 3, iterCached: 60 }
    await asyncTask(add, [1, 2], options)
    await asyncTask('add', [3, 4], { ...options, sync: false })
    expect(await fetch('sums', { client })).to.equal(undefined)
    const double = defineTask('double', (n: number) => 2 * n)
    await asyncTask(double, [5], { ...options, iterCount: 2 })
    const whole = await fetch('sums', { client })
    expect(whole).to.deep.include({ name: 'sums', args: [[1, 2], [5]], result: [3, 10], success: true })
    expect(whole?.expiresAt?.getTime()).to.equal((whole?.stoppedAt.getTime() ?? 0) + 60_000)
  })

  it('are refused without a group or a count', async () => {
    const message = (options: object) =>
      asyncTask(add, [1, 2], { client, ...options }).catch((error: Error) => error.message)
    expect(await message({ iterCount: 3 })).to.equal(
      'asyncTask("add"): iterCount counts the tasks of a group; give it a group, or use asyncIter.',
    )
    for (const options of [{ iterCount: 0 }, { iterCached: 5 }, { iterCount: 1.5 }])
      expect(await message({ group: 'sums', ...options })).to.match(
        /iterCount must be a whole number above 0/,
      )
  })
})
