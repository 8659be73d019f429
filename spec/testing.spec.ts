import { expect } from 'chai'
import { RetryError } from '../lib/errors.ts'
import { cancelTask } from '../lib/tasks/cancel.ts'
import { defineTask } from '../lib/tasks/define.ts'
import { asyncTask } from '../lib/tasks/enqueue.ts'
import { asyncIter } from '../lib/tasks/iter.ts'
import type { TaskRecord } from '../lib/tasks/results.ts'
import { TestCluster } from '../lib/testing.ts'

const add = defineTask('add', (a: number, b: number) => a + b)
const order: string[] = []
const note = defineTask('note', (word: string) => void order.push(word))
let failures = 0
const flaky = defineTask({ name: 'flaky', retry: 10, retryFactor: 2, maxAttempts: 4 }, () => {
  failures += 1
  if (failures === 1) throw new RetryError('busy', { seconds: 3 })
  if (failures < 4) throw new Error('no')
  return failures
})

describe('a test cluster', () => {
  let cluster: TestCluster

  beforeEach(async () => {
    cluster = await TestCluster.start({ tasks: [add, note, flaky] })
    order.length = 0
    failures = 0
  })
  afterEach(() => cluster[Symbol.asyncDispose]())

  it('runs what is due when it is told to, and nothing before', async () => {
    const task = await asyncTask(add, [2, 3], { client: cluster.client })
    expect(await task.fetch()).to.equal(undefined)
    await cluster.drain()
    expect(await task.result({ wait: 0 })).to.equal(5)
    expect(cluster.runsOf(add)).to.equal(1)
    expect(cluster.events.map(({ event }) => event)).to.deep.equal(['task.started', 'task.finished'])
  })

  it('lets time pass: what comes due runs in its order', async () => {
    const { client } = cluster
    await asyncTask(note, ['late'], { client, delay: 3600 })
    await asyncTask(note, ['soon'], { client, delay: 60 })
    await asyncTask(note, ['now'], { client })
    await asyncTask(note, ['urgent'], { client, priority: 'high' })
    await cluster.advance(60)
    expect(order).to.deep.equal(['urgent', 'now', 'soon'])
    await cluster.advance(3_600)
    expect(order.at(-1)).to.equal('late')
  })

  it('tries again what fails, as long after as its back-off says', async () => {
    const task = await asyncTask(flaky, [], { client: cluster.client })
    const attempts: number[] = []
    for (const seconds of [0, 3, 20, 39, 1]) {
      await cluster.advance(seconds)
      attempts.push(cluster.runsOf(flaky))
    }
    expect(attempts).to.deep.equal([1, 2, 3, 3, 4])
    expect(await task.result({ wait: 0 })).to.equal(4)
  })

  it('has what is cancelled not run, and what is unique once', async () => {
    const { client } = cluster
    const task = await asyncTask(note, ['a'], { client })
    await cancelTask(task.id, { client })
    const [one, two] = [
      await asyncTask(note, ['b'], { client, unique: true }),
      await asyncTask(note, ['b'], { client, unique: true }),
    ]
    await cluster.drain()
    expect(await task.fetch()).to.include({ state: 'cancelled' })
    expect(two.id).to.equal(one.id)
    expect(order).to.deep.equal(['b'])
  })

  it('gives up at a failure, and keeps outcomes for a time, as its options say', async () => {
    const options = { ackFailures: true, cached: 60 }
    await using frugal = await TestCluster.start({ tasks: [add, note, flaky], ...options })
    const { client } = frugal
    const failed = await asyncTask(flaky, [], { client })
    const patient = await asyncTask(flaky, [], { client, ackFailure: false, cached: 5 })
    const sum = await asyncTask(add, [2, 3], { client })
    const kept = await asyncTask(add, [2, 3], { client, cached: false })
    const all = await asyncIter(add, [[1, 2]], { client })
    await frugal.drain()
    expect(await failed.fetch()).to.include({ state: 'failure', final: true, attempt: 1 })
    expect(await patient.fetch()).to.include({ state: 'failure', final: false })
    const lives = [failed, patient, sum, kept, all].map(async (task) => {
      const { stoppedAt, expiresAt } = (await task.fetch()) as TaskRecord
      return expiresAt && (expiresAt.getTime() - stoppedAt.getTime()) / 1000
    })
    expect(await Promise.all(lives)).to.deep.equal([60, 5, 60, undefined, 60])
  })
})
