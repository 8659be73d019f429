import { expect } from 'chai'
import type { Broker, Enqueued, HearOptions } from '../../lib/brokers/broker.ts'
import { Client } from '../../lib/client.ts'
import { resolveSettings } from '../../lib/config.ts'
import { BrokerError } from '../../lib/errors.ts'
import { EVERYBODY, sealNotices } from '../../lib/notices.ts'
import { openPackage } from '../../lib/package.ts'
import { Signer } from '../../lib/signing.ts'
import type { Outcome, SavedOutcome, Store } from '../../lib/stores/store.ts'
import { asyncTask } from '../../lib/tasks/enqueue.ts'
import { resultGroup } from '../../lib/tasks/groups.ts'
import { result, type Task } from '../../lib/tasks/results.ts'

const signer = new Signer(['spec secret'])
const turn = () => new Promise(setImmediate)

describe('who waits for a result over a broker that brings it', () => {
  let enqueued: Enqueued[]
  let ears: Map<string, HearOptions>
  let isAway: boolean
  let saved: Map<string, SavedOutcome>
  let looks: number
  let client: Client

  beforeEach(() => {
    enqueued = []
    ears = new Map()
    isAway = false
    saved = new Map()
    looks = 0
    const options = { broker: 'amqp://nowhere', secretKey: 'spec secret' }
    client = new Client(options, {
      resolve: (given) => resolveSettings(given, { file: null, env: {} }),
      makeBroker: async () => broker as Partial<Broker> as Broker,
      makeStore: async () => store as Partial<Store> as Store,
    })
  })
  afterEach(() => client.close())

  const broker = {
    connect: async () => {},
    close: async () => {},
    enqueue: async (batch: readonly Enqueued[]) => void enqueued.push(...batch),
    hear: async (options: HearOptions) => {
      if (isAway) throw new BrokerError('It is away.')
      ears.set(options.address, options)
      return { stop: async () => void ears.delete(options.address) }
    },
  }
  const store = {
    connect: async () => {},
    close: async () => {},
    fetch: async (ids: readonly string[]) => {
      looks += 1
      return ids.flatMap((id) => saved.get(id) ?? [])
    },
    countGroup: async () => {
      looks += 1
      return { successes: saved.size, failures: 0, retrying: 0 }
    },
    list: async () => [...saved.values()],
  }

  const enqueue = () => asyncTask('add', [2, 3], { client })
  const headerOf = ({ id }: Task) => {
    const { queue, package: sealed } = enqueued.find((one) => one.package.taskId === id) as Enqueued
    return openPackage(sealed, queue, signer).header
  }
  const outcomeOf = ({ id }: Pick<Task, 'id'>, change: Partial<Outcome> = {}): Outcome => ({
    ...{ taskId: id, name: 'n', func: 'add', run: 1, attempt: 1, args: '[2,3]', cluster: 'default' },
    ...{ enqueuedAt: 1, startedAt: 2, stoppedAt: 3, success: true, result: '5', fate: 'ack', ...change },
  })
  /** As a cluster does it: saved, then told. */
  const save = (...outcomes: Outcome[]) => {
    for (const outcome of outcomes) saved.set(outcome.taskId, { ...outcome, final: outcome.fate !== 'retry' })
  }
  const tell = (outcomes: Outcome[], replyTo?: string, by = signer) => {
    const told = outcomes.map((outcome) => ({ outcome, replyTo }))
    for (const { to, body } of sealNotices(told, by)) ears.get(to)?.onNotice(body)
  }
  const cluster = (...outcomes: Outcome[]) => {
    save(...outcomes)
    for (const outcome of outcomes) tell([outcome], headerOf({ id: outcome.taskId } as Task).replyTo)
  }
  /** Some turns later whoever has called `result` waits, and whoever was told has looked; nobody looks by himself yet. */
  const waits = async () => {
    for (let n = 0; n < 5; n += 1) await turn()
  }
  /** A client that has waited before listens, and says so in what it enqueues. */
  async function listening(): Promise<Task> {
    const first = await enqueue()
    const waiting = first.result()
    while (ears.size < 2) await turn()
    cluster(outcomeOf(first))
    await waiting
    looks = 0
    return enqueue()
  }

  it('hears of the first task among all, and asks for the outcomes of its later ones', async () => {
    const first = await enqueue()
    expect(headerOf(first)).not.to.have.property('replyTo')
    expect(ears.size, 'who only enqueues does not listen').to.equal(0)
    const waiting = first.result()
    while (ears.size < 2) await turn()
    cluster(outcomeOf(first))
    expect(await waiting).to.equal(5)

    const later = await enqueue()
    expect(headerOf(later)).to.have.property('replyTo').that.is.a('string')
    expect([...ears.keys()], 'it stops listening for all').to.deep.equal([headerOf(later).replyTo])
  })

  it('is given the outcome itself, and does not look for what it has just enqueued', async () => {
    const task = await listening()
    const waiting = task.result()
    await waits()
    tell([outcomeOf(task)], headerOf(task).replyTo)
    expect(await waiting).to.equal(5)
    expect(looks).to.equal(0)
  })

  it('looks when it was told before it waits', async () => {
    const task = await listening()
    cluster(outcomeOf(task))
    expect(await task.result()).to.equal(5)
    expect(looks).to.equal(1)
  })

  it('looks when it has not heard all since it enqueued', async () => {
    const task = await listening()
    const [lost] = ears.values()
    ears.clear()
    save(outcomeOf(task))
    lost?.onLost(new Error('gone'))
    expect(await task.result()).to.equal(5)
    expect(looks).to.be.at.least(1)
  })

  it('fetches a large outcome, of which it is only told that it is there', async () => {
    const task = await listening()
    const waiting = task.result()
    await waits()
    cluster(outcomeOf(task, { result: JSON.stringify('x'.repeat(100_000)) }))
    expect(await waiting).to.have.length(100_000)
    expect(looks).to.equal(1)
  })

  it('hears of tasks of others, and looks for those alone', async () => {
    const other = { id: 'f'.repeat(32) }
    const waiting = result(other.id, { client })
    while (!ears.has(EVERYBODY)) await turn()
    await turn()
    looks = 0
    tell([outcomeOf({ id: 'e'.repeat(32) })])
    await turn()
    expect(looks).to.equal(0)
    save(outcomeOf(other))
    tell([outcomeOf(other)])
    await waits()
    expect(looks, 'at once').to.equal(1)
    expect(await waiting).to.equal(5)
  })

  it('hears of what the pieces of an iter became when the last of them is told', async () => {
    const whole = { id: 'f'.repeat(32) }
    const waiting = result(whole.id, { client })
    while (!ears.has(EVERYBODY)) await turn()
    await turn()
    looks = 0
    save(outcomeOf(whole))
    const piece = { outcome: outcomeOf({ id: 'e'.repeat(32) }), replyTo: undefined, iter: whole.id }
    for (const { to, body } of sealNotices([piece], signer)) ears.get(to)?.onNotice(body)
    await waits()
    expect(looks, 'at once').to.equal(1)
    expect(await waiting).to.equal(5)
  })

  it('counts a group when something of it was saved', async () => {
    const waiting = resultGroup('g', { count: 2, client })
    while (!ears.has(EVERYBODY)) await turn()
    await turn()
    looks = 0
    tell([outcomeOf({ id: '1'.repeat(32) }, { group: 'another' })])
    await turn()
    expect(looks).to.equal(0)
    const ofGroup = [...'12'].map((digit) => outcomeOf({ id: digit.repeat(32) }, { group: 'g' }))
    save(...ofGroup)
    tell(ofGroup)
    await waits()
    expect(looks, 'at once').to.be.at.least(1)
    expect(await waiting).to.deep.equal([5, 5])
  })

  it('goes on waiting for the last outcome when it is told of a failure that will be tried again', async () => {
    const task = await listening()
    const waiting = task.result({ final: true })
    await waits()
    cluster(outcomeOf(task, { success: false, result: '{"message":"not yet"}', fate: 'retry' }))
    await turn()
    cluster(outcomeOf(task, { run: 2 }))
    expect(await waiting).to.equal(5)
    expect(looks).to.equal(0)
  })

  it('believes no notice that another key has signed, or none, or that is broken', async () => {
    const task = await listening()
    const waiting = task.result()
    await waits()
    const { replyTo } = headerOf(task)
    tell([outcomeOf(task, { result: '"forged"' })], replyTo, new Signer(['another secret']))
    for (const body of ['', 'x', `${'x'.repeat(43)}\n{"at":1}`]) ears.get(replyTo as string)?.onNotice(body)
    await turn()
    tell([outcomeOf(task)], replyTo)
    expect(await waiting).to.equal(5)
  })

  it('looks at once when it hears no more, and listens again', async () => {
    const task = await listening()
    const waiting = task.result()
    await waits()
    save(outcomeOf(task))
    const [lost] = ears.values()
    ears.clear()
    lost?.onLost(new Error('gone'))
    expect(await waiting).to.equal(5)
    expect([...ears.keys()]).to.deep.equal([lost?.address])
  })

  it('looks now and then while the broker is away', async () => {
    isAway = true
    const task = await enqueue()
    const waiting = task.result()
    while (looks === 0) await turn()
    save(outcomeOf(task))
    expect(await waiting).to.equal(5)
    expect(ears.size).to.equal(0)
  })
})
