import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Broker, Enqueued } from '../../lib/brokers/index.ts'
import { Client } from '../../lib/client.ts'
import { resolveSettings, type Settings } from '../../lib/config.ts'
import { ConfigError, type QclusterError, ScheduleError, SerializationError } from '../../lib/errors.ts'
import { defineTask } from '../../lib/tasks/define.ts'
import { Schedule, type ScheduleOptions, schedule } from '../../lib/tasks/schedule.ts'

const add = defineTask({ name: 'add', timeout: 9 }, (a: number, b: number) => a + b)
const NOON = new Date('2100-01-31T12:00:00Z')
const iso = (dates: readonly Date[]) => dates.map((date) => date.toISOString().slice(0, 16))

describe('schedule()', () => {
  let settings: Settings
  let client: Client
  let sent: Enqueued[]

  beforeEach(async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'qc-spec-'))
    settings = await resolveSettings({ dataDir, secretKey: 'k', maxPayload: 1_000 }, { env: {}, file: null })
    sent = []
    const broker = {
      connect() {},
      close() {},
      enqueue: async (batch: Enqueued[]) => void sent.push(...batch),
    }
    client = new Client(settings, {
      resolve: async () => settings,
      makeBroker: async () => broker as unknown as Broker,
    })
  })
  afterEach(async () => {
    await client.close()
    await rm(settings.dataDir, { recursive: true })
  })

  const planned = (options: ScheduleOptions = {}) =>
    schedule(add, [1, 2], { client, timeZone: 'UTC', nextRun: NOON, ...options })
  const found = (idOrName: string) => Schedule.find(idOrName, { client })

  async function refusal(options: object, task: unknown = 'f', args: unknown = []): Promise<QclusterError> {
    const all = { client, nextRun: NOON, ...options }
    return schedule(task as string, args as unknown[], all).then(
      () => expect.fail(`took ${JSON.stringify(options)}`),
      (error: unknown) => error as QclusterError,
    )
  }

  it('makes a schedule that is found by its id and by its name', async () => {
    const made = await planned({ name: 'sum', type: 'daily' })
    expect(made).to.deep.include({
      ...{ name: 'sum', cluster: 'default', func: 'add', type: 'daily', timeZone: 'UTC', nextRun: NOON },
      ...{ repeats: -1, overlap: 'allow', misfire: 'all', misfireLimit: 100 },
      ...{ state: 'active', error: null, lastTask: null },
    })
    for (const key of ['sum', made.id]) expect(await found(key), key).to.deep.equal(made)
    expect(await found('other')).to.equal(undefined)
    expect(await made.lastRun()).to.equal(undefined)
    expect(await made.success()).to.equal(undefined)
  })

  it('is for once and now where nothing else is said, and has four words for its name', async () => {
    const before = Date.now()
    const made = await schedule('f', [], { client })
    expect(made.type).to.equal('once')
    expect(made.name).to.match(/^\w+(-\w+){3}$/)
    expect(made.nextRun?.getTime()).to.be.within(before, Date.now())
    expect(made.timeZone).to.equal(new Intl.DateTimeFormat().resolvedOptions().timeZone)
  })

  it('takes the type from a pattern or from minutes', async () => {
    expect(await planned({ cron: '0 9 * * *' })).to.include({ type: 'cron', misfire: 'once' })
    expect(await planned({ minutes: 5 })).to.include({ type: 'minutes', minutes: 5, misfire: 'all' })
    expect(await planned({ type: 'minutes' })).to.include({ minutes: 1 })
  })

  it('computes the first time of a pattern when it is made', async () => {
    const made = await planned({ cron: '0 9 * * *' })
    expect(made.nextRun?.toISOString()).to.equal('2100-02-01T09:00:00.000Z')
  })

  it('refuses a name that is taken, in its queue', async () => {
    await planned({ name: 'sum' })
    const error = await planned({ name: 'sum' }).catch((refused: unknown) => refused)
    expect(error)
      .to.be.instanceOf(ScheduleError)
      .with.property('message')
      .that.includes('a schedule "sum" already')
    expect(await planned({ name: 'sum', cluster: 'other' })).to.include({ cluster: 'other' })
  })

  it('refuses what is wrong, with what would be right', async () => {
    for (const [options, message] of [
      [{ cron: '0 22 * * 1-12' }, 'no cron pattern'],
      [{ cron: '0 0 31 2 *' }, 'has no time after'],
      [{ type: 'cron' }, 'needs a pattern'],
      [{ type: 'sometimes' }, 'type must be one of once, minutes'],
      [{ timeZone: 'Mars/Olympus', type: 'daily' }, 'no time zone'],
      [{ minutes: 0 }, 'minutes must be a whole number'],
      [{ minutes: 1.5 }, 'minutes must be a whole number'],
      [{ repeats: -2 }, 'repeats must be'],
      [{ nextRun: new Date('never') }, 'nextRun must be a valid Date'],
      [{ nextRun: '2030-01-01' }, 'nextRun must be a valid Date'],
      [{ intendedDateKwarg: 'not a name' }, 'intendedDateKwarg must be'],
      [{ overlap: 'maybe' }, 'overlap must be one of allow, skip, queue'],
      [{ overlap: 'skip', options: { save: false } }, 'whose success is not saved'],
      [{ overlap: 'skip', options: { unique: true } }, 'unique by themselves'],
      [{ misfire: 'maybe' }, 'misfire must be one of all, once, skip'],
      [{ misfireLimit: 0 }, 'misfireLimit must be'],
      [{ repeat: 3 }, 'has no option "repeat"; the nearest one is repeats'],
    ] as const) {
      const error = await refusal(options)
      expect(error, message).to.be.instanceOf(ScheduleError)
      expect(error.message).to.include(message)
      expect(error.exitCode).to.equal(2)
    }
    expect(await Schedule.list({ client })).to.deep.equal([])
  })

  it('refuses a wrong task, and options that its tasks cannot have', async () => {
    for (const error of [
      await refusal({}, () => 1),
      await refusal({}, 'f', 'no list'),
      await refusal({ name: '' }),
      await refusal({ options: { delay: 3 } }),
      await refusal({ options: { timeout: -1 } }),
    ])
      expect(error).to.be.instanceOf(ConfigError)
    expect(await refusal({}, 'f', [() => 1])).to.be.instanceOf(SerializationError)
    expect(await refusal({}, 'f', ['x'.repeat(1_000)])).to.be.instanceOf(SerializationError)
  })

  it('shows the next times, no more than its repeats', async () => {
    const made = await planned({ type: 'monthly' })
    expect(iso(await made.preview(3))).to.deep.equal([
      ...['2100-01-31T12:00', '2100-02-28T12:00', '2100-03-28T12:00'],
    ])
    expect(await (await planned({ type: 'hourly', repeats: 2 })).preview()).to.have.length(2)
    expect(await (await planned()).preview()).to.have.length(1)
  })

  it('changes what it is told to, and leaves the rest', async () => {
    const made = await planned({ name: 'sum', type: 'daily', repeats: 5, intendedDateKwarg: 'date' })
    const changed = await made.update({ name: 'total', repeats: 3, overlap: 'skip' })
    expect(changed).to.deep.include({
      ...{ id: made.id, name: 'total', repeats: 3, overlap: 'skip', type: 'daily', nextRun: NOON },
      ...{ intendedDateKwarg: 'date', func: 'add' },
    })
    expect(await found('total')).to.deep.equal(changed)
    expect(await found('sum')).to.equal(undefined)
  })

  it('changes when it is due', async () => {
    const made = await planned({ type: 'daily' })
    expect(await made.update({ timeZone: 'Asia/Tokyo' })).to.deep.include({ type: 'daily', nextRun: NOON })
    expect(await made.update({ type: 'weekly' })).to.include({ type: 'weekly', timeZone: 'Asia/Tokyo' })
    const later = new Date('2100-05-05T05:05:00Z')
    expect((await made.update({ nextRun: later })).nextRun).to.deep.equal(later)
    const pattern = await made.update({ cron: '0 9 * * *', nextRun: NOON })
    expect(pattern).to.include({ type: 'cron', cron: '0 9 * * *' })
    expect(pattern.nextRun?.toISOString()).to.equal('2100-02-01T00:00:00.000Z')
    const every = await made.update({ minutes: 7 })
    expect(every).to.include({ type: 'minutes', minutes: 7, cron: undefined })
  })

  it('does not undo what somebody else has changed meanwhile', async () => {
    const made = await planned({ type: 'daily' })
    await Promise.all([made.update({ repeats: 3 }), made.update({ overlap: 'queue' }), made.pause()])
    expect(await found(made.id)).to.include({ repeats: 3, overlap: 'queue', state: 'paused' })
  })

  it('refuses a change to a name that is taken, or of what is gone', async () => {
    await planned({ name: 'sum' })
    const other = await planned({ name: 'other' })
    const taken = await other.update({ name: 'sum' }).catch((error: unknown) => error)
    expect(taken).to.be.instanceOf(ScheduleError).with.property('message').that.includes('already')
    expect(await other.delete()).to.equal(true)
    expect(await other.delete()).to.equal(false)
    const gone = await other.pause().catch((error: unknown) => error)
    expect(gone).to.be.instanceOf(ScheduleError).with.property('message').that.includes('is gone')
  })

  it('pauses and goes on', async () => {
    const made = await planned({ type: 'hourly', nextRun: new Date(Date.now() - 5.5 * 3_600_000) })
    expect((await made.pause()).state).to.equal('paused')
    const resumed = await made.resume()
    expect(resumed.state).to.equal('active')
    expect(resumed.nextRun?.getTime()).to.be.within(Date.now(), Date.now() + 3_600_000)
  })

  it('makes a task now, also while it is paused, and leaves its times', async () => {
    const made = await planned({ name: 'sum', type: 'daily' })
    await made.pause()
    const task = await made.run()
    expect(task).to.include({ func: 'add', group: 'sum' })
    expect(sent.map((one) => one.package.taskId)).to.deep.equal([task.id])
    expect(await found('sum')).to.deep.include({
      lastTask: task.id,
      nextRun: NOON,
      repeats: -1,
      state: 'paused',
    })
  })

  it('lists the schedules of a queue by their next time', async () => {
    await planned({ name: 'c', nextRun: new Date(NOON.getTime() + 1) })
    await planned({ name: 'b' })
    await planned({ name: 'a', repeats: 0 })
    await planned({ name: 'd', cluster: 'other' })
    const names = async (cluster?: string) =>
      (await Schedule.list({ client, ...(cluster && { cluster }) })).map(({ name }) => name)
    expect(await names()).to.deep.equal(['b', 'c', 'a'])
    expect(await names('other')).to.deep.equal(['d'])
  })
})
