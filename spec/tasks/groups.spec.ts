import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { Client } from '../../lib/client.ts'
import { resolveSettings } from '../../lib/config.ts'
import { ConfigError, ResultTimeoutError, StoreError, TaskFailedError } from '../../lib/errors.ts'
import { createStore } from '../../lib/stores/index.ts'
import type { Outcome, Store } from '../../lib/stores/store.ts'
import { countGroup, deleteGroup, fetchGroup, resultGroup } from '../../lib/tasks/groups.ts'
import { outcomeOf, rejection } from '../contracts/material.ts'

describe('a group', () => {
  let dataDir: string
  let client: Client
  /** Another process's store. */
  let store: Store

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-group-'))
    client = newClient()
    store = await createStore({ dataDir })
    await store.connect()
  })
  afterEach(async () => {
    await client.close()
    await store.close()
    await rm(dataDir, { recursive: true })
  })

  function newClient(makeStore?: () => Promise<Store>): Client {
    return new Client(
      { dataDir, secretKey: 'spec secret' },
      {
        resolve: (given) => resolveSettings(given, { file: null, env: {} }),
        ...(makeStore && { makeStore }),
      },
    )
  }

  const success = (id: string, result = '1'): Outcome => outcomeOf(id, { group: 'g', result })
  const failure = (id: string, given: Partial<Outcome> = {}): Outcome =>
    outcomeOf(id, {
      ...{ group: 'g', success: false, fate: 'deadLetter', result: '{"name":"Error","message":"boom"}' },
      ...given,
    })

  it('gives results, the newest first, and leaves failures out', async () => {
    await store.save([success('a'), failure('b'), success('c', '~-1'), outcomeOf('d')])

    expect(await resultGroup('g', { client })).to.deep.equal([undefined, 1])
  })

  it('gives failures too, as errors, when they are wanted', async () => {
    await store.save([success('a'), failure('b', { attempt: 3 })])
    const [failed, result] = await resultGroup('g', { client, failures: true })

    expect(result).to.equal(1)
    expect(failed)
      .to.be.instanceOf(TaskFailedError)
      .and.to.include({ message: 'boom', taskId: 'b', attempt: 3 })
  })

  it('gives records, with failures unless they are not wanted', async () => {
    await store.save([success('a'), failure('b')])

    expect((await fetchGroup('g', { client })).map(({ id, state }) => [id, state])).to.deep.equal([
      ['b', 'failure'],
      ['a', 'success'],
    ])
    expect((await fetchGroup('g', { client, failures: false })).map(({ id }) => id)).to.deep.equal(['a'])
  })

  it('is empty while nothing of it is saved', async () => {
    expect(await resultGroup('g', { client })).to.deep.equal([])
    expect(await fetchGroup('g', { client })).to.deep.equal([])
    expect(await countGroup('g', { client })).to.equal(0)
  })

  it('is counted, or its failures alone', async () => {
    await store.save([success('a'), failure('b'), success('c')])

    expect(await countGroup('g', { client })).to.equal(3)
    expect(await countGroup('g', { client, failures: true })).to.equal(1)
  })

  it('is waited for until so many are there, whoever saves them', async () => {
    await store.save([success('a')])
    const all = resultGroup('g', { client, count: 3 })
    const some = fetchGroup('g', { client, count: 2, wait: 10_000 })
    await store.save([success('b')])
    expect(await some).to.have.lengthOf.at.least(2)
    await store.save([success('c')])

    expect(await all).to.deep.equal([1, 1, 1])
  })

  it('is waited for until there is anything when no count is given', async () => {
    const any = resultGroup('g', { client, wait: 10_000 })
    await store.save([success('a')])

    expect(await any).to.deep.equal([1])
  })

  it('counts what is more than enough', async () => {
    await store.save([success('a'), success('b')])

    expect(await resultGroup('g', { client, count: 1 })).to.have.lengthOf(2)
  })

  it('counts a failure that will be tried again, but not where the last outcomes are wanted', async () => {
    await store.save([success('a'), failure('b', { fate: 'retry' })])

    expect(await fetchGroup('g', { client, count: 2, wait: 1_000 })).to.have.lengthOf(2)
    expect(await fetchGroup('g', { client, count: 2, wait: 10, final: true })).to.have.lengthOf(1)
    const last = fetchGroup('g', { client, count: 2, final: true })
    await store.save([{ ...success('b'), run: 2 }])
    expect(await last).to.have.lengthOf(2)
  })

  it('wakes whoever waits, without a look in between', async () => {
    let looks = 0
    const { promise: looked, resolve } = Promise.withResolvers<void>()
    const own = await createStore({ dataDir })
    const spied: Store = Object.assign(Object.create(own), {
      connect: () => own.connect(),
      close: () => own.close(),
      watch: (onSaved: Parameters<Store['watch']>[0]) => own.watch(onSaved),
      list: (filter: Parameters<Store['list']>[0]) => own.list(filter),
      countGroup: async (group: string) => {
        looks += 1
        const counts = await own.countGroup(group)
        resolve()
        return counts
      },
    })
    const woken = newClient(async () => spied)
    const results = resultGroup('g', { client: woken, count: 1 })
    await looked
    await store.save([success('a')])

    expect(await results).to.deep.equal([1])
    expect(looks, 'one before, one after, and one a second on a slow machine').to.be.within(2, 4)
    await woken.close()
  })

  it('gives up when the time is over; records are given as far as they are there', async () => {
    await store.save([success('a')])
    const error = await rejection(resultGroup('g', { client, count: 2, wait: 20 }))

    expect(error).to.be.instanceOf(ResultTimeoutError)
    expect(error.message).to.match(/^Fewer than 2 tasks of the group "g" had an outcome within 20 ms/)
    expect(await fetchGroup('g', { client, count: 2, wait: 20 })).to.have.lengthOf(1)
  })

  it('ends all waiting when its client is closed', async () => {
    const waiting = rejection(resultGroup('g', { client, count: 1 }))
    await client.close()

    expect(await waiting)
      .to.be.instanceOf(ResultTimeoutError)
      .with.property('message')
      .that.includes('tasks of the group g')
  })

  it('loses its label, or its tasks too', async () => {
    await store.save([success('a'), failure('b')])

    expect(await deleteGroup('g', { client })).to.equal(2)
    expect(await countGroup('g', { client })).to.equal(0)
    expect(await store.fetch(['a', 'b'])).to.have.lengthOf(2)
    await store.save([success('c')])
    expect(await deleteGroup('g', { client, tasks: true })).to.equal(1)
    expect(await store.fetch(['c'])).to.be.empty
  })

  for (const [what, options] of [
    ['a count that is none', { count: 1.5 }],
    ['a wait that is no time', { wait: -1 }],
  ] as const)
    it(`refuses ${what}`, async () => {
      expect(await rejection(fetchGroup('g', { client, ...options }))).to.be.instanceOf(ConfigError)
    })

  it('refuses a name that no group can have', async () => {
    for (const name of ['', 'a\nb', 5])
      expect(await rejection(countGroup(name as string, { client }))).to.be.instanceOf(ConfigError)
  })

  it('tells that the store cannot be reached', async () => {
    const lost = newClient(async () => {
      throw new StoreError('The store is lost.')
    })

    expect(await rejection(countGroup('g', { client: lost }))).to.be.instanceOf(StoreError)
    expect(await rejection(resultGroup('g', { client: lost, count: 1 }))).to.be.instanceOf(StoreError)
  })
})
