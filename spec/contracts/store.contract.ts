import { expect } from 'chai'
import { OutcomeRefusedError, StoreError, TaskCancelledError, TaskExpiredError } from '../../lib/errors.ts'
import {
  createStore,
  type Outcome,
  type OutcomeFilter,
  type Retention,
  type Store,
  type StoreOptions,
} from '../../lib/stores/index.ts'
import type { Reservation } from '../../lib/stores/uniques.ts'
import { encode } from '../../lib/tasks/codec.ts'
import { encodeError, toFailure } from '../../lib/tasks/failure.ts'
import { eventually, Inbox, outcomeOf, type Peer, peer, range } from './material.ts'
import type { PeerOrder } from './peer.ts'

/** Where a store lives, and how to clean up after it. */
export interface StorePlace {
  /** What `createStore` is given, here and in other processes; absent where no other process gets there. */
  readonly options?: StoreOptions
  /** One more store there, where `createStore` makes none. */
  readonly make?: (retention?: Retention) => Store
  remove(): Promise<void>
}

/** A store of a place; nothing is opened before `connect()`. */
export async function storeAt({ make, options }: StorePlace, retention?: Retention): Promise<Store> {
  return make?.(retention) ?? createStore({ ...(options as StoreOptions), ...(retention && { retention }) })
}

/**
 * The contract of every store. `makeStore` makes the place for one, empty; each spec gets its own. Where other processes
 * cannot get there, `ofOneProcess` says so.
 */
