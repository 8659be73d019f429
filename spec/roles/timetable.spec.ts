import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import type { Broker, Enqueued } from '../../lib/brokers/index.ts'
import { Client } from '../../lib/client.ts'
import { resolveSettings, type Settings } from '../../lib/config.ts'
import { BrokerError } from '../../lib/errors.ts'
import { openPackage } from '../../lib/package.ts'
import { Timetable } from '../../lib/roles/timetable.ts'
import { Signer } from '../../lib/signing.ts'
import { createStore, type Store, storeOptionsOf } from '../../lib/stores/index.ts'
import { decode } from '../../lib/tasks/codec.ts'
import { Schedule, type ScheduleOptions, schedule } from '../../lib/tasks/schedule.ts'
import { outcomeOf, range } from '../contracts/material.ts'

const HOUR = 3_600_000
const ago = (time: number): Date => new Date(Date.now() - time)

/** A broker that keeps what it is given, unless it is told to refuse. */
class Tray {
  readonly taken: Enqueued[] = []
  refuses: ((batch: readonly Enqueued[]) => Error | undefined) | undefined
  async connect() {}
  async close() {}
  async enqueue(batch: readonly Enqueued[]) {
    const error = this.refuses?.(batch)
    if (error) throw error
    this.taken.push(...batch)
  }
}

