/**
 * The scenarios of the reference's own tests, with their inputs and outcomes, on real forks. Each names the test that
 * it comes from.
 * @see https://github.com/django-q2/django-q2/tree/master/django_q/tests
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import {
  AsyncTask,
  asyncChain,
  asyncIter,
  asyncTask,
  Chain,
  Client,
  Cluster,
  countGroup,
  deleteCached,
  deleteGroup,
  fetch,
  fetchGroup,
  Iter,
  link,
  type Options,
  onError,
  postExecute,
  preEnqueue,
  result,
  resultGroup,
  Schedule,
  ScheduleError,
  Stat,
  schedule,
  type Task,
  TaskFailedError,
} from 'qcluster'
import { waitFor } from 'xstate'
import { createBroker } from '../../lib/brokers/index.ts'
import { WORDS } from '../../lib/names.ts'
import { createStore, type Store } from '../../lib/stores/index.ts'
import { range } from '../contracts/material.ts'
import { copysign, countLetters, getTaskName, multiply, nap } from './fixtures/reference.ts'
import { isAlive } from './stage.ts'

const tasks = [join(import.meta.dirname, 'fixtures', 'reference.ts')]

/** The letters of the list of 256 words that names are made of. */
const LETTERS = 1506

describe('the reference’s scenario', function () {
  this.timeout(120_000)
  let dataDir: string
  let cluster: Cluster
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-reference-'))
    make()
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  /** A cluster that is not started, and a client of it. */
  function make(given: Options = {}): void {
    const options: Options = {
      ...{ name: 'reference', tasks, workers: 1, dataDir, logLevel: 'silent', retry: 0.05 },
      ...given,
    }
    cluster = new Cluster(options)
    client = new Client(options)
  }

  const enqueue = <T = unknown>(task: string, args: unknown[] = [], options: object = {}): Promise<Task<T>> =>
    asyncTask<T>(task, args, { client, ...options })

  /** What waits and what is handed out. */
  async function sizes(): Promise<[number, number]> {
    const broker = await createBroker({ dataDir })
    await broker.connect()
    try {
      return [await broker.queueSize('reference'), await broker.lockSize('reference')]
    } finally {
      await broker.close()
    }
  }

  async function withStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = await createStore({ dataDir })
    await store.connect()
    try {
      return await work(store)
    } finally {
      await store.close()
    }
  }

  const successes = () => withStore(async (store) => (await store.counts()).successes)

  it('test_cluster_initial: a new cluster is started, is idle, and is stopped once', async () => {
    expect(cluster.sentinel).to.equal(null)
    expect(cluster.isRunning).to.equal(false)
    expect(cluster.stat.status).to.equal('Stopped')

    expect(await cluster.start()).to.be.above(0)
    const { pid, isAlive: isUp } = cluster.sentinel as NonNullable<Cluster['sentinel']>
    expect(isUp).to.equal(true)
    expect([cluster.isRunning, cluster.isStopping, cluster.isStarting]).to.deep.equal([true, false, false])
    expect(isAlive(pid)).to.equal(true)
    expect(cluster.stat.status).to.equal('Idle')

    expect(await cluster.stop()).to.equal(true)
    expect(isAlive(pid)).to.equal(false)
    expect(cluster.hasStopped).to.equal(true)
    expect(await cluster.stop()).to.equal(false)
  })

  it('test_cluster_early_stop: SIGTERM stops a cluster whose broker does not answer yet', async () => {
    make({ handleSignals: true })
    await sizes() // Makes the file.
    const blocker = new DatabaseSync(join(dataDir, 'queue.db'), { timeout: 10_000 })
    blocker.exec('begin exclusive')
    try {
      const started = cluster.start()
      await waitFor(cluster.actor, ({ context }) => context.sentinel !== null)
      process.kill(process.pid, 'SIGTERM')
      await started
      await cluster.ended()
    } finally {
      blocker.close()
    }
    expect(cluster.hasStopped).to.equal(true)
    expect(cluster.exitCode).to.equal(0)
  })

  it('test_cluster_stop_responsive: a long guard cycle does not delay a stop', async () => {
    make({ guardCycle: 10 })
    await cluster.start()
    const asked = performance.now()
    await cluster.stop()

    expect(performance.now() - asked).to.be.below(5_000)
  })

  it('test_sentinel: one that is told to stop before it runs ends without taking a task', async () => {
    await enqueue('multiply', [2, 3])
    const started = cluster.start()
    await cluster.stop()
    await started

    expect(cluster.hasStopped).to.equal(true)
    expect(await sizes()).to.deep.equal([1, 0])
  })

  it('test_cluster: a task goes from the broker over pusher, worker and monitor to the store', async () => {
    const task = await enqueue('count_letters', [WORDS])
    expect(await sizes()).to.deep.equal([1, 0])
    await cluster.start()

    expect(await task.result()).to.equal(LETTERS)
    await cluster.stop()
    expect(await sizes()).to.deep.equal([0, 0])
    expect(await task.fetch()).to.include({ state: 'success', success: true, attempt: 1 })
  })

  it('test_sync: a task runs where it is enqueued, without a cluster', async () => {
    const task = await asyncTask(countLetters, [WORDS as string[]], { client, sync: true })
    expect(await task.result({ wait: 0 })).to.equal(LETTERS)
    expect(await sizes()).to.deep.equal([0, 0])
  })

  it('test_sync_raise_exception: what it throws is thrown, and saved', async () => {
    const error = await enqueue('failing', [], { sync: true, taskName: 'it' }).catch(
      (thrown: Error) => thrown,
    )
    expect(error).to.be.instanceOf(Error).and.include({ message: 'it fails' })
    expect(error).not.to.be.instanceOf(TaskFailedError)
    expect(await fetch('it', { client })).to.include({ state: 'failure', final: true })
  })

  it('test_results: an empty result is a result', async () => {
    const task = await enqueue('return_empty_list')
    await cluster.start()

    expect(await task.result({ wait: Number.POSITIVE_INFINITY })).to.deep.equal([])
  })

  it('test_enqueue: ten tasks, good and bad', async () => {
    const list = {
      a: await enqueue('count_letters', [WORDS]),
      b: await enqueue('count_letters2', [{ words: WORDS }]),
      c: await enqueue('count_letters', [WORDS, 'oneargumentoomany']),
      d: await enqueue('does_not_exist', [{}], { maxAttempts: 1 }),
      e: await enqueue('countdown', [100_000]),
      f: await asyncTask(multiply, [753, 2], { client }),
      g: await enqueue('get_task_name', [{ name: 'John' }]),
      h: await enqueue('word_multiply', [2, { word: 'django' }]),
      j: await enqueue('get_user_id', [{ id: 7 }], { group: 'test_j' }),
      k: await enqueue('get_user_id', [{ id: 7 }], { group: 'test_k', save: false, timeout: 90 }),
    }
    for (const { id } of Object.values(list)) expect(id).to.be.a('string')
    expect(await list.a.fetch({ wait: 10 })).to.equal(undefined)
    expect(await fetchGroup('test_j', { client, count: 1, wait: 10 })).to.deep.equal([])
    await cluster.start()

    const failureOf = (task: Task) => task.result().catch((error: unknown) => error)
    expect(await list.a.result()).to.equal(LETTERS)
    expect(await list.b.result()).to.equal(LETTERS)
    expect(await failureOf(list.c)).to.be.instanceOf(TaskFailedError)
    expect(await failureOf(list.d))
      .to.be.instanceOf(TaskFailedError)
      .and.to.include({ message: 'Function does_not_exist is not defined' })
    expect(await list.e.result()).to.equal(undefined)
    expect(await list.f.result()).to.equal(1506)
    expect(await list.g.result()).to.equal('John')
    expect(await list.h.result()).to.equal(12)
    expect(await list.j.result()).to.equal(7)

    expect(await resultGroup('test_j', { client })).to.deep.equal([7])
    const [record] = await fetchGroup('test_j', { client })
    expect(record).to.include({ id: list.j.id, group: 'test_j', result: 7 })
    expect(await countGroup('test_j', { client })).to.equal(1)
    expect(await countGroup('test_j', { client, failures: true })).to.equal(0)
    expect(await deleteGroup('test_j', { client })).to.equal(1)
    expect(await countGroup('test_j', { client })).to.equal(0)
    expect(await list.j.fetch()).to.include({ result: 7 })

    await cluster.stop()
    expect(await sizes(), 'k has run too').to.deep.equal([0, 0])
    expect(await list.k.fetch()).to.equal(undefined)
    expect(await countGroup('test_k', { client })).to.equal(0)
  })

  it('test_attempt_count: a failing task is tried three times and leaves the queue empty', async () => {
    make({ maxAttempts: 3 })
    const attempts: unknown[] = []
    cluster.on('task.failed', ({ attempt }) => attempts.push(attempt))
    await cluster.start()
    const task = await enqueue('failing')
    const record = await task.fetch({ wait: 30_000, final: true })
    await cluster.stop()

    expect(record).to.include({ state: 'failure', attempt: 3 })
    expect(attempts).to.deep.equal([1, 2, 3])
    expect(await sizes()).to.deep.equal([0, 0])
  })

  it('test_update_failed: a success replaces failures, and no later failure replaces it', async () => {
    // Long enough for the first failure to be seen.
    make({ retry: 0.5 })
    await cluster.start()
    const task = await enqueue('fail_first', [join(dataDir, 'ledger'), 2])
    const first = await task.fetch({ wait: 30_000 })
    const last = await task.fetch({ wait: 30_000, final: true })

    expect(first?.error?.message).to.match(/^failure [12]$/)
    expect(last).to.include({ state: 'success', result: 'success', attempt: 3 })
    expect(last?.stoppedAt).to.be.above(first?.stoppedAt as Date)
    await withStore(async (store) => {
      const [saved] = await store.fetch([task.id])
      if (!saved) throw new Error('the task is not saved')
      const { final: _final, ...outcome } = saved
      await store.save([{ ...outcome, run: 4, success: false, fate: 'deadLetter', result: '{}' }])
    })
    expect(await task.fetch()).to.deep.equal(last)
  })

  it('test_acknowledge_failure_override: a failure is acknowledged at once where its task says so', async () => {
    const failures: unknown[] = []
    cluster.on('task.failed', ({ task }) => failures.push(task))
    await cluster.start()
    const once = await enqueue('failing', [], { ackFailure: true, taskName: 'once' })
    const twice = await enqueue('failing', [], { maxAttempts: 2, taskName: 'twice' })
    const good = await enqueue('multiply', [2, 3])
    const waited = { wait: 30_000, final: true }
    expect(await once.fetch(waited)).to.include({ state: 'failure', attempt: 1, final: true })
    expect(await twice.fetch(waited)).to.include({ attempt: 2 })
    expect(await good.result()).to.equal(6)
    await cluster.stop()

    expect(failures.toSorted()).to.deep.equal(['once', 'twice', 'twice'])
    expect(await sizes()).to.deep.equal([0, 0])
    const dead = await client.atBroker((broker) => broker.deadLetters('reference'))
    expect(dead.map(({ taskId }) => taskId)).to.deep.equal([twice.id])
  })

  it('test_cached: seventeen tasks whose results expire', async () => {
    await cluster.start()
    const cached = { cached: true, client }
    const single = await asyncTask(countLetters, [WORDS as string[]], cached)
    const grouped = { ...cached, group: 'cached' }
    for (const _ of range(5)) await asyncTask(copysign, [1, -1], grouped)
    const broken = await enqueue('failing', [], { ...grouped, maxAttempts: 1 })
    const iter = await asyncIter(
      copysign,
      range(10).map((n) => [n, -1] as const),
      cached,
    )

    expect(await single.result()).to.equal(LETTERS)
    expect(await iter.result()).to.deep.equal(range(10).map((n) => -n))
    expect(await resultGroup('cached', { client, count: 6 })).to.deep.equal([-1, -1, -1, -1, -1])
    expect(await countGroup('cached', { client })).to.equal(6)
    expect(await countGroup('cached', { client, failures: true })).to.equal(1)
    expect(await fetchGroup('cached', { client })).to.have.lengthOf(6)
    expect(await fetchGroup('cached', { client, failures: false })).to.have.lengthOf(5)
    for (const task of [single, broken, iter]) {
      const record = await task.fetch()
      expect(record?.expiresAt?.getTime()).to.equal((record?.stoppedAt.getTime() ?? 0) + 300_000)
    }
    expect(await deleteCached(single.id, { client })).to.equal(true)
    expect(await single.fetch()).to.equal(undefined)
    expect(await deleteCached(single.id, { client })).to.equal(false)
    expect(await deleteGroup('cached', { client, tasks: true })).to.equal(6)
    expect(await countGroup('cached', { client })).to.equal(0)
    const kept = await enqueue('multiply', [2, 3])
    await kept.result()
    expect(await deleteCached(kept.id, { client }), 'what does not expire stays').to.equal(false)
  })

  it('test_iter: one result of all items, of a function and of the class', async () => {
    const items = range(10).map((n) => [n, -1] as const)
    const iter = await asyncIter(copysign, items, { client })
    const single = await asyncIter(getTaskName, [{ name: 'Ann' }, { name: 'Bob' }], { client })
    const built = new Iter(copysign, [], { client })
    expect(await built.result()).to.equal(undefined)
    for (const item of items) built.append(...item)
    expect(built.length()).to.equal(10)
    await built.run()
    await cluster.start()

    expect(await iter.result()).to.deep.equal(range(10).map((n) => -n))
    expect(await single.result()).to.deep.equal(['Ann', 'Bob'])
    expect(await built.result()).to.deep.equal(await iter.result())
    const record = await built.fetch()
    expect(record).to.deep.include({ id: built.id, success: true, args: items })
    expect(await countGroup(iter.id, { client }), 'the pieces are put away').to.equal(0)
    expect(built.append(3, -1)).to.equal(11)
    expect(await built.fetch()).to.equal(undefined)
    expect(await (await asyncIter(copysign, [], { client })).result()).to.deep.equal([])
  })

  it('test_iter_default_cache_timeout: an iter is whole although a piece ends later than its results are kept', async () => {
    await cluster.start()
    const iter = await asyncIter(nap, [0.01, 2.1], { client, cached: 2 })

    expect(await iter.result()).to.deep.equal([0.01, 2.1])
  })

  it('test_chain: links run in turn, of a function and of the class', async () => {
    await cluster.start()
    const three = [link(copysign, [1, -1]), link(multiply, [2, 3]), link(copysign, [2, -1])] as const
    const chain = await asyncChain(three, { client, group: 'chain' })
    expect(chain.length()).to.equal(3)
    expect(await chain.result()).to.deep.equal([-1, 6, -2])
    expect(await chain.current()).to.equal(3)
    expect((await chain.fetch()).map(({ group, result }) => [group, result])).to.deep.equal([
      ['chain', -1],
      ['chain', 6],
      ['chain', -2],
    ])

    const built = new Chain({ client }).append(copysign, [1, -1]).pipe(multiply, [4])
    expect(await built.current()).to.equal(undefined)
    await built.run()
    expect(await built.result()).to.deep.equal([-1, -4])
    expect(await countGroup(built.id as string, { client })).to.equal(2)
    const longer = built.append(multiply, [2, 2])
    expect(await longer.current()).to.equal(undefined)
    await longer.run()
    expect(await longer.result()).to.deep.equal([-1, -4, 4])
  })

  it('test_asynctask_class: a task that is put together, run, and changed', async () => {
    await cluster.start()
    const task = new AsyncTask(copysign, [1, -1], { client })
    expect([task.id, task.started, await task.result(), await task.fetchGroup()]).to.deep.equal([
      undefined,
      false,
      undefined,
      undefined,
    ])
    const first = await task.run()
    expect([task.id, task.started]).to.deep.equal([first, true])
    expect(await task.result()).to.equal(-1)
    expect(await task.fetch()).to.include({ id: first, result: -1 })

    task.cached = true
    task.group = 'class'
    task.save = true
    expect([task.started, task.id]).to.deep.equal([false, undefined])
    await task.run()
    expect(await task.result()).to.equal(-1)
    expect((await task.fetch())?.expiresAt).to.be.instanceOf(Date)
    expect(await task.resultGroup()).to.deep.equal([-1])
    expect(await task.fetchGroup()).to.have.lengthOf(1)
  })

  it('TestSignals: each signal is heard where it happens', async () => {
    const told: unknown[][] = []
    const failure = Promise.withResolvers<string>()
    const ends = [
      preEnqueue(({ func, args }) => told.push(['preEnqueue', func, args])),
      postExecute(({ func, success }) => told.push(['postExecute', func, success])),
      onError(({ func, error }) => failure.resolve(`${func}: ${error.message}`)),
    ]
    make({ tasks: [...tasks, join(import.meta.dirname, 'fixtures', 'signals.ts')] })
    const unheard = Promise.withResolvers<string>()
    cluster.on('signal.failed', ({ signal, error }) => unheard.resolve(`${signal}: ${error.message}`))
    try {
      await cluster.start()
      await (await enqueue('multiply', [2, 3])).result()
      await (await enqueue('failing', [], { maxAttempts: 1 })).fetch({ wait: 30_000 })
      const seen = await (await enqueue('tell')).result()
      expect(seen).to.deep.equal([
        ['postSpawn', 'Process-'],
        ['preExecute', 'multiply', [2, 3]],
        ['postExecuteInWorker', 'multiply', true, 6],
        ['preExecute', 'failing', []],
        ['postExecuteInWorker', 'failing', false, 'it fails'],
        ['preExecute', 'tell', []],
      ])
      expect(await failure.promise).to.equal('failing: it fails')
      expect(await unheard.promise).to.equal('preExecute: a listener that fails')
      await cluster.stop()
      const heard = (signal: string) => told.filter(([name]) => name === signal)
      expect(heard('preEnqueue')).to.deep.equal([
        ['preEnqueue', 'multiply', [2, 3]],
        ['preEnqueue', 'failing', []],
        ['preEnqueue', 'tell', []],
      ])
      expect(heard('postExecute')).to.deep.equal([
        ['postExecute', 'multiply', true],
        ['postExecute', 'failing', false],
        ['postExecute', 'tell', true],
      ])
    } finally {
      for (const end of ends) end()
    }
  })

  it('test_scheduler: so many repeats, one for once, one of another queue, and the intended date', async () => {
    const names = ['hourly', 'once', 'dated']
    const met = new Map(names.map((name) => [name, Promise.withResolvers<void>()]))
    cluster.on('schedule.met', ({ schedule: name }) => met.get(name)?.resolve())
    await cluster.start()
    const hourly = await schedule(multiply, [2, 3], { client, name: 'hourly', type: 'hourly', repeats: 1 })
    const taken = await schedule(multiply, [2, 3], { client, name: 'hourly' }).catch((error: Error) => error)
    expect(taken).to.be.instanceOf(ScheduleError)
    const cron = '0 22 * * 1-12'
    const wrong = await schedule(multiply, [2, 3], { client, cron }).catch((error: Error) => error)
    expect(wrong).to.be.instanceOf(ScheduleError)
    await schedule(multiply, [2, 3], { client, name: 'once' })
    await schedule(multiply, [2, 3], { client, name: 'other', cluster: 'another' })
    const nextRun = new Date(Date.now() - 1_000)
    const dated = { client, name: 'dated', intendedDateKwarg: 'name', repeats: 1, nextRun }
    await schedule('get_task_name', [], { ...dated, type: 'daily' })

    await Promise.all([...met.values()].map(({ promise }) => promise))
    const found = (name: string, given = {}) => Schedule.find(name, { client, ...given })
    const [ended, intended] = [await found('hourly'), await found('dated')]
    expect(ended).to.include({ id: hourly.id, repeats: 0, state: 'ended' })
    expect(await result(ended?.lastTask as string, { client })).to.equal(6)
    expect(await ended?.success()).to.equal(true)
    expect(await result(intended?.lastTask as string, { client })).to.equal(nextRun.toISOString())
    expect(await found('once')).to.equal(undefined)
    expect(await found('other', { cluster: 'another' })).to.include({ state: 'active', lastTask: null })
  })

  it('test_recycle, its save_limit: the newest success is kept', async () => {
    make({ saveLimit: 1, saveFor: 0 })
    await cluster.start()
    const [first, , last] = await Promise.all([1, 2, 3].map((n) => enqueue('multiply', [n, 2])))

    await last?.result()
    await cluster.stop()
    expect(await successes()).to.equal(1)
    expect(await first?.fetch()).to.equal(undefined)
    expect(await last?.fetch()).to.include({ result: 6 })
  })

  it('test_save_limit_per_func: each function keeps its newest success', async () => {
    make({ saveLimit: 1, saveLimitPer: 'func', saveFor: 0 })
    await cluster.start()
    for (const _ of [1, 2]) {
      await enqueue('countdown', [10])
      await enqueue('multiply', [2, 3])
      await enqueue('return_empty_list', [], { taskName: 'the last one' })
    }
    const last = await enqueue('countdown', [10])
    await last.fetch({ wait: 30_000 })
    await cluster.stop()

    expect(await successes()).to.equal(3)
  })

  /** Resolves when the cluster says so. */
  const said = (event: 'worker.reincarnated' | 'worker.recycled') =>
    new Promise<void>((resolve) => cluster.on(event, () => resolve()))

  // The reference's seconds, a tenth of each. What it ends by an alarm is ended here by a kill, or not at all where it heeds
  // its signal.
  for (const [timeout, own] of [[0.1], [1, 0.1], [null, 0.1]] as const)
    it(`test_timeout: ${own ?? 'none'} of the task, ${timeout} of the cluster, the worker is reincarnated once`, async () => {
      make({ timeout, timeoutGrace: 0 })
      const reincarnated = said('worker.reincarnated')
      await cluster.start()
      const task = await enqueue('sleep', [5], own === undefined ? {} : { timeout: own })
      await reincarnated
      await task.fetch({ wait: 30_000 })
      await cluster.stop()
      expect(await task.fetch()).to.include({ success: false, attempt: 1 })
      const error = await task.result().catch((reason: Error) => reason)
      expect((error as Error).message).to.equal(
        'Task exceeded maximum timeout value (0.1 seconds); its worker process was killed',
      )
      expect(cluster.stat.reincarnations).to.equal(1)
    })

  it('test_timeout: no worker dies of a task that heeds its signal', async () => {
    make({ timeout: 0.1 })
    await cluster.start()
    const task = await enqueue('heed', [5])
    const error = await task.result({ wait: 30_000 }).catch((reason: Error) => reason)
    await cluster.stop()
    expect((error as Error).message).to.equal('Task exceeded maximum timeout value (0.1 seconds)')
    expect(cluster.stat.reincarnations).to.equal(0)
  })

  it('test_timeout_task_finishes: the limit of a task counts, not that of its cluster', async () => {
    for (const [timeout, own] of [[5], [10, 5], [0.1, 5], [null, 5]] as const) {
      make({ timeout, timeoutGrace: 0 })
      await cluster.start()
      const task = await enqueue('sleep', [0.3], own === undefined ? {} : { timeout: own })
      expect(await task.result({ wait: 30_000 })).to.equal(0.3)
      await cluster.stop()
      expect(cluster.stat.reincarnations).to.equal(0)
      await client.close()
    }
  })

  it('test_recycle: a worker is replaced after two tasks', async () => {
    make({ recycle: 2 })
    const recycled = said('worker.recycled')
    await cluster.start()
    const tasks = [
      await enqueue('multiply', [2, 3]),
      await enqueue('multiply', [2, 3]),
      await enqueue('multiply', [2, 3]),
    ]
    for (const task of tasks) expect(await task.result({ wait: 30_000 })).to.equal(6)
    await recycled
    await cluster.stop()
    expect(cluster.stat.reincarnations).to.equal(1)
  })

  it('test_max_rss: a worker with too much memory is replaced after its task', async () => {
    make({ maxRss: 20_000 })
    const recycled = said('worker.recycled')
    await cluster.start()
    const task = await enqueue('multiply', [2, 3])
    await recycled
    expect(await task.result({ wait: 30_000 })).to.equal(6)
    await cluster.stop()
    expect(cluster.stat.reincarnations).to.equal(1)
  })

  it('test_bad_secret: what is signed with another key is no stat and reaches no worker', async () => {
    const refused = Promise.withResolvers<string>()
    const ran: unknown[] = []
    cluster.on('package.refused', ({ reason }) => refused.resolve(reason))
    cluster.on('task.started', ({ task }) => ran.push(task))
    await cluster.start()
    await using stranger = new Client({ name: 'reference', dataDir, secretKey: 'another key' })
    const task = await asyncTask('multiply', [2, 3], { client: stranger })

    expect(await refused.promise).to.include('foreign signature')
    const { clusterId, pid } = cluster
    expect(await Stat.get(clusterId, { client })).to.include({ pid })
    expect(await Stat.getAll({ client: stranger })).to.deep.equal([])
    expect(await Stat.get(clusterId, { client: stranger })).to.equal(undefined)
    await cluster.stop()
    expect(ran).to.deep.equal([])
    expect(await task.fetch()).to.equal(undefined)
    expect(await sizes()).to.deep.equal([0, 0])
  })
})
