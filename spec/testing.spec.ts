import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { RetryError, TaskFailedError } from '../lib/errors.ts'
import { cancelTask } from '../lib/tasks/cancel.ts'
import { asyncChain } from '../lib/tasks/chain.ts'
import { currentTask } from '../lib/tasks/current.ts'
import { defineTask } from '../lib/tasks/define.ts'
import { asyncTask, asyncTasks } from '../lib/tasks/enqueue.ts'
import { asyncIter } from '../lib/tasks/iter.ts'
import { link, pipe } from '../lib/tasks/link.ts'
import type { TaskRecord } from '../lib/tasks/results.ts'
import { Schedule, schedule } from '../lib/tasks/schedule.ts'
import { onError, postExecute, postExecuteInWorker, preEnqueue, preExecute } from '../lib/tasks/signals.ts'
import { TestCluster, type TestClusterOptions } from '../lib/testing.ts'

const HOUR = 3_600
const DAY = 24 * HOUR

const order: string[] = []
let failures = 0
const add = defineTask('add', (a: number, b: number) => a + b)
const note = defineTask('note', (word: string) => void order.push(word))
const heed = defineTask('heed', ({ func, success }: TaskRecord) => void order.push(`${func} ${success}`))
const fail = defineTask({ name: 'fail', maxAttempts: 1 }, (): number => {
  throw new Error('no')
})
const flaky = defineTask({ name: 'flaky', retry: 10, retryFactor: 2, maxAttempts: 4 }, () => {
  failures += 1
  if (failures === 1) throw new RetryError('busy', { seconds: 3 })
  if (failures < 4) throw new Error('no')
  return failures
})
const slow = defineTask({ name: 'slow', maxAttempts: 1 }, () => sleep(20, 'done'))
const deaf = defineTask({ name: 'deaf', timeout: 30, maxAttempts: 1 }, () => new Promise<never>(() => {}))
const patient = defineTask({ name: 'patient', timeout: 30, maxAttempts: 1 }, async () => {
  const { signal } = currentTask()
  await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
})
const split = defineTask('split', async (word: string) => {
  for (const letter of word) await asyncTask(note, [letter])
})
const tasks = [add, note, heed, fail, flaky, slow, deaf, patient, split]