describe('the timetable', () => {
  let settings: Settings
  let tray: Tray
  let clients: Client[]
  let client: Client
  let log: Record<string, unknown>[]

  beforeEach(async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'qc-spec-'))
    settings = await resolveSettings({ dataDir, secretKey: 'k', maxPayload: 1_000 }, { env: {}, file: null })
    tray = new Tray()
    clients = []
    log = []
    client = newClient()
  })
  afterEach(async () => {
    for (const one of clients) await one.close()
    await rm(settings.dataDir, { recursive: true })
  })

  function newClient(makeStore?: (settings: Settings) => Promise<Store>): Client {
    const made = new Client(settings, {
      resolve: async () => settings,
      makeBroker: async () => tray as unknown as Broker,
      makeStore: makeStore ?? ((given) => createStore(storeOptionsOf(given))),
    })
    clients.push(made)
    return made
  }

  const timetable = (of = newClient(), onChange = () => {}) =>
    new Timetable({
      ...{ queue: settings.name, client: of, onChange },
      record: (event, fields) => void log.push({ event, ...fields }),
    })
  const planned = (name: string, options: ScheduleOptions = {}, args: unknown[] = []) =>
    schedule('f', args, { client, name, timeZone: 'UTC', ...options })
  const find = async (name: string) => (await Schedule.find(name, { client })) as Schedule
  const opened = () =>
    tray.taken.map((one) => {
      const { header, args } = openPackage(one.package, one.queue, new Signer(settings.secretKey))
      return { ...header, args: decode(args) }
    })
  const groups = () => opened().map(({ group }) => group)
  const save = (taskId: string, given = {}) =>
    client.atStore((store) => store.save([outcomeOf(taskId, given)]))

  /** Changes what is kept by hand, as nobody should. */
  function byHand(sql: string, ...values: (string | number)[]): void {
    const file = new DatabaseSync(join(settings.dataDir, 'results.db'))
    file.prepare(sql).run(...values)
    file.close()
  }

  it('makes the task of a schedule that is due, and knows when the next one is', async () => {
    await planned('hour', { type: 'hourly', nextRun: ago(1_000) }, [1, 'two'])
    const table = timetable()
    expect(await table.look(), 'it looks again at once').to.equal(0)
    expect(opened()).to.have.length(1)
    expect(opened()[0]).to.deep.include({ func: 'f', args: [1, 'two'], group: 'hour', run: 1, attempt: 1 })
    expect(await find('hour')).to.include({ lastTask: opened()[0]?.id, state: 'active', repeats: -1 })
    expect(await table.look()).to.be.within(1, 10_000)
    expect(table.counters).to.deep.equal({ scheduled: 1, republished: 0 })
    expect(log[0]).to.include({ event: 'schedule.met', schedule: 'hour', func: 'f' })
  })

  it('does nothing for a schedule that is paused, of another queue, or without repeats', async () => {
    await (await planned('paused', { type: 'hourly', nextRun: ago(HOUR) })).pause()
    await planned('none', { type: 'hourly', nextRun: ago(HOUR), repeats: 0 })
    await planned('foreign', { type: 'hourly', nextRun: ago(HOUR), cluster: 'other' })
    await timetable().look()
    expect(opened()).to.deep.equal([])
  })

  it('plays the reference’s scenario: an hourly schedule with one repeat', async () => {
    await planned('rep', { type: 'hourly', repeats: 1 })
    const table = timetable()
    for (const _ of range(3)) await table.look()
    expect(opened()).to.have.length(1)
    const one = await find('rep')
    // The reference shows the time of a run that never comes.
    expect(one).to.include({ repeats: 0, state: 'ended', nextRun: null })
    await save(one.lastTask as string)
    expect(await one.success()).to.equal(true)
    expect((await one.lastRun())?.id).to.equal(one.lastTask)
  })

  it('plays the reference’s scenario: once, and gone', async () => {
    await planned('gone')
    await planned('kept', { repeats: 1 })
    await timetable().look()
    expect(groups()).to.have.members(['gone', 'kept'])
    expect(await find('gone')).to.equal(undefined)
    expect(await find('kept')).to.include({ repeats: 0, nextRun: null, state: 'ended' })
  })

  it('makes up for twelve hours, or not, as it is told', async () => {
    const nextRun = ago(12 * HOUR)
    await planned('all', { type: 'hourly', nextRun })
    await planned('once', { type: 'hourly', nextRun, misfire: 'once' })
    await planned('skip', { type: 'hourly', nextRun: ago(12.5 * HOUR), misfire: 'skip' })
    await timetable().look()
    const count = (name: string) => groups().filter((group) => group === name).length
    expect(['all', 'once', 'skip'].map(count)).to.deep.equal([13, 1, 0])
    for (const name of ['all', 'once', 'skip'])
      expect((await find(name)).nextRun?.getTime(), name).to.be.greaterThan(Date.now())
    expect(log).to.deep.include({ event: 'schedule.skipped', schedule: 'skip', slots: 13 })
  })

  it('tells a task the time that it is for', async () => {
    const nextRun = ago(1_000)
    await planned('last', { nextRun, intendedDateKwarg: 'date' }, [1, { a: 1 }])
    await planned('none', { nextRun, intendedDateKwarg: 'date' }, [[1]])
    await timetable().look()
    const argsOf = (name: string) => opened().find(({ group }) => group === name)?.args
    const date = nextRun.toISOString()
    expect(argsOf('last')).to.deep.equal([1, { a: 1, date }])
    expect(argsOf('none')).to.deep.equal([[1], { date }])
  })

  it('gives its tasks the options that it was told', async () => {
    const options = { group: 'g', taskName: 'nightly report', timeout: 5, maxAttempts: 7 }
    await planned('s', { options })
    await timetable().look()
    expect(opened()[0]).to.include({ group: 'g', name: 'nightly report', timeout: 5, maxAttempts: 7 })
  })

  it('is met once by four who race for every slot', async () => {
    for (const n of range(10)) await planned(`s${n}`, { type: 'minutes', nextRun: ago(9 * 60_000) })
    const tables = range(4).map(() => timetable())
    for (const _ of range(3)) await Promise.all(tables.map((one) => one.look()))
    expect(opened()).to.have.length(100)
    expect(new Set(opened().map(({ id }) => id)).size, 'different tasks').to.equal(100)
    expect(tables.reduce((sum, { counters }) => sum + (counters.scheduled as number), 0)).to.equal(100)
  })

  it('leaves a slot out while the task before is not over', async () => {
    await planned('s', { type: 'minutes', nextRun: ago(60_000), overlap: 'skip' })
    const table = timetable()
    await table.look()
    expect(opened(), 'the newest of two').to.have.length(1)
    await (await find('s')).update({ nextRun: ago(0) })
    await table.look()
    expect(opened(), 'skipped').to.have.length(1)
    expect(await find('s')).to.include({ state: 'active', lastTask: opened()[0]?.id })
    await save(opened()[0]?.id as string)
    await (await find('s')).update({ nextRun: ago(0) })
    await table.look()
    expect(opened()).to.have.length(2)
    expect(
      opened().every((one) => one.save === true),
      'so that their ends can be seen',
    ).to.equal(true)
  })

  it('lets slots wait in turn', async () => {
    await planned('s', { type: 'minutes', nextRun: ago(150_000), overlap: 'queue' })
    const table = timetable()
    await table.look()
    expect(opened()).to.have.length(1)
    expect(await table.look(), 'it looks soon').to.be.at.most(200)
    for (const n of [1, 2]) {
      await save(opened().at(-1)?.id as string)
      await table.look()
      expect(opened()).to.have.length(n + 1)
    }
    expect(table.counters).to.deep.equal({ scheduled: 3, republished: 0 })
    expect(log.map(({ event, schedule: name }) => [event, name])).to.deep.equal(
      Array(3).fill(['schedule.met', 's']),
    )
  })

  it('makes no task beside one that is to be the only one of its kind', async () => {
    await planned('s', { type: 'minutes', nextRun: ago(150_000), options: { unique: true } })
    await timetable().look()
    expect(opened()).to.have.length(1)
    expect(opened()[0]?.unique).to.equal(true)
  })

  it('hands over again what its maker left lying', async () => {
    await planned('s')
    tray.refuses = () => new BrokerError('away', { isTransient: true })
    const dead = timetable()
    expect(await dead.look().catch((error) => error)).to.be.instanceOf(BrokerError)
    byHand('update scheduled_tasks set claimed_at = ?', Date.now() - 9_000)
    tray.refuses = undefined
    const other = timetable()
    await other.look()
    expect(opened(), 'its maker may still do it').to.deep.equal([])
    byHand('update scheduled_tasks set claimed_at = ?', Date.now() - 10_000)
    await other.look()
    expect(opened()).to.have.length(1)
    expect(other.counters).to.include({ republished: 1 })
    expect(log.map(({ event }) => event)).to.include('schedule.republished')
    await other.look()
    expect(opened(), 'once').to.have.length(1)
  })

  it('gives back at once what the broker did not take', async () => {
    await planned('s')
    tray.refuses = () => new BrokerError('away', { isTransient: true })
    const table = timetable()
    await table.look().catch(() => {})
    tray.refuses = undefined
    await table.look()
    expect(opened()).to.have.length(1)
  })

  describe('with a poison schedule between others (F10)', () => {
    const nextRun = ago(1_000)

    beforeEach(async () => {
      for (const name of ['before', 'broken', 'later'])
        await planned(name, { type: 'daily', nextRun, intendedDateKwarg: 'date' })
    })

    /** The others are met once, the broken one shows why it is not. */
    async function expectIsolated(error: RegExp, state: string): Promise<void> {
      const table = timetable()
      for (const _ of range(3)) await table.look()
      expect(groups()).to.have.members(['before', 'later'])
      for (const name of ['before', 'later'])
        expect(await find(name), name).to.include({ error: null, state: 'active' })
      const broken = await find('broken')
      expect(broken.error).to.match(error)
      expect(broken.state).to.equal(state)
      expect(log.filter(({ event }) => event === 'schedule.failed')).to.have.length(1)
      expect((await Schedule.list({ client })).map(({ name }) => name)).to.have.members([
        ...['before', 'broken', 'later'],
      ])
    }

    const change = (field: string, value: unknown) =>
      byHand(
        `update schedules set plan = json_set(plan, '$.${field}', json(?)) where name = 'broken'`,
        JSON.stringify(value),
      )

    it('meets the others when the arguments of one cannot be read', async () => {
      change('args', "1, 2, 'John'")
      await expectIsolated(/Expected an encoded value/, 'failing')
    })

    it('meets the others when the pattern of one is none', async () => {
      change('type', 'cron')
      change('cron', '0 22 * * 1-12')
      await expectIsolated(/no cron pattern/, 'failed')
    })

    it('meets the others when there is no such zone', async () => {
      change('timeZone', 'Mars/Olympus')
      await expectIsolated(/no time zone "Mars\/Olympus"/, 'failed')
    })

    it('meets the others when what is kept of one is no plan at all', async () => {
      byHand("update schedules set plan = 'nonsense' where name = 'broken'")
      await expectIsolated(/cannot be read/, 'failed')
    })

    it('meets the others when the arguments of one have become too large', async () => {
      change('args', JSON.stringify(['x'.repeat(settings.maxPayload - 10)]))
      await expectIsolated(/maxPayload allows/, 'failing')
    })

    it('meets the others when the broker refuses the task of one', async () => {
      change('header.func', 'refused')
      tray.refuses = ([one]) =>
        one?.package.body.includes('"refused"') ? new BrokerError('It is too large.') : undefined
      await expectIsolated(/too large/, 'failing')
    })

    it('goes on with one whose pattern was mended', async () => {
      change('timeZone', 'Mars/Olympus')
      await timetable().look()
      await (await find('broken')).update({ timeZone: 'UTC', nextRun })
      await timetable().look()
      expect(groups()).to.have.members(['before', 'broken', 'later'])
      expect(await find('broken')).to.include({ error: null, state: 'active' })
    })
  })

  it('shows at a schedule that no worker knows its task', async () => {
    await planned('s', { type: 'hourly' })
    await timetable().look()
    const result = JSON.stringify({ name: 'Error', message: 'Function f is not defined' })
    await save(opened()[0]?.id as string, { success: false, fate: 'deadLetter', result })
    expect(await find('s')).to.include({
      ...{ state: 'failing', error: 'Its last task failed: Function f is not defined' },
    })
  })

  it('goes by the clock of the store, not by its own', async () => {
    await planned('s', { type: 'hourly', nextRun: new Date(Date.now() + 2 * HOUR) })
    const ahead = newClient(async (given) => {
      const store = await createStore(storeOptionsOf(given))
      const { schedules } = store
      const agenda = async () => ({
        ...{ now: Date.now() + 2 * HOUR, next: null, waiting: 0, unpublished: 0 },
        due: (await schedules.list('default')).map((one) => ({ ...one, isBusy: false, waiting: 0 })),
      })
      return Object.assign(store, { schedules: Object.assign(schedules, { agenda }) })
    })
    await timetable(ahead).look()
    expect(opened()).to.have.length(1)
  })

  it('hears of a change by anybody', async () => {
    const changed = Promise.withResolvers<void>()
    await timetable(newClient(), changed.resolve).look()
    await planned('s', { type: 'hourly' })
    await changed.promise
  })
})
