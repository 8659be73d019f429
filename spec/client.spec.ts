import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import type { Broker, Delivery } from '../lib/brokers/broker.ts'
import { createBroker } from '../lib/brokers/index.ts'
import { Client, type ClientParts } from '../lib/client.ts'
import { type Options, resolveSettings } from '../lib/config.ts'
import {
  BrokerError,
  ConfigError,
  type QclusterError,
  ResultTimeoutError,
  SerializationError,
  StoreError,
  TaskFailedError,
} from '../lib/errors.ts'
import { openPackage, type TaskHeader } from '../lib/package.ts'
import { Signer } from '../lib/signing.ts'
import { createStore } from '../lib/stores/index.ts'
import type { Outcome, Store } from '../lib/stores/store.ts'
import { decode, encode } from '../lib/tasks/codec.ts'
import { defineTask } from '../lib/tasks/define.ts'
import { asyncTask, asyncTasks, queueSize } from '../lib/tasks/enqueue.ts'
import { encodeError, toFailure } from '../lib/tasks/failure.ts'
import { deleteTask, fetch, result, type Task } from '../lib/tasks/results.ts'

const add = defineTask('math.add', (a: number, b: number) => a + b)
const report = defineTask({ name: 'report', timeout: 60, maxAttempts: 5, retry: 2 }, (_of: object) => {})

/** Calls that the types forbid and that JavaScript allows. */
const untyped = asyncTask as (task: unknown, args?: unknown, options?: unknown) => Promise<Task>