describe('a test cluster', () => {
  let cluster: TestCluster
  let ends: (() => void)[]

  const start = async (options: Partial<TestClusterOptions> = {}) => {
    await cluster[Symbol.asyncDispose]()
    cluster = await TestCluster.start({ tasks, ...options })
  }

  beforeEach(async () => {
    cluster = await TestCluster.start({ tasks })
    ends = []
    order.length = 0
    failures = 0
  })
  afterEach(async () => {
    for (const end of ends) end()
    await cluster[Symbol.asyncDispose]()
  })

  it('runs what is due when it is told to, and nothing before', async () => {
    const task = await asyncTask(add, [2, 3])
    await sleep(20)
    expect(await task.fetch()).to.equal(undefined)
    await cluster.drain()
    expect(await task.result({ wait: 0 })).to.equal(5)
    const events = cluster.events.map(({ event }) => event).filter((event) => event.startsWith('task.'))
    expect(events).to.deep.equal(['task.started', 'task.finished'])
  })

  it('serves the default client, and gives it back', async () => {
    const inner = await TestCluster.start({ tasks })
    const one = await asyncTask(add, [1, 1])
    await inner.drain()
    expect(await one.result({ wait: 0 })).to.equal(2)
    await inner[Symbol.asyncDispose]()
    await asyncTask(add, [2, 2])
    expect(cluster.enqueued(add)).to.have.length(1)
  })

  it('lets time pass: what comes due runs in its order', async () => {
    await asyncTask(note, ['late'], { delay: HOUR })
    await asyncTask(note, ['soon'], { runAt: new Date(cluster.now + 60_000) })
    await asyncTask(note, ['now'])
    await asyncTask(note, ['urgent'], { priority: 'high' })
    await cluster.advance(59.999)
    expect(order).to.deep.equal(['urgent', 'now'])
    await cluster.advance(0.001)
    expect(order.at(-1)).to.equal('soon')
    await cluster.advance(HOUR - 60)
    expect(order.at(-1)).to.equal('late')
  })

  it('tries again what fails, as long after as its back-off says', async () => {
    const task = await asyncTask(flaky)
    const attempts: number[] = []
    for (const seconds of [0, 3, 20, 39, 1]) {
      await cluster.advance(seconds)
      attempts.push(cluster.runs(flaky).length)
    }
    expect(attempts).to.deep.equal([1, 2, 3, 3, 4])
    expect(await task.result({ wait: 0 })).to.equal(4)
    expect(cluster.runs(flaky).map(({ attempt, success }) => [attempt, success])).to.deep.equal([
      [1, false],
      [2, false],
      [3, false],
      [4, true],
    ])
  })

  it('goes by the options of a cluster', async () => {
    const broken = defineTask('broken', () => {
      throw new Error('no')
    })
    const options = { maxAttempts: 2, retry: 60, saveLimit: 1, saveFor: 0, name: 'mail' }
    await start({ tasks: [...tasks, broken], ...options })
    const task = await asyncTask(broken)
    await cluster.advance(60)
    expect(cluster.runs(broken)).to.have.length(2)
    expect(await task.fetch()).to.include({ final: true, cluster: 'mail' })
    expect(cluster.events.map(({ event }) => event)).to.include('task.dead')
    const kept = await asyncTasks(add, [
      [1, 1],
      [2, 2],
      [3, 3],
    ])
    await cluster.drain()
    expect(await Promise.all(kept.map((one) => one.fetch().then(Boolean)))).to.deep.equal([
      false,
      false,
      true,
    ])
  })

  it('does not run what has expired, or is cancelled', async () => {
    const expired = await asyncTask(note, ['expired'], { delay: 20, expires: 10 })
    const cancelled = await asyncTask(note, ['cancelled'], { delay: 20 })
    await cancelTask(cancelled.id)
    await cluster.advance(20)
    expect(order).to.deep.equal([])
    expect(await expired.fetch()).to.include({ state: 'expired' })
    expect(await cancelled.fetch()).to.include({ state: 'cancelled' })
    expect(cluster.runs()).to.deep.equal([])
  })

  it('has what is unique once, as long as it is so', async () => {
    const [one, two] = [
      await asyncTask(note, ['a'], { unique: { within: HOUR } }),
      await asyncTask(note, ['a'], { unique: { within: HOUR } }),
    ]
    expect([one.isNew, two.isNew, two.id]).to.deep.equal([true, false, one.id])
    await cluster.advance(HOUR - 1)
    expect((await asyncTask(note, ['a'], { unique: { within: HOUR } })).isNew).to.equal(false)
    await cluster.advance(1)
    expect((await asyncTask(note, ['a'], { unique: { within: HOUR } })).isNew).to.equal(true)
  })

  it('forgets what was cached when its time is over', async () => {
    const task = await asyncTask(add, [1, 2], { cached: 10 })
    await cluster.advance(9)
    expect(await task.fetch()).to.include({ result: 3 })
    await cluster.advance(1)
    expect(await task.fetch()).to.equal(undefined)
  })

  it('runs chains, iters, groups and hooks', async () => {
    const chain = await asyncChain([link(add, [1, 2]), pipe(add, [10]), link(fail)], { hook: heed })
    const iter = await asyncIter(
      add,
      [
        [1, 1],
        [2, 2],
      ],
      { hook: heed, group: 'sums' },
    )
    await cluster.drain()
    expect(await iter.result({ wait: 0 })).to.deep.equal([2, 4])
    expect((await chain.fetch()).map(({ success }) => success)).to.deep.equal([true, true, false])
    expect(cluster.runs(add).map(({ args, result }) => [...args, result])).to.have.deep.members([
      [1, 2, 3],
      [3, 10, 13],
      [1, 1, 2],
      [2, 2, 4],
    ])
    expect(order).to.have.members(['fail false', 'add true'])
    expect(cluster.hooked(fail).map(({ hook, record }) => [hook, record.success])).to.deep.equal([
      ['heed', false],
    ])
    expect(cluster.hooked()).to.have.length(2)
  })

  describe('with schedules', () => {
    beforeEach(() => start({ startAt: new Date('2027-03-27T12:00:00Z') }))

    it('meets them at their times, across a change of the clock', async () => {
      const options = { type: 'daily', timeZone: 'Europe/Amsterdam' } as const
      await schedule(note, ['daily'], { ...options, nextRun: new Date('2027-03-27T08:00:00Z') })
      const times: string[] = []
      const end = preExecute(() => void times.push(new Date(cluster.now).toISOString()))
      ends.push(end)
      await cluster.advance(2 * DAY)
      expect(times).to.deep.equal([
        '2027-03-27T12:00:00.000Z',
        '2027-03-28T07:00:00.000Z',
        '2027-03-29T07:00:00.000Z',
      ])
    })

    it('walks a year in no time', async () => {
      await schedule(note, ['monthly'], {
        type: 'monthly',
        nextRun: new Date('2027-03-31T00:00:00Z'),
        timeZone: 'UTC',
      })
      await cluster.advance(365 * DAY)
      expect(order).to.have.length(12)
    })

    it('lets slots wait for one another, pauses and resumes', async () => {
      const given = { name: 'tick', cron: '*/10 * * * *', timeZone: 'UTC', overlap: 'queue' } as const
      const tick = await schedule(note, ['tick'], given)
      await cluster.advance(HOUR - 1)
      expect(order).to.have.length(6)
      await tick.pause()
      await cluster.advance(HOUR)
      expect(order).to.have.length(6)
      await ((await Schedule.find('tick')) as Schedule).resume()
      await cluster.advance(10 * 60)
      expect(order).to.have.length(7)
    })
  })

  describe('with a task that does not end', () => {
    it('ends it at its timeout, when it heeds its signal', async () => {
      const task = await asyncTask(patient)
      await cluster.advance(29)
      expect(await task.fetch()).to.equal(undefined)
      await cluster.advance(1)
      expect(await task.fetch())
        .to.have.property('error')
        .that.includes({ code: 'QCLUSTER_TASK_TIMEOUT' })
    })

    it('ends its worker some time later, when it does not', async () => {
      const task = await asyncTask(deaf)
      const next = await asyncTask(add, [1, 2])
      await cluster.advance(30)
      expect(await task.fetch()).to.equal(undefined)
      await cluster.advance(5)
      expect(await task.fetch())
        .to.have.property('error')
        .that.includes({ code: 'QCLUSTER_TASK_TIMEOUT' })
      expect(await next.result({ wait: 0 })).to.equal(3)
    })

    it('ends it when it is cancelled', async () => {
      const task = await asyncTask(patient)
      await cluster.advance(1)
      await cancelTask(task.id)
      await cluster.drain()
      expect(await task.fetch()).to.include({ state: 'cancelled' })
    })

    it('ends its worker when it is cancelled and does not heed that', async () => {
      const task = await asyncTask(deaf, [], { timeout: 24 * HOUR })
      await cluster.advance(1)
      await cancelTask(task.id)
      await cluster.advance(2.9)
      expect(await task.fetch()).to.equal(undefined)
      await cluster.advance(0.1)
      expect(await task.fetch()).to.include({ state: 'cancelled' })
    })

    it('has it crash with its worker', async () => {
      const task = await asyncTask(deaf, [], { maxAttempts: 2, retry: 10 })
      await cluster.advance(0)
      await cluster.crash()
      await cluster.advance(9)
      expect(await task.fetch()).to.include({ final: false, attempt: 1 })
      await cluster.advance(1)
      await cluster.crash()
      await cluster.advance(0)
      expect(await task.fetch()).to.include({ final: true, attempt: 2 })
    })
  })

  it('waits for what takes its time', async () => {
    const task = await asyncTask(slow)
    await cluster.drain()
    expect(await task.result({ wait: 0 })).to.equal('done')
  })

  it('runs what is enqueued at once, where it is inline', async () => {
    await start({ inline: true })
    const task = await asyncTask(split, ['abc'], { hook: heed })
    expect(order).to.deep.equal(['a', 'b', 'c', 'split true'])
    expect(await task.result({ wait: 0 })).to.equal(undefined)
    const failed = await asyncTask(fail)
    expect(await failed.result({ wait: 0 }).catch((error: unknown) => error)).to.be.instanceOf(
      TaskFailedError,
    )
  })

  it('keeps the outcome of what runs where it is enqueued', async () => {
    const task = await asyncTask(add, [1, 2], { sync: true, hook: heed })
    expect(await task.result({ wait: 0 })).to.equal(3)
    expect(order).to.deep.equal(['add true'])
  })

  it('calls what listens to signals', async () => {
    const heard: string[] = []
    ends = [
      preEnqueue(({ func, args }) => heard.push(`preEnqueue ${func} ${args}`)),
      preExecute(({ func }) => heard.push(`preExecute ${func}`)),
      postExecuteInWorker(({ func }, { success }) => heard.push(`postExecuteInWorker ${func} ${success}`)),
      postExecute(({ func, success }) => heard.push(`postExecute ${func} ${success}`)),
      onError(({ func, error }) => heard.push(`onError ${func} ${error.message}`)),
    ]
    await asyncTask(add, [1, 2])
    await cluster.drain()
    await asyncTask(fail)
    await cluster.drain()
    expect(heard).to.deep.equal([
      'preEnqueue add 1,2',
      'preExecute add',
      'postExecuteInWorker add true',
      'postExecute add true',
      'preEnqueue fail ',
      'preExecute fail',
      'postExecuteInWorker fail false',
      'postExecute fail false',
      'onError fail no',
    ])
  })

  it('tells what was enqueued, and how', async () => {
    await asyncTask(add, [1, 2], { group: 'sums', delay: 5, priority: 'high' })
    const [seen] = cluster.enqueued(add)
    expect(seen).to.include({ func: 'add', group: 'sums', delay: 5, priority: 'high', queue: 'default' })
    expect(seen?.args).to.deep.equal([1, 2])
    expect(cluster.enqueued(note)).to.deep.equal([])
    await cluster.advance(5)
    const [run] = cluster.runs(add)
    const sum: number | undefined = run?.result
    const [first]: readonly (number | undefined)[] = run?.args ?? []
    expect([first, sum]).to.deep.equal([1, 3])
  })

  it('runs a thousand', async () => {
    await asyncTasks(
      add,
      Array.from({ length: 1_000 }, (_, i) => [i, 1] as [number, number]),
    )
    await cluster.drain()
    expect(cluster.runs(add)).to.have.length(1_000)
  })

  it('refuses a plain function', async () => {
    const plain = (() => {}) as never
    const refused = await TestCluster.start({ tasks: [plain] }).catch((error: unknown) => error)
    expect(refused).to.have.property('message').that.includes('define')
  })
})
