import { expect } from 'chai'
import type { Store } from '../../lib/stores/index.ts'
import type { Claim, ScheduledTask, ScheduleRecord } from '../../lib/stores/schedules.ts'
import { outcomeOf, range } from './material.ts'
import { type StorePlace, storeAt } from './store.contract.ts'

const LONG = 10_000

function recordOf(id: string, given: Partial<ScheduleRecord> = {}): ScheduleRecord {
  return {
    ...{ id, queue: 'default', name: `name of ${id}`, plan: `{"of":"${id}"}` },
    ...{ due: 1_000, lastTask: null, error: null, version: 1, ...given },
  }
}

function taskOf(taskId: string, given: Partial<ScheduledTask> = {}): ScheduledTask {
  return {
    ...{ taskId, queue: 'default', scheduleId: 'a', header: `{"id":"${taskId}"}`, args: '[1]' },
    ...{ after: null, ...given },
  }
}

/** The contract of the schedules of every store. `makeStore` makes the place for one, empty. */
export function describeSchedules(name: string, makeStore: () => Promise<StorePlace>): void {
  describe(`${name}, as a store of schedules`, () => {
    let place: StorePlace
    let stores: Store[]
    let store: Store

    beforeEach(async () => {
      place = await makeStore()
      stores = []
      store = await open()
    })
    afterEach(async () => {
      for (const one of stores) await one.close()
      await place.remove()
    })

    async function open(limit?: number): Promise<Store> {
      const retention = { queue: 'default', per: null, atLeast: 0 }
      const opened = await storeAt(place, limit === undefined ? undefined : { ...retention, limit })
      stores.push(opened)
      await opened.connect()
      return opened
    }

    async function made(id: string, given: Partial<ScheduleRecord> = {}): Promise<ScheduleRecord> {
      const record = recordOf(id, given)
      expect(await store.schedules.create(record)).to.equal(true)
      return record
    }

    const agenda = (most = 100) => store.schedules.agenda('default', most)
    const claim = (former: ScheduleRecord, change: Partial<ScheduleRecord>, tasks: ScheduledTask[] = []) =>
      store.schedules.claim({ former, record: { ...former, ...change }, tasks })
    const takeOver = async (patience = LONG) =>
      (await store.schedules.takeOver('default', patience)).map(({ taskId }) => taskId)
    const finish = (taskId: string, given = {}) => store.save([outcomeOf(taskId, given)])

    it('keeps a schedule, to be found by id, and by name in its queue', async () => {
      const record = await made('a', { lastTask: 't', error: 'broken', due: null })
      expect(await store.schedules.find('default', 'a')).to.deep.equal(record)
      expect(await store.schedules.find('default', 'name of a')).to.deep.equal(record)
      expect(await store.schedules.find('other', 'name of a')).to.equal(undefined)
      expect(await store.schedules.find('default', 'b')).to.equal(undefined)
    })

    it('refuses a name that its queue has already, and takes it in another', async () => {
      await made('a', { name: 'nightly' })
      expect(await store.schedules.create(recordOf('b', { name: 'nightly' }))).to.equal(false)
      await made('c', { name: 'nightly', queue: 'other' })
      await made('d', { name: 'Nightly' })
    })

    it('lists the schedules of a queue by their time, those without one last', async () => {
      await made('a', { due: null })
      await made('b', { due: 3_000 })
      await made('c', { due: 2_000 })
      await made('d', { queue: 'other' })
      expect((await store.schedules.list('default')).map(({ id }) => id)).to.deep.equal(['c', 'b', 'a'])
    })

    it('forgets a schedule once', async () => {
      await made('a')
      expect(await store.schedules.remove('a')).to.equal(true)
      expect(await store.schedules.remove('a')).to.equal(false)
      expect(await store.schedules.list('default')).to.deep.equal([])
    })

    it('forgets with a schedule the tasks that wait for their turn, and no others', async () => {
      await claim(await made('a'), {}, [taskOf('t1'), taskOf('t2', { after: 't1' })])
      await store.schedules.remove('a')
      expect(await agenda()).to.include({ waiting: 0, unpublished: 1 })
    })

    it('tells what is due by its own clock, the longest first, and when the next one is', async () => {
      const later = Date.now() + 3_600_000
      for (const [id, due] of Object.entries({ a: 3_000, b: 1_000, c: later, d: later + 1, e: null }))
        await made(id, { due })
      await made('f', { queue: 'other' })
      const { now, due, next, ...counts } = await agenda()
      expect(due.map(({ id }) => id)).to.deep.equal(['b', 'a'])
      expect(next).to.equal(later)
      expect(counts).to.deep.equal({ waiting: 0, unpublished: 0 })
      expect(now).to.be.closeTo(Date.now(), 60_000)
    })

    it('tells no more than it is asked for, and that there is more', async () => {
      for (const n of range(5)) await made(`s${n}`, { due: 1_000 + n })
      const { due, next } = await agenda(2)
      expect(due.map(({ id }) => id)).to.deep.equal(['s0', 's1'])
      expect(next).to.equal(1_002)
    })

    it('has nothing to do without schedules', async () => {
      const { due, next } = await agenda()
      expect({ due, next }).to.deep.equal({ due: [], next: null })
    })

    it('changes a schedule by a claim, once', async () => {
      const former = await made('a')
      expect(await claim(former, { due: 2_000, lastTask: 't1' }, [taskOf('t1')])).to.equal(true)
      expect(await claim(former, { due: 3_000 }, [taskOf('t2')]), 'the second').to.equal(false)
      expect(await store.schedules.find('default', 'a')).to.include({
        due: 2_000,
        lastTask: 't1',
        version: 2,
      })
      expect(await agenda()).to.include({ unpublished: 1 })
    })

    it('gives a slot to one of many who claim it at once', async () => {
      const former = await made('a')
      const others = await Promise.all(range(4).map(() => open()))
      const claims: Claim[] = others.map((_, n) => ({
        ...{ former, record: { ...former, due: null, lastTask: `t${n}` }, tasks: [taskOf(`t${n}`)] },
      }))
      const won = await Promise.all(others.map((one, n) => one.schedules.claim(claims[n] as Claim)))
      expect(won.filter((isWon) => isWon)).to.have.length(1)
      expect(await takeOver(-LONG)).to.deep.equal([`t${won.indexOf(true)}`])
    })

    it('keeps the tasks of a schedule that has had its last slot', async () => {
      const former = await made('a')
      expect(await store.schedules.claim({ former, record: null, tasks: [taskOf('t1')] })).to.equal(true)
      expect(await store.schedules.find('default', 'a')).to.equal(undefined)
      expect(await store.schedules.claim({ former, record: null, tasks: [taskOf('t2')] })).to.equal(false)
      expect(await takeOver(-LONG)).to.deep.equal(['t1'])
    })

    it('does not change a schedule to a name that another has', async () => {
      await made('a')
      const former = await made('b')
      expect(await claim(former, { name: 'name of a' })).to.equal(false)
      expect(await claim(former, { name: 'name of c' })).to.equal(true)
    })

    it('hands on a task that was claimed too long ago, and to one only', async () => {
      await claim(await made('a'), {}, [taskOf('t1'), taskOf('t2')])
      expect(await takeOver(), 'claimed just now').to.deep.equal([])
      expect(await takeOver(-LONG)).to.have.members(['t1', 't2'])
      const others = await Promise.all(range(4).map(() => open()))
      await store.schedules.release(['t1'])
      const taken = await Promise.all(others.map((one) => one.schedules.takeOver('default', LONG)))
      expect(taken.flat()).to.deep.equal([taskOf('t1')])
    })

    it('forgets a task that is with the broker', async () => {
      await claim(await made('a'), {}, [taskOf('t1'), taskOf('t2')])
      await store.schedules.settle(['t1'])
      expect(await takeOver(-LONG)).to.deep.equal(['t2'])
      expect(await agenda()).to.include({ unpublished: 1 })
    })

    it('knows whether the last task of a schedule is over', async () => {
      await made('a', { lastTask: 't1' })
      const isBusy = async () => (await agenda()).due[0]?.isBusy
      expect(await isBusy()).to.equal(true)
      await finish('t1', { success: false, fate: 'retry' })
      expect(await isBusy(), 'it will be tried again').to.equal(true)
      await finish('t1', { run: 2 })
      expect(await isBusy()).to.equal(false)
    })

    it('is not busy before it has made a task', async () => {
      await made('a')
      expect((await agenda()).due[0]).to.include({ isBusy: false, waiting: 0 })
    })

    it('keeps a task back until the one before it is over', async () => {
      await claim(await made('a'), { lastTask: 't2' }, [taskOf('t1'), taskOf('t2', { after: 't1' })])
      await store.schedules.settle(['t1'])
      expect(await agenda()).to.include({ waiting: 1, unpublished: 0 })
      expect((await agenda()).due[0]).to.include({ waiting: 1 })
      expect(await takeOver()).to.deep.equal([])
      await finish('t1', { success: false, fate: 'deadLetter' })
      expect(await takeOver()).to.deep.equal(['t2'])
      expect(await takeOver(), 'taken just now').to.deep.equal([])
    })

    it('tells which tasks a broker should have that schedules wait for', async () => {
      const awaited = async () =>
        (await store.schedules.awaited('default')).map(({ taskId, scheduleId }) => `${scheduleId} ${taskId}`)
      await claim(await made('a'), { lastTask: 't2' }, [taskOf('t1'), taskOf('t2', { after: 't1' })])
      await made('b', { lastTask: 'u1' })
      await made('c', { lastTask: null })
      await made('d', { lastTask: 'v1', queue: 'other' })
      expect(await awaited(), 'one that was just made may not be with it yet').to.deep.equal(['b u1'])
      await store.schedules.settle(['t1'])
      await finish('u1', { success: false, fate: 'retry' })
      expect((await awaited()).toSorted()).to.deep.equal(['a t1', 'b u1'])
      await finish('t1')
      await finish('u1', { run: 2 })
      expect(await awaited()).to.deep.equal([])
    })

    it('keeps the outcome of the last task of a schedule, whatever the limit is', async () => {
      const limited = await open(1)
      await made('a', { lastTask: 't0' })
      for (const n of range(50)) await limited.save([outcomeOf(`t${n}`)])
      await limited.save(range(50).map((n) => outcomeOf(`u${n}`)))
      const kept = (await store.list({})).map(({ taskId }) => taskId)
      expect(kept).to.include('t0').and.include('u49')
      expect(kept.length, 'and few others').to.be.lessThan(10)
    })

    it('tells whoever watches that a schedule was made, changed or forgotten, by anybody', async () => {
      const other = await open()
      let heard = Promise.withResolvers<void>()
      await store.schedules.watch(() => heard.resolve())
      const next = async () => {
        await heard.promise
        heard = Promise.withResolvers()
      }
      const record = recordOf('a')
      await Promise.all([next(), other.schedules.create(record)])
      await Promise.all([next(), other.schedules.claim({ former: record, record, tasks: [] })])
      await Promise.all([next(), other.schedules.remove('a')])
    })

    it('keeps what is odd in a plan as it is', async () => {
      const odd = await made('a', { name: "it's “odd” \n", plan: 'no JSON \\u0000 %s $1' })
      expect(await store.schedules.find('default', 'a')).to.deep.equal(odd)
    })
  })
}