describe('a client', () => {
  const secret = 'spec secret'
  let dataDir: string
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-client-'))
    client = newClient()
  })
  afterEach(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  /** A client that neither the environment nor a config file has a say in. */
  function newClient(parts: Partial<ClientParts> = {}, options: Options = {}): Client {
    const resolve = (given: Options) => resolveSettings(given, { file: null, env: {} })
    return new Client({ dataDir, secretKey: secret, ...options }, { resolve, ...parts })
  }

  async function failureOf<T>(promise: Promise<T>): Promise<QclusterError> {
    return (await promise.then(
      () => expect.fail('it succeeds'),
      (error: unknown) => error,
    )) as QclusterError
  }

  describe('that enqueues', () => {
    it('hands a signed package to the broker', async () => {
      const before = Date.now()
      const task = await asyncTask(add, [2, 3], { client })
      const [delivery] = await deliveries('default', 1)
      const { header, args } = openPackage(delivery as Delivery, 'default', new Signer([secret]))

      expect(header).to.deep.equal({
        id: task.id,
        name: task.name,
        run: 1,
        attempt: 1,
        func: 'math.add',
        enqueuedAt: header.enqueuedAt,
      } satisfies TaskHeader)
      expect(header.enqueuedAt).to.be.within(before, Date.now())
      expect(decode(args)).to.deep.equal([2, 3])
    })

    it('gives back a handle with an id and four words for people', async () => {
      const task = await asyncTask(add, [2, 3], { client })

      expect(task.id).to.match(/^[0-9a-f]{32}$/)
      expect(task.name).to.match(/^\w+(-\w+){3}$/)
      expect(task.func).to.equal('math.add')
      expect(JSON.stringify(task), 'no connection and no secret').to.equal(
        JSON.stringify({ id: task.id, name: task.name, func: task.func }),
      )
    })

    it('sends the limits of the task, and over them those of the call', async () => {
      const sent = await headerOf(report, [{}], { timeout: 5, save: false })

      expect(sent).to.include({ timeout: 5, maxAttempts: 5, retry: 2, save: false })
    })

    it('lets the caller name task and group', async () => {
      const task = await asyncTask(add, [2, 3], { client, taskName: 'sum of the day', group: 'sums' })
      const [header] = await headersOn('default', 1)

      expect(task).to.include({ name: 'sum of the day', group: 'sums' })
      expect(header).to.include({ name: 'sum of the day', group: 'sums' })
    })

    it('takes an option that is undefined for one that is not given', async () => {
      const options = { group: undefined, taskName: undefined, timeout: undefined, cluster: undefined }
      const header = await headerOf(add, [2, 3], options as object)

      expect(header).to.have.all.keys('id', 'name', 'run', 'attempt', 'func', 'enqueuedAt')
    })

    it('enqueues by name what it does not have', async () => {
      const header = await headerOf('tasks.add', [2, 3])

      expect(header).to.include({ func: 'tasks.add' })
    })

    it('enqueues to the cluster that is named, signed for its queue', async () => {
      await asyncTask(add, [2, 3], { client, cluster: 'mail' })

      expect(await headersOn('mail', 1)).to.have.length(1)
    })

    it('hands out a delayed task when its time has come', async () => {
      const before = Date.now()
      const tasks = [
        await asyncTask(add, [2, 3], { client, delay: 0.2 }),
        await asyncTask(add, [2, 3], { client, runAt: new Date(before + 100) }),
        await asyncTask(add, [2, 3], { client, runAt: new Date(before - 100) }),
      ]
      const ids = (await deliveries('default', 3)).map(({ taskId }) => taskId)

      expect(Date.now() - before).to.be.at.least(200)
      expect(ids).to.deep.equal(tasks.map(({ id }) => id).toReversed())
    })

    it('enqueues ten thousand in one go, each with its own arguments, or none', async () => {
      const tasks = await asyncTasks(
        add,
        Array.from({ length: 10_000 }, (_, i) => [i, i] as const),
        { client, group: 'many' },
      )

      expect(new Set(tasks.map(({ id }) => id)).size).to.equal(10_000)
      expect(await queueSize({ client })).to.equal(10_000)
      const [first] = await headersOn('default', 1)
      expect(first).to.include({ id: tasks[0]?.id, group: 'many' })
      expect(await asyncTasks(add, [], { client })).to.deep.equal([])
      const failure = await failureOf(
        asyncTasks('math.add', [[1, 2], [() => {}]], { client, cluster: 'mail' }),
      )
      expect(failure).to.be.instanceOf(SerializationError)
      expect(await queueSize({ client, cluster: 'mail' }), 'none').to.equal(0)
    }).timeout(20_000)

    it('enqueues a unique task once, and gives back the one that is there already', async () => {
      const options = { client, unique: true }
      const [first, again] = [await asyncTask(add, [2, 3], options), await asyncTask(add, [2, 3], options)]
      const other = await asyncTask(add, [3, 2], options)

      expect([first.isNew, again.isNew, other.isNew]).to.deep.equal([true, false, true])
      expect(again).to.include({ id: first.id, name: first.name })
      expect(await queueSize({ client })).to.equal(2)
      const keyed = { client, unique: { key: 'sum' } }
      const ids = (
        await asyncTasks(
          add,
          [
            [1, 1],
            [2, 2],
          ],
          keyed,
        )
      ).map(({ id }) => id)
      expect(new Set(ids).size, 'one key, other arguments').to.equal(1)
      await client.atStore(({ uniques }) => uniques.release([first.id]))
      expect((await asyncTask(add, [2, 3], options)).isNew).to.equal(true)
    })

    it('enqueues a unique task once, however many clients want it at the same time', async () => {
      const clients = [client, newClient(), newClient(), newClient()]
      const tasks = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          asyncTask(add, [1, 1], { client: clients[i % 4] as Client, unique: true }),
        ),
      )
      await Promise.all(clients.slice(1).map((one) => one.close()))

      expect(new Set(tasks.map(({ id }) => id)).size).to.equal(1)
      expect(tasks.filter(({ isNew }) => isNew)).to.have.length(1)
      expect(await queueSize({ client })).to.equal(1)
    })

    it('refuses rules of uniqueness that are none', async () => {
      for (const unique of ['yes', 5, null, { key: '' }, { within: -1 }, { untill: 5 }])
        expect(await failureOf(untyped(add, [2, 3], { client, unique }))).to.be.instanceOf(ConfigError)
    })

    it('refuses delays that are none', async () => {
      for (const options of [
        { delay: -1 },
        { delay: '5' },
        { delay: 400 * 24 * 3600 },
        { runAt: 5 },
        { runAt: new Date(Number.NaN) },
        { delay: 1, runAt: new Date() },
      ])
        expect(await failureOf(untyped(add, [2, 3], { client, ...options }))).to.be.instanceOf(ConfigError)
    })

    it('tells how many tasks wait', async () => {
      await asyncTask(add, [2, 3], { client })
      await asyncTask(add, [2, 3], { client })
      await asyncTask(add, [2, 3], { client, cluster: 'mail' })

      expect(await queueSize({ client })).to.equal(2)
      expect(await queueSize({ client, cluster: 'mail' })).to.equal(1)
      expect(await queueSize({ client, cluster: 'nobody' })).to.equal(0)
    })

    it('encodes the arguments when it is called', async () => {
      const values = { of: 'march', at: new Date(0) }
      const enqueued = asyncTask(report, [values], { client })
      values.of = 'april'
      await enqueued
      const [delivery] = await deliveries('default', 1)

      expect(decode(openPackage(delivery as Delivery, 'default', new Signer([secret])).args)).to.deep.equal([
        { of: 'march', at: new Date(0) },
      ])
    })

    it('keeps the order of calls', async () => {
      const tasks = await Promise.all(
        Array.from({ length: 50 }, (_, n) => asyncTask(add, [n, n], { client })),
      )
      const headers = await headersOn('default', 50)

      expect(headers.map(({ id }) => id)).to.deep.equal(tasks.map(({ id }) => id))
      expect(tasks.map(({ id }) => id)).to.deep.equal(tasks.map(({ id }) => id).sort())
    })

    it('sends nothing that cannot be encoded', async () => {
      const error = await failureOf(untyped(report, [{ done: () => {} }], { client }))

      expect(error).to.be.instanceOf(SerializationError)
      expect(error.message).to.match(/^args/)
      expect(await waiting()).to.equal(0)
    })

    it('sends no argument of 50 MB, and says what to do instead', async () => {
      const error = await failureOf(untyped('math.add', ['x'.repeat(50_000_000)], { client }))

      expect(error).to.be.instanceOf(SerializationError)
      expect(error.message).to.equal(
        'The arguments of "math.add" would take 50000004 bytes, and maxPayload allows 16000000; ' +
          'pass a reference such as a path or an id, or raise maxPayload.',
      )
      expect(await waiting()).to.equal(0)
    })

    it('deflates long arguments where it is told to', async () => {
      await using compressing = newClient({}, { compress: true })
      await untyped('math.add', ['x'.repeat(50_000)], { client: compressing })
      const [delivery] = await deliveries('default', 1)
      const { args } = openPackage(delivery as Delivery, 'default', new Signer([secret]))

      expect(args.length).to.be.below(500)
      expect(decode(args)).to.deep.equal(['x'.repeat(50_000)])
    })

    it('refuses a plain function and says what to do', async () => {
      const error = await failureOf(untyped(function send() {}, [], { client }))

      expect(error).to.be.instanceOf(ConfigError)
      expect(error.message).to.contain("the function send is; make it one with defineTask('send', …)")
    })

    const wrong: [string, unknown[], RegExp][] = [
      [
        'what is no task',
        [{ name: 'add' }],
        /needs what defineTask made, or the name of a task, got an object/,
      ],
      ['an empty name', [''], /^The name of a task must be 1 to 200 characters/],
      ['arguments that are no list', [add, 2], /must be a list, got 2; write \[2\]/],
      ['an unknown option', [add, [], { time_out: 5 }], /"time_out"; the nearest one is timeout\./],
      ['another unknown option', [add, [], { attempts: 5 }], /"attempts"; the nearest one is maxAttempts\./],
      ['a limit out of its range', [add, [], { timeout: -1 }], /timeout must be a number of seconds above 0/],
      ['a group with a control character', [add, [], { group: 'a\nb' }], /group must be 1 to 200 characters/],
      ['a name that is too long', [add, [], { taskName: 'x'.repeat(201) }], /taskName must be/],
      ['a cluster that is no text', [add, [], { cluster: 5 }], /cluster must be .*, got 5/],
      [
        'a save that is neither true nor false',
        [add, [], { save: 'no' }],
        /save must be true or false, got "no"/,
      ],
    ]
    for (const [what, [task, args, options], message] of wrong)
      it(`refuses ${what}`, async () => {
        const error = await failureOf(untyped(task, args, { client, ...(options as object) }))

        expect(error).to.be.instanceOf(ConfigError)
        expect(error.message).to.match(message)
      })

    it('tells what is wrong with its own options at the first use', async () => {
      const misled = newClient({}, { workers: 0 })

      expect(await failureOf(asyncTask(add, [2, 3], { client: misled }))).to.be.instanceOf(ConfigError)
    })

    it('connects again after the broker was lost', async () => {
      const told: string[] = []
      const flaky = newClient({
        makeBroker: async () =>
          ({
            connect: async () => void told.push('connect'),
            enqueue: async () => {
              if (told.push('enqueue') === 2) throw new BrokerError('The broker is lost.')
            },
            close: async () => {},
          }) satisfies Partial<Broker> as Partial<Broker> as Broker,
      })
      expect(await failureOf(asyncTask(add, [2, 3], { client: flaky }))).to.be.instanceOf(BrokerError)
      await asyncTask(add, [2, 3], { client: flaky })
      await asyncTask(add, [2, 3], { client: flaky })

      expect(told).to.deep.equal(['connect', 'enqueue', 'connect', 'enqueue', 'enqueue'])
    })
  })

  describe('that looks for results', () => {
    /** Another process's store. */
    let store: Store
    let saved: Task<number>

    beforeEach(async () => {
      store = await createStore({ dataDir })
      await store.connect()
      saved = await asyncTask(add, [2, 3], { client })
    })
    afterEach(() => store.close())

    it('gives what the task returned', async () => {
      await store.save([success(saved, 5)])

      expect(await saved.result()).to.equal(5)
      expect(await result(saved.id, { client })).to.equal(5)
      expect(await result(saved.name, { client })).to.equal(5)
    })

    for (const value of [undefined, null, 0, '', false, Number.NaN, [], {}])
      it(`tells ${value === '' ? 'an empty text' : (JSON.stringify(value) ?? 'undefined')} from no result`, async () => {
        expect(await saved.fetch()).to.equal(undefined)
        await store.save([success(saved, value)])

        expect(await saved.result({ wait: 1_000 })).to.deep.equal(value)
        expect(await saved.fetch()).to.include({ id: saved.id, state: 'success', success: true })
      })

    it('waits for a result that is saved later', async () => {
      const { looked, ...parts } = spied()
      const waiting = newClient(parts)
      const results = [
        result(saved.id, { client: waiting }),
        result(saved.id, { client: waiting, wait: 5_000 }),
      ]
      await looked
      await store.save([success(saved, 5)])

      expect(await Promise.all(results)).to.deep.equal([5, 5])
      await waiting.close()
    })

    it('is woken, and does not wait for its next look', async () => {
      let looks = 0
      const { looked, ...parts } = spied({ fetch: () => looks++ })
      const woken = newClient(parts)
      const handle = result(saved.id, { client: woken })
      await looked
      const savedAt = performance.now()
      await store.save([success(saved, 5)])

      expect(await handle).to.equal(5)
      expect(performance.now() - savedAt).to.be.below(500)
      expect(looks, 'one before, one after').to.equal(2)
      await woken.close()
    })

    it('joins the looks of all who wait', async () => {
      const sizes: number[] = []
      const { looked, ...parts } = spied({ fetch: (ids) => sizes.push(ids.length) })
      const joining = newClient(parts)
      const tasks = await Promise.all(
        Array.from({ length: 200 }, (_, n) => asyncTask(add, [n, n], { client: joining })),
      )
      const results = tasks.map((task) => task.result())
      await looked
      await store.save(tasks.map((task, n) => success(task, n)))

      expect(await Promise.all(results)).to.deep.equal(tasks.map((_, n) => n))
      expect(sizes, 'one look before, one a ring after').to.deep.equal([200, 200])
      await joining.close()
    })

    it('finds a result whose wake-up was lost', async () => {
      const { looked, ...parts } = spied({ watch: () => ({ stop: async () => {} }) })
      const deaf = newClient(parts)
      const handle = result(saved.id, { client: deaf })
      await looked
      await store.save([success(saved, 5)])

      expect(await handle).to.equal(5)
      await deaf.close()
    })

    it('waits for a task of which it knows the name only', async () => {
      const { looked, ...parts } = spied()
      const waiting = newClient(parts)
      const handle = result(saved.name, { client: waiting, wait: 5_000 })
      await looked
      await store.save([success(saved, 5)])

      expect(await handle).to.equal(5)
      await waiting.close()
    })

    it('gives up when the time is over, and names the task', async () => {
      const error = await failureOf(saved.result({ wait: 20 }))

      expect(error).to.be.instanceOf(ResultTimeoutError)
      expect(error.message).to.equal(
        `The task "${saved.name}" (${saved.id}) had no outcome within 20 ms and may still finish; wait longer, and see that a cluster serves its queue.`,
      )
      expect(await saved.fetch({ wait: 20 }), 'fetch').to.equal(undefined)
      expect(await failureOf(result('no-such-name', { client, wait: 0 }))).to.be.instanceOf(
        ResultTimeoutError,
      )
    })

    it('waits for ever when the time is more than a timer can hold', async () => {
      const handle = saved.result({ wait: 2 ** 40 })
      await saved.fetch()
      await store.save([success(saved, 5)])

      expect(await handle).to.equal(5)
    })

    it('refuses a wait that is no time', async () => {
      for (const wait of [-1, Number.NaN, '5'])
        expect(await failureOf(saved.result({ wait: wait as number })), String(wait))
          .to.be.instanceOf(ConfigError)
          .with.property('message')
          .that.contains('wait must be milliseconds, 0 or more')
    })

    it('throws what the task threw', async () => {
      const thrown = new RangeError('too much', { cause: new Error('far') })
      const { name, message, stack } = thrown
      await store.save([
        {
          ...success(saved),
          success: false,
          attempt: 3,
          fate: 'deadLetter',
          result: encodeError(toFailure(thrown)),
        },
      ])
      const error = (await failureOf(saved.result())) as TaskFailedError

      expect(error).to.be.instanceOf(TaskFailedError)
      expect(error).to.include({ message: 'too much', taskId: saved.id, attempt: 3, stack })
      expect(error.cause).to.deep.include({ name, message, stack })
      expect(error.cause).to.have.nested.property('cause.message', 'far')
      expect(await saved.fetch())
        .to.include({ state: 'failure', success: false, attempt: 3, final: true })
        .and.to.have.nested.property('error.message', 'too much')
    })

    it('gives the whole record, its values decoded', async () => {
      const { id, name } = saved
      const times = { enqueuedAt: 1_000, startedAt: 1_500, stoppedAt: 3_000 }
      await store.save([{ ...success(saved, new Map([[1, 2]])), ...times, args: '[2,3]', group: 'sums' }])

      expect(await saved.fetch()).to.deep.equal({
        ...{ id, name, func: 'math.add', args: [2, 3], group: 'sums', cluster: 'default' },
        ...{ state: 'success', success: true, final: true, result: new Map([[1, 2]]), attempt: 1, run: 1 },
        ...{ enqueuedAt: new Date(1_000), startedAt: new Date(1_500), stoppedAt: new Date(3_000) },
        timeTaken: 2,
      })
    })

    it('forgets a record', async () => {
      await store.save([success(saved, 5)])

      expect(await saved.delete()).to.equal(true)
      expect(await saved.delete()).to.equal(false)
      expect(await deleteTask(saved.name, { client })).to.equal(false)
      expect(await saved.fetch()).to.equal(undefined)
    })

    it('refuses a name that no task can have', async () => {
      expect(await failureOf(result('a\nb', { client }))).to.be.instanceOf(ConfigError)
    })

    it('answers with the first outcome, or with the last when that is wanted', async () => {
      const last = saved.result({ final: true })
      const failure = encodeError({ name: 'Error', message: 'not yet' })
      await store.save([{ ...success(saved), success: false, fate: 'retry', result: failure }])

      expect((await failureOf(saved.result())).message).to.equal('not yet')
      expect(await saved.fetch({ final: true })).to.equal(undefined)
      expect(await saved.fetch({ final: true, wait: 20 })).to.equal(undefined)
      await store.save([{ ...success(saved, 5), run: 2, attempt: 2 }])
      expect(await last).to.equal(5)
    })

    it('tells at once that the store cannot be reached', async () => {
      const lost = newClient(spied({ connect: unreachable }))

      expect(await failureOf(result(saved.id, { client: lost }))).to.be.instanceOf(StoreError)
      expect(await failureOf(fetch(saved.id, { client: lost }))).to.be.instanceOf(StoreError)
      await lost.close()
    })

    it('sits an outage of the store out', async () => {
      let outages = 0
      const { looked, ...parts } = spied({ fetch: () => outages-- > 0 && unreachable() })
      const patient = newClient(parts)
      const handle = result(saved.id, { client: patient })
      await looked
      outages = 1
      await store.save([success(saved, 5)])

      expect(await handle).to.equal(5)
      expect(outages).to.be.below(1)
      await patient.close()
    })

    it('tells of an outage that outlasts the wait', async () => {
      let isLost = false
      const { looked, ...parts } = spied({ fetch: () => isLost && unreachable() })
      const patient = newClient(parts)
      const handle = failureOf(result(saved.id, { client: patient, wait: 100 }))
      await looked
      isLost = true
      await store.save([success(saved, 5)])

      expect(await handle).to.be.instanceOf(StoreError)
      await patient.close()
    })

    interface Spies {
      connect?(): void
      fetch?(ids: readonly string[]): void
      watch?(): { stop(): Promise<void> }
    }

    /** A client's store that calls the spies first, and tells when it was looked into. */
    function spied(spies: Spies = {}): Pick<ClientParts, 'makeStore'> & { looked: Promise<void> } {
      const { promise: looked, resolve } = Promise.withResolvers<void>()
      const tell = <T>(found: T) => {
        resolve()
        return found
      }
      const makeStore = async () => {
        const own = await createStore({ dataDir })
        return {
          connect: async () => {
            spies.connect?.()
            await own.connect()
          },
          fetch: async (ids) => {
            spies.fetch?.(ids)
            return tell(await own.fetch(ids))
          },
          fetchByName: async (name) => tell(await own.fetchByName(name)),
          watch: async (onSaved) => spies.watch?.() ?? own.watch(onSaved),
          close: () => own.close(),
        } satisfies Partial<Store> as Partial<Store> as Store
      }
      return { makeStore, looked }
    }
  })

  describe('that is closed', () => {
    it('has flushed what was being enqueued', async () => {
      const enqueued = asyncTask(add, [2, 3], { client })
      await client.close()
      await enqueued

      expect(await waiting()).to.equal(1)
    })

    it('ends all waiting', async () => {
      const task = await asyncTask(add, [2, 3], { client })
      const handle = failureOf(task.result())
      await task.fetch()
      await client.close()

      expect(await handle)
        .to.be.instanceOf(ResultTimeoutError)
        .with.property('message')
        .that.contains(`The client was closed while waiting for the task ${task.id}`)
    })

    it('may be closed again, unused, and used again', async () => {
      await client.close()
      await client.close()
      await asyncTask(add, [2, 3], { client })
      await client.close()
      await asyncTask(add, [2, 3], { client })

      expect(await waiting()).to.equal(2)
    })

    it('is closed at the end of its block', async () => {
      let task: Task
      let handle: Promise<QclusterError>
      {
        await using scoped = newClient()
        task = await asyncTask(add, [2, 3], { client: scoped })
        handle = failureOf(task.result())
      }
      expect(await handle).to.be.instanceOf(ResultTimeoutError)
    })
  })

  describe('in a process of its own', () => {
    it('lets the process end by itself', async () => {
      expect(
        await run(`await asyncTask('add', [2, 3]); print(String(await fetch('no-such-name')))`),
      ).to.deep.equal({
        code: 0,
        output: 'undefined\n',
      })
      expect(await waiting()).to.equal(1)
    })

    it('keeps the process until what is enqueued without await is confirmed', async () => {
      expect(await run(`asyncTask('add', [2, 3])`)).to.include({ code: 0 })
      expect(await waiting()).to.equal(1)
    })

    it('keeps the process while somebody waits, and no longer', async () => {
      const script = `
        const task = await asyncTask('add', [2, 3])
        await task.result({ wait: 300 }).catch((error) => print(error.code))`

      expect(await run(script)).to.deep.equal({ code: 0, output: 'QCLUSTER_RESULT_TIMEOUT\n' })
    })

    it('is the default of all who name no other', async () => {
      const script = `
        configure({ name: 'mail' })
        const task = await asyncTask('add', [2, 3])
        print(typeof await fetch(task.id), typeof await fetch(task.id, { client: defaultClient() }))`

      expect(await run(script)).to.deep.equal({ code: 0, output: 'undefined undefined\n' })
      expect(await waiting('mail')).to.equal(1)
    })

    /** Runs a script with the default client. A top-level await that nothing keeps alive ends with exit code 13. */
    async function run(script: string): Promise<{ code: number; output: string }> {
      const from = (file: string) => JSON.stringify(new URL(`../lib/${file}`, import.meta.url).href)
      const source = `
        import { configure, defaultClient } from ${from('client.ts')}
        import { asyncTask } from ${from('tasks/enqueue.ts')}
        import { fetch } from ${from('tasks/results.ts')}
        const print = (...values) => process.stdout.write(values.join(' ') + '\\n')
        ${script}`
      const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
        cwd: dataDir,
        env: { ...process.env, QCLUSTER_DATA_DIR: dataDir, QCLUSTER_SECRET_KEY: secret },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
      return { code: code as number, output }
    }
  })

  describe('that is the default', () => {
    it('is what configure was given, and cannot be changed in use', async () => {
      const copy = await freshCopy()
      copy.configure({ dataDir, secretKey: secret, name: 'first' })
      copy.configure({ dataDir, secretKey: secret, name: 'second' })

      expect((await copy.defaultClient().settings()).name).to.equal('second')
      expect(copy.defaultClient()).to.equal(copy.defaultClient())
      expect(() => copy.configure({ name: 'third' })).to.throw(
        ConfigError,
        'before, or close() the client first',
      )
      await copy.close()
      copy.configure({ dataDir, secretKey: secret, name: 'third' })
      expect((await copy.defaultClient().settings()).name).to.equal('third')
    })

    it('goes by the first offer when nobody configures it', async () => {
      const copy = await freshCopy()
      copy.offerDefaults({ dataDir, secretKey: secret, name: 'first cluster' })
      copy.offerDefaults({ dataDir, secretKey: secret, name: 'second cluster' })

      expect((await copy.defaultClient().settings()).name).to.equal('first cluster')
      await copy.close()
      copy.configure({ dataDir, secretKey: secret, name: 'configured' })
      expect((await copy.defaultClient().settings()).name).to.equal('configured')
    })

    let copies = 0
    /** The module without what other specs did to its default client. */
    function freshCopy(): Promise<typeof import('../lib/client.ts')> {
      return import(new URL(`../lib/client.ts?copy=${++copies}`, import.meta.url).href)
    }
  })

  async function deliveries(queue: string, count: number): Promise<Delivery[]> {
    const broker = await createBroker({ dataDir })
    await broker.connect()
    try {
      const { promise, resolve, reject } = Promise.withResolvers<Delivery[]>()
      const arrived: Delivery[] = []
      const onDeliveries = (batch: Delivery[]) => {
        arrived.push(...batch)
        if (arrived.length >= count) resolve(arrived)
      }
      await broker.consume({ queue, prefetch: 100, onDeliveries, onLost: reject })
      return await promise
    } finally {
      await broker.close()
    }
  }

  async function headersOn(queue: string, count: number): Promise<TaskHeader[]> {
    const signer = new Signer([secret])
    return (await deliveries(queue, count)).map((delivery) => openPackage(delivery, queue, signer).header)
  }

  async function headerOf(task: unknown, args: unknown[], options: object = {}): Promise<TaskHeader> {
    await untyped(task, args, { client, ...options })
    const [header] = await headersOn('default', 1)
    return header as TaskHeader
  }

  async function waiting(queue = 'default'): Promise<number> {
    const broker = await createBroker({ dataDir })
    await broker.connect()
    try {
      return await broker.queueSize(queue)
    } finally {
      await broker.close()
    }
  }
})

function success({ id, name, func }: Task, value?: unknown): Outcome {
  return {
    ...{ taskId: id, name, func, run: 1, attempt: 1, args: '[]', cluster: 'default' },
    ...{ enqueuedAt: 1, startedAt: 2, stoppedAt: 3, success: true, result: encode(value), fate: 'ack' },
  }
}

function unreachable(): never {
  throw new StoreError('The store is lost.')
}