export function describeStore(
  name: string,
  makeStore: () => Promise<StorePlace>,
  { ofOneProcess = false } = {},
): void {
  describe(`${name}, as a store`, function () {
    // Another process takes seconds to start on a busy machine.
    this.timeout(30_000)
    let place: StorePlace
    let store: Store
    let stores: Store[]
    let peers: Peer[]
    let options: StoreOptions

    beforeEach(async () => {
      place = await makeStore()
      options = place.options as StoreOptions
      stores = []
      peers = []
      store = await open()
    })
    afterEach(async () => {
      for (const one of peers) await one.kill()
      for (const one of stores) await one.close()
      await place.remove()
    })

    async function open(retention?: Retention): Promise<Store> {
      const opened = await storeAt(place, retention)
      stores.push(opened)
      await opened.connect()
      return opened
    }

    function start(order: PeerOrder): Peer {
      const started = peer(order)
      peers.push(started)
      return started
    }

    /** What is kept of a task after these outcomes, saved one after the other. */
    async function keptOf(...outcomes: Outcome[]) {
      for (const outcome of outcomes) await store.save([outcome])
      const [record] = await store.fetch([outcomes[0]?.taskId ?? ''])
      return record
    }

    const failure = (given: Partial<Outcome> = {}) =>
      outcomeOf('a', { success: false, result: 'boom', fate: 'retry', ...given })
    const success = (given: Partial<Outcome> = {}) => outcomeOf('a', given)

    describe('connecting', () => {
      it('answers a ping and says in a line what it is', async () => {
        await store.ping()
        expect(await store.info()).to.match(/^\S.* \d+\.\d+/)
      })

      it('can be connected twice, closed twice, and connected again', async () => {
        await store.connect()
        await store.close()
        await store.close()
        await store.connect()
        await store.ping()
      })

      it('rejects everything before connect() with a sentence', async () => {
        const early = await storeAt(place)
        const refused = await early.save([success()]).catch((error: unknown) => error)
        expect(refused).to.be.instanceOf(StoreError)
        expect(refused).to.have.property('message').that.includes('connect')
      })
    })

    describe('saving', () => {
      it('returns what was saved', async () => {
        const saved = success({ group: 'night', result: '"Grüße 🎉"', args: '["\\u0000"]' })
        expect(await keptOf(saved)).to.deep.equal({ ...saved, final: true })
      })

      it('leaves out the group where there is none', async () => {
        expect(await keptOf(success())).not.to.have.property('group')
      })

      it('forgets at its time what expires, and shows it to nobody from then on', async () => {
        const late = Date.now() + 3_600_000
        const expiring = (expiresAt: number, run = 1) => outcomeOf('a', { run, group: 'g', expiresAt })
        await store.save([expiring(late), outcomeOf('b', { group: 'g', expiresAt: late })])
        expect(await store.fetch(['a'])).to.have.lengthOf(1)
        expect(await store.countGroup('g')).to.include({ successes: 2 })
        const soon = Date.now() + 50
        await store.save([expiring(soon, 2)])
        await eventually(async () => (await store.fetch(['a'])).length, 0)
        expect(Date.now()).to.be.at.least(soon)
        expect(await store.fetchByName('name of a')).to.equal(undefined)
        expect(await store.countGroup('g')).to.include({ successes: 1 })
        const listed = await store.list({ group: 'g' })
        expect(listed.map(({ taskId, expiresAt }) => [taskId, expiresAt])).to.deep.equal([['b', late]])
        expect(await store.counts(), 'what has expired and is still there').to.include({ successes: 1 })
        await store.save([outcomeOf('c')])
        expect(await store.counts()).to.include({ successes: 2 })
      })

      it('does not count what expires among the successes of a limit', async () => {
        const few = await open({ queue: 'default', limit: 1, per: null, atLeast: 0 })
        await few.save([outcomeOf('a', { expiresAt: Date.now() + 60_000 })])
        await few.save([outcomeOf('b')])
        await few.save([outcomeOf('c'), outcomeOf('d', { expiresAt: Date.now() + 60_000 })])
        const kept = await few.list({})
        expect(kept.map(({ taskId }) => taskId).sort()).to.deep.equal(['a', 'c', 'd'])
      })

      it('keeps what was saved when everybody leaves', async () => {
        await store.save([success()])
        await store.close()
        await store.connect()
        expect(await store.fetch(['a'])).to.have.lengthOf(1)
      })

      it('changes nothing when an outcome is said twice', async () => {
        const twice = success()
        expect(await keptOf(twice, twice)).to.deep.equal({ ...twice, final: true })
        expect(await store.counts()).to.deep.equal({ successes: 1, failures: 0 })
      })

      it('replaces a failure by that of a later run', async () => {
        const second = failure({ run: 2, result: 'again', fate: 'deadLetter' })
        expect(await keptOf(failure(), second)).to.deep.equal({ ...second, final: true })
      })

      it('keeps the failure of a later run', async () => {
        expect(await keptOf(failure({ run: 2 }), failure({ run: 1 }))).to.include({ run: 2 })
      })

      it('replaces a failure by any success, of an earlier run too', async () => {
        expect(await keptOf(failure({ run: 3 }), success({ run: 2 }))).to.include({ run: 2, success: true })
        expect(await store.counts()).to.deep.equal({ successes: 1, failures: 0 })
      })

      it('never replaces a success by a failure', async () => {
        const kept = await keptOf(success(), failure({ run: 9, fate: 'deadLetter' }))
        expect(kept).to.deep.equal({ ...success(), final: true })
      })

      it('keeps the best also of several outcomes saved together', async () => {
        await store.save([failure(), success({ run: 2 }), failure({ run: 3 })])
        expect(await store.fetch(['a'])).to.deep.equal([{ ...success({ run: 2 }), final: true }])
      })

      it('saves all or none', async () => {
        const broken = outcomeOf('b', { result: null as unknown as string })
        const refused = await store.save([success(), broken]).catch((error: unknown) => error)
        expect(refused, 'the store is well').to.be.instanceOf(OutcomeRefusedError)
        expect(await store.fetch(['a', 'b'])).to.be.empty
      })

      it('does not let one caller spoil the batch of another', async () => {
        const broken = outcomeOf('b', { result: null as unknown as string })
        const [good, bad] = await Promise.allSettled([store.save([success()]), store.save([broken])])
        expect([good.status, bad.status]).to.deep.equal(['fulfilled', 'rejected'])
        expect(await store.fetch(['a', 'b'])).to.have.lengthOf(1)
      })

      if (!ofOneProcess)
        it('loses nothing of four processes that save at once and end by themselves', async () => {
          const savers = range(4).map((i) => start({ do: 'save', at: options, prefix: `p${i}-`, count: 200 }))
          expect(await Promise.all(savers.map((saver) => saver.ended()))).to.deep.equal([0, 0, 0, 0])
          expect(await store.counts()).to.deep.equal({ successes: 800, failures: 0 })
        })
    })

    describe('keeping successes', () => {
      const retention = (given: Partial<Retention> = {}): Retention => ({
        ...{ queue: 'default', limit: 2, per: null, atLeast: 0 },
        ...given,
      })

      async function saved(keeper: Store, ...outcomes: Outcome[]): Promise<string[]> {
        for (const outcome of outcomes) await keeper.save([outcome])
        return keptIds()
      }

      const keptIds = async () => (await store.list({})).map(({ taskId }) => taskId).sort()

      it('keeps the newest of a queue', async () => {
        const keeper = await open(retention())
        expect(await saved(keeper, ...['a', 'b', 'c', 'd'].map((id) => outcomeOf(id)))).to.deep.equal([
          'c',
          'd',
        ])
      })

      it('keeps as many of those that are saved together', async () => {
        const keeper = await open(retention())
        await keeper.save(range(50).map((i) => outcomeOf(`t${i}`)))
        expect(await keptIds()).to.deep.equal(['t48', 't49'])
      })

      it('keeps all where the limit is 0, and without one', async () => {
        const keeper = await open(retention({ limit: 0 }))
        await keeper.save(range(300).map((i) => outcomeOf(`t${i}`)))
        await store.save(range(300).map((i) => outcomeOf(`u${i}`)))
        expect(await keptIds()).to.have.lengthOf(600)
      })

      it('keeps every failure', async () => {
        const keeper = await open(retention({ limit: 1 }))
        const failures = ['a', 'b', 'c'].map((id) => outcomeOf(id, { success: false }))
        expect(await saved(keeper, ...failures, outcomeOf('d'), outcomeOf('e'))).to.deep.equal([
          ...['a', 'b', 'c', 'e'],
        ])
      })

      it('keeps, whatever the limit, what has stopped a short time ago', async () => {
        const keeper = await open(retention({ limit: 1, atLeast: 60_000 }))
        const now = Date.now()
        const stopped = (id: string, ago: number) => outcomeOf(id, { stoppedAt: now - ago })
        const outcomes = [
          stopped('a', 90_000),
          stopped('b', 30_000),
          stopped('c', 20_000),
          stopped('d', 10_000),
        ]
        expect(await saved(keeper, ...outcomes)).to.deep.equal(['b', 'c', 'd'])
      })

      for (const per of ['func', 'name', 'group'] as const)
        it(`gives each ${per} a limit of its own`, async () => {
          const keeper = await open(retention({ limit: 1, per }))
          const outcomes = range(9).map((i) => outcomeOf(`t${i}`, { name: 'n', [per]: `${per} ${i % 3}` }))
          expect(await saved(keeper, ...outcomes)).to.deep.equal(['t6', 't7', 't8'])
        })

      it('lets tasks without a group share a limit', async () => {
        const keeper = await open(retention({ limit: 1, per: 'group' }))
        const outcomes = [outcomeOf('a'), outcomeOf('b', { group: 'g' }), outcomeOf('c')]
        expect(await saved(keeper, ...outcomes)).to.deep.equal(['b', 'c'])
      })

      it('gives each queue a limit of its own', async () => {
        const [keeper, mail] = [await open(retention()), await open(retention({ queue: 'mail', limit: 1 }))]
        await saved(mail, ...['m1', 'm2'].map((id) => outcomeOf(id, { cluster: 'mail' })))
        expect(await saved(keeper, ...['a', 'b', 'c'].map((id) => outcomeOf(id)))).to.deep.equal([
          ...['b', 'c', 'm2'],
        ])
      })

      it('counts a task once, however often its success is said', async () => {
        const keeper = await open(retention())
        const again = ['b', 'b', 'b'].map((id) => outcomeOf(id))
        expect(await saved(keeper, outcomeOf('a'), ...again)).to.deep.equal(['a', 'b'])
      })

      it('counts a success that replaces a failure', async () => {
        const keeper = await open(retention({ limit: 1 }))
        const failed = failure({ fate: 'retry' })
        expect(await saved(keeper, failed, outcomeOf('b'), success({ run: 2 }))).to.deep.equal(['a'])
      })

      it('is shared by all who save to a queue', async () => {
        const [one, other] = [await open(retention()), await open(retention())]
        await saved(one, outcomeOf('a'), outcomeOf('b'))
        expect(await saved(other, outcomeOf('c'))).to.deep.equal(['b', 'c'])
      })

      it('comes down to a limit that is new, little by little', async () => {
        await store.save(range(200).map((i) => outcomeOf(`t${i}`)))
        const keeper = await open(retention())
        for (const i of range(12)) await keeper.save([outcomeOf(`u${i}`)])
        expect(await keptIds()).to.deep.equal(['u10', 'u11'])
      })

      it('follows a limit that is meant for something else now', async () => {
        const outcomes = range(6).map((i) => outcomeOf(`t${i}`, { func: `f${i % 2}` }))
        await saved(await open(retention({ limit: 6 })), ...outcomes)
        const keeper = await open(retention({ limit: 2, per: 'func' }))
        expect(await saved(keeper, outcomeOf('u', { func: 'f0' }))).to.deep.equal([
          't1',
          't3',
          't4',
          't5',
          'u',
        ])
      })
    })

    describe('looking up', () => {
      it('leaves out tasks without an outcome', async () => {
        await store.save([outcomeOf('a'), outcomeOf('b')])
        const found = await store.fetch(['a', 'b', 'c'])
        expect(found.map(({ taskId }) => taskId)).to.have.members(['a', 'b'])
        expect(await store.fetch([])).to.be.empty
      })

      it('says whether an outcome is the last word', async () => {
        expect(await keptOf(failure())).to.include({ final: false })
        expect(await keptOf(failure({ run: 2, fate: 'deadLetter' }))).to.include({ final: true })
      })

      it('finds the newest record with a name', async () => {
        await store.save([
          outcomeOf('a', { name: 'twin', stoppedAt: 1 }),
          outcomeOf('b', { name: 'twin', stoppedAt: 3 }),
          outcomeOf('c', { name: 'twin', stoppedAt: 2 }),
        ])
        expect(await store.fetchByName('twin')).to.include({ taskId: 'b' })
        expect(await store.fetchByName('nobody')).to.equal(undefined)
      })

      it('finds a name among thousands', async () => {
        await store.save(range(5_000).map((i) => outcomeOf(`t${i}`)))
        expect(await store.fetchByName('name of t0')).to.include({ taskId: 't0' })
        expect(await store.fetchByName('name of t4999')).to.include({ taskId: 't4999' })
      })

      it('finds a name below thousands that were forgotten', async () => {
        const keeper = await open({ queue: 'default', limit: 1, per: null, atLeast: 0 })
        await keeper.save([outcomeOf('old', { success: false, name: 'old' })])
        for (const part of range(3)) await keeper.save(range(3_000).map((i) => outcomeOf(`${part}-${i}`)))
        expect(await store.fetchByName('old')).to.include({ taskId: 'old' })
        expect(await store.fetchByName('nobody')).to.equal(undefined)
      })

      it('lists the newest first', async () => {
        await store.save(range(3).map((i) => outcomeOf(`t${i}`)))
        expect((await store.list({})).map(({ taskId }) => taskId)).to.deep.equal(['t2', 't1', 't0'])
        expect((await store.list({ limit: 1 })).map(({ taskId }) => taskId)).to.deep.equal(['t2'])
      })

      it('lists those of a group, a function or a state, and of all together', async () => {
        await store.save([
          outcomeOf('a', { group: 'g', func: 'f' }),
          outcomeOf('b', { group: 'g', func: 'f', success: false }),
          outcomeOf('c', { group: 'g' }),
          outcomeOf('d', { func: 'f', success: false }),
        ])
        const ids = async (filter: OutcomeFilter) => (await store.list(filter)).map(({ taskId }) => taskId)
        expect(await ids({ group: 'g' })).to.deep.equal(['c', 'b', 'a'])
        expect(await ids({ func: 'f' })).to.deep.equal(['d', 'b', 'a'])
        expect(await ids({ success: false })).to.deep.equal(['d', 'b'])
        expect(await ids({ success: true, limit: 1 })).to.deep.equal(['c'])
        expect(await ids({ group: 'g', func: 'f', success: true })).to.deep.equal(['a'])
        expect(await ids({ group: 'nobody' })).to.be.empty
      })

      it('lists those that expired or were cancelled, by the code of the failure and not of its cause or its words', async () => {
        const cancelled = new TaskCancelledError()
        const says = new Error('{"name":"x",\0"message":"y","code":"QCLUSTER_TASK_CANCELLED"}')
        const failures = [
          new TaskExpiredError({ expires: 1 }),
          cancelled,
          new Error('x', { cause: cancelled }),
          says,
        ]
        await store.save([
          outcomeOf('s', { result: encode({ name: 'x', code: 'QCLUSTER_TASK_EXPIRED' }) }),
          ...failures.map((error, i) =>
            outcomeOf(`f${i}`, { success: false, fate: 'ack', result: encodeError(toFailure(error)) }),
          ),
        ])
        const ids = async (filter: OutcomeFilter) => (await store.list(filter)).map(({ taskId }) => taskId)
        expect(await ids({ state: 'expired' })).to.deep.equal(['f0'])
        expect(await ids({ state: 'cancelled', success: false })).to.deep.equal(['f1'])
        expect(await ids({ state: 'failure' })).to.deep.equal(['f3', 'f2'])
        expect(await ids({ state: 'success', success: true })).to.deep.equal(['s'])
      })

      it('knows what was decided', async () => {
        await store.save([success(), outcomeOf('b', { run: 2, success: false, fate: 'deadLetter' })])
        expect(await store.decisions(['a', 'b', 'c'])).to.have.deep.members([
          { taskId: 'a', run: 1, success: true, fate: 'ack' },
          { taskId: 'b', run: 2, success: false, fate: 'deadLetter' },
        ])
      })

      it('counts successes and failures', async () => {
        expect(await store.counts()).to.deep.equal({ successes: 0, failures: 0 })
        await store.save([outcomeOf('a'), outcomeOf('b'), outcomeOf('c', { success: false })])
        expect(await store.counts()).to.deep.equal({ successes: 2, failures: 1 })
      })
    })

    describe('groups', () => {
      beforeEach(() =>
        store.save([
          outcomeOf('a', { group: 'g' }),
          outcomeOf('b', { group: 'g', success: false, fate: 'retry' }),
          outcomeOf('c', { group: 'g', success: false, fate: 'deadLetter' }),
          outcomeOf('d', { group: 'h' }),
          outcomeOf('e'),
        ]),
      )

      it('are counted', async () => {
        expect(await store.countGroup('g')).to.deep.equal({ successes: 1, failures: 2, retrying: 1 })
        expect(await store.countGroup('nobody')).to.deep.equal({ successes: 0, failures: 0, retrying: 0 })
      })

      it('lose their label', async () => {
        expect(await store.deleteGroup('g', false)).to.equal(3)
        expect(await store.list({ group: 'g' })).to.be.empty
        const [record] = await store.fetch(['a'])
        expect(record).to.include({ taskId: 'a' }).and.not.to.have.property('group')
      })

      it('are deleted with their tasks', async () => {
        expect(await store.deleteGroup('g', true)).to.equal(3)
        expect(await store.deleteGroup('g', true)).to.equal(0)
        expect((await store.list({})).map(({ taskId }) => taskId)).to.have.members(['d', 'e'])
      })
    })

    describe('deleting', () => {
      it('forgets tasks and says how many there were', async () => {
        await store.save([outcomeOf('a'), outcomeOf('b')])
        expect(await store.delete(['a', 'nobody'])).to.equal(1)
        expect(await store.fetch(['a', 'b'])).to.have.lengthOf(1)
        expect(await store.delete([])).to.equal(0)
      })

      it('lets a later outcome of the same task be saved', async () => {
        await store.save([success()])
        await store.delete(['a'])
        expect(await keptOf(failure())).to.include({ success: false })
      })
    })

    describe('unique tasks', () => {
      const wanting = (taskId: string, given: Partial<Reservation> = {}): Reservation => ({
        ...{ key: 'k', queue: 'q', taskId, name: `name of ${taskId}`, within: 0, ...given },
      })
      const holderOf = async (taskId: string, given: Partial<Reservation> = {}, patience = 60_000) =>
        (await store.uniques.reserve([wanting(taskId, given)], patience))[0]?.taskId

      it('have their key until they are over', async () => {
        expect(await store.uniques.reserve([wanting('a')], 60_000)).to.deep.equal([
          { taskId: 'a', name: 'name of a' },
        ])
        expect(await holderOf('b')).to.equal('a')
        expect(await holderOf('c', { key: 'other' })).to.equal('c')
        await store.uniques.confirm(['a'])
        expect(await holderOf('b')).to.equal('a')
        await store.uniques.release(['a', 'nobody'])
        await store.uniques.release(['a'])
        expect(await holderOf('b')).to.equal('b')
      })

      it('are one also where many want the key at once', async () => {
        const stores = [store, await open(), await open(), await open()]
        const keys = range(50).map(String)
        const won = await Promise.all(
          stores.map((one, i) =>
            one.uniques.reserve(
              (i % 2 ? keys : keys.toReversed()).map((key) => wanting(`${key} of ${i}`, { key })),
              60_000,
            ),
          ),
        )
        const holders = new Set(won.flat().map(({ taskId }) => taskId))
        expect(holders.size).to.equal(50)
        expect(new Set([...holders].map((id) => id.split(' ')[0])).size).to.equal(50)
      })

      it('are one within a batch, too', async () => {
        const holders = await store.uniques.reserve([wanting('a'), wanting('b'), wanting('c')], 60_000)
        expect(holders.map(({ taskId }) => taskId)).to.deep.equal(['a', 'a', 'a'])
      })

      it('lose their key when whoever reserved it never confirms', async () => {
        expect(await holderOf('a', {}, 0)).to.equal('a')
        await store.uniques.confirm([])
        expect(await holderOf('b')).to.equal('b')
      })

      it('that were never enqueued free their key, for good, but not once they are confirmed', async () => {
        await holderOf('a', { within: 60_000 })
        await store.uniques.withdraw(['a', 'nobody'])
        expect(await holderOf('b')).to.equal('b')
        await store.uniques.confirm(['b'])
        await store.uniques.withdraw(['b'])
        expect(await holderOf('c')).to.equal('b')
      })

      it('keep their key for the time that they want, though they are over', async () => {
        await holderOf('a', { within: 60_000 })
        await store.uniques.release(['a'])
        await store.uniques.confirm(['a'])
        expect(await holderOf('b')).to.equal('a')
        await store.uniques.clear('another')
        expect(await holderOf('b')).to.equal('a')
        await store.uniques.clear('q')
        expect(await holderOf('b')).to.equal('b')
      })

      it('that end before they are confirmed free their key for good', async () => {
        await holderOf('a')
        await store.uniques.release(['a'])
        await store.uniques.confirm(['a'])
        expect(await holderOf('b')).to.equal('b')
      })
    })

    describe('cancelled tasks', () => {
      it('are remembered until they are over, groups with the time', async () => {
        const now = Date.now()
        expect(await store.cancellations.list()).to.deep.equal([])
        await store.cancellations.add([
          { taskId: 'a', at: now },
          { group: 'g', at: now },
          { group: 'g', at: now - 5 },
        ])
        await store.cancellations.add([{ taskId: 'a', at: now - 5 }])
        expect(await store.cancellations.list()).to.have.deep.members([
          { taskId: 'a', at: now },
          { group: 'g', at: now },
        ])
        await store.cancellations.forget(['a', 'nobody'])
        expect(await store.cancellations.list()).to.have.length(1)
      })

      it('are forgotten after more than a year', async () => {
        await store.cancellations.add([{ taskId: 'a', at: 1 }])
        await store.cancellations.add([{ taskId: 'b', at: Date.now() }])
        expect(await store.cancellations.list()).to.have.length(1)
      })
    })

    describe('watching', () => {
      it('wakes whoever watches in the same process', async () => {
        const inbox = new Inbox<string>()
        await store.watch(inbox.put)
        await store.save([outcomeOf('a'), outcomeOf('b')])
        expect(await inbox.atLeast(2)).to.deep.equal(['a', 'b'])
      })

      if (!ofOneProcess)
        it('wakes all who watch, whatever process saves', async () => {
          const watchers = [store, store, await open()]
          const inboxes = await Promise.all(
            watchers.map(async (watching) => {
              const inbox = new Inbox<string>()
              await watching.watch(inbox.put)
              return inbox
            }),
          )
          start({ do: 'save', at: options, prefix: 'peer-', count: 3 })
          const expected = ['peer-0', 'peer-1', 'peer-2']
          for (const inbox of inboxes) expect(await inbox.atLeast(3)).to.have.members(expected)
        })

      it('tells of thousands of outcomes saved together', async () => {
        const inbox = new Inbox<string>()
        await store.watch(inbox.put)
        await store.save(range(3_000).map((i) => outcomeOf(`t${i}`)))
        expect(new Set(await inbox.atLeast(3_000)).size).to.equal(3_000)
      })

      it('wakes nobody who has stopped watching', async () => {
        const [stopped, watching] = [new Inbox<string>(), new Inbox<string>()]
        const watch = await store.watch(stopped.put)
        await store.watch(watching.put)
        await watch.stop()
        await watch.stop()
        await store.save([outcomeOf('a')])
        await watching.atLeast(1)
        expect(stopped.items).to.be.empty
      })

      if (!ofOneProcess)
        it('keeps no process from ending', async () => {
          const watcher = start({ do: 'watch', at: options })
          expect(await watcher.ended()).to.equal(0)
          await store.save([outcomeOf('a')])
        })
    })
  })
}
