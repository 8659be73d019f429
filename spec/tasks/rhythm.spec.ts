import { expect } from 'chai'
import { ScheduleError } from '../../lib/errors.ts'
import { preview, type Rhythm, rhythmOf, type ScheduleType, type Timing } from '../../lib/tasks/rhythm.ts'

const at = (text: string): number => Date.parse(text.length === 16 ? `${text}Z` : text)
const iso = (time: number): string => new Date(time).toISOString().slice(0, 16)

const rhythm = (timing: Partial<Timing> & Pick<Timing, 'type'>): Promise<Rhythm> =>
  rhythmOf({ timeZone: 'UTC', ...timing })

async function runs(timing: Partial<Timing> & Pick<Timing, 'type'>, from: string, count: number) {
  const one = await rhythm(timing)
  return preview(one, one.first(at(from)), count).map(iso)
}

describe('the rhythm of a schedule', () => {
  it('has the steps of each type', async () => {
    const second: Record<Exclude<ScheduleType, 'once' | 'cron'>, string> = {
      minutes: '2026-01-31T10:01',
      hourly: '2026-01-31T11:00',
      daily: '2026-02-01T10:00',
      weekly: '2026-02-07T10:00',
      biweekly: '2026-02-14T10:00',
      monthly: '2026-02-28T10:00',
      bimonthly: '2026-03-31T10:00',
      quarterly: '2026-04-30T10:00',
      yearly: '2027-01-31T10:00',
    }
    for (const [type, expected] of Object.entries(second))
      expect(await runs({ type: type as ScheduleType }, '2026-01-31T10:00', 2), type).to.deep.equal([
        '2026-01-31T10:00',
        expected,
      ])
  })

  it('is over after once', async () => {
    expect(await runs({ type: 'once' }, '2026-01-31T10:00', 9)).to.deep.equal(['2026-01-31T10:00'])
  })

  it('counts the minutes that it is told', async () => {
    expect(await runs({ type: 'minutes', minutes: 90 }, '2026-01-31T23:00', 3)).to.deep.equal([
      ...['2026-01-31T23:00', '2026-02-01T00:30', '2026-02-01T02:00'],
    ])
  })

  it('stays on the day that a short month has left it', async () => {
    expect(await runs({ type: 'monthly' }, '2026-01-31T10:00', 4)).to.deep.equal([
      ...['2026-01-31T10:00', '2026-02-28T10:00', '2026-03-28T10:00', '2026-04-28T10:00'],
    ])
    expect(await runs({ type: 'yearly' }, '2024-02-29T10:00', 3)).to.deep.equal([
      ...['2024-02-29T10:00', '2025-02-28T10:00', '2026-02-28T10:00'],
    ])
  })

  it('keeps the local time over daylight saving, as the scenario of the reference has it', async () => {
    const daily = { type: 'daily', timeZone: 'Europe/Amsterdam' } as const
    expect((await runs(daily, '2021-03-27T00:00', 4)).slice(1)).to.deep.equal([
      ...['2021-03-28T00:00', '2021-03-28T23:00', '2021-03-29T23:00'],
    ])
    expect(await runs(daily, '2021-10-29T23:00', 3)).to.deep.equal([
      ...['2021-10-29T23:00', '2021-10-30T23:00', '2021-11-01T00:00'],
    ])
  })

  it('comes back to its time after a day whose clocks skipped it', async () => {
    const daily = { type: 'daily', timeZone: 'Europe/Amsterdam' } as const
    expect(await runs(daily, '2021-03-27T01:30', 3)).to.deep.equal([
      ...['2021-03-27T01:30', '2021-03-28T01:00', '2021-03-29T00:30'],
    ])
  })

  it('counts hours as they elapse', async () => {
    const hourly = { type: 'hourly', timeZone: 'Europe/Amsterdam' } as const
    expect(await runs(hourly, '2021-10-30T23:30', 4)).to.deep.equal([
      ...['2021-10-30T23:30', '2021-10-31T00:30', '2021-10-31T01:30', '2021-10-31T02:30'],
    ])
  })

  it('begins a pattern with its first time that is no earlier', async () => {
    const cron = { type: 'cron', cron: '30 9 * * 1-5', timeZone: 'Europe/Amsterdam' } as const
    expect(await runs(cron, '2026-01-30T08:30', 2)).to.deep.equal(['2026-01-30T08:30', '2026-02-02T08:30'])
    expect(await runs(cron, '2026-01-30T08:31', 1)).to.deep.equal(['2026-02-02T08:30'])
  })

  it('knows seconds, the last day of a month, and names in a pattern', async () => {
    const one = await rhythm({ type: 'cron', cron: '*/20 * * * * *' })
    expect(preview(one, one.first(at('2026-01-01T00:00:05.500Z')), 3)).to.deep.equal(
      ['2026-01-01T00:00:20Z', '2026-01-01T00:00:40Z', '2026-01-01T00:01:00Z'].map(at),
    )
    expect(await runs({ type: 'cron', cron: '0 0 L * *' }, '2026-01-05T00:00', 2)).to.deep.equal([
      ...['2026-01-31T00:00', '2026-02-28T00:00'],
    ])
    expect(await runs({ type: 'cron', cron: '@monthly' }, '2026-01-05T00:00', 1)).to.deep.equal([
      '2026-02-01T00:00',
    ])
  })

  it('loses no time of a pattern to daylight saving, also where it has several', async () => {
    const cron = { type: 'cron', cron: '30 2,14 * * *', timeZone: 'Europe/Amsterdam' } as const
    expect(await runs(cron, '2021-03-28T00:00', 2)).to.deep.equal(['2021-03-28T01:00', '2021-03-28T12:30'])
  })

  it('refuses what is no pattern, with the reason', async () => {
    for (const cron of ['0 22 * * 1-12', 'nonsense', '', '61 * * * *', '* * * * * * * *'])
      await rhythm({ type: 'cron', cron }).then(
        () => expect.fail(`took ${cron}`),
        (error) => {
          expect(error).to.be.instanceOf(ScheduleError)
          expect(error.message).to.include(`"${cron}" is no cron pattern`)
        },
      )
  })

  it('ends where a pattern has no more time', async () => {
    expect(await runs({ type: 'cron', cron: '0 0 31 2 *' }, '2026-01-05T00:00', 3)).to.deep.equal([])
  })

  for (const [type, timing] of Object.entries({
    minutes: { type: 'minutes', minutes: 7 },
    daily: { type: 'daily', timeZone: 'Europe/Amsterdam' },
    cron: { type: 'cron', cron: '*/7 * * * *', timeZone: 'Europe/Amsterdam' },
  } as const))
    it(`finds the newest slots that have passed (${type})`, async () => {
      const one = await rhythm(timing)
      const first = one.first(at('2026-03-27T01:30'))
      if (!first) throw new Error('It has no slot.')
      const all = preview(one, first, 20)
      const now = (all[9] as number) + 1
      const { slots, next } = one.passed(first, now, 3)
      expect(slots.map((slot) => slot.at)).to.deep.equal(all.slice(7, 10))
      expect(next?.at).to.equal(all[10])
      expect(one.passed(first, all[9] as number, 100).slots.map((slot) => slot.at)).to.deep.equal(
        all.slice(0, 10),
      )
      expect(one.passed(first, first.at - 1, 3)).to.deep.equal({ slots: [], older: 0, next: first })
    })

  it('is as quick after years of absence', async () => {
    const now = Date.parse('2026-01-01T00:00:00Z')
    for (const timing of [
      { type: 'cron', cron: '* * * * * *' },
      { type: 'minutes', minutes: 1 },
    ] as const) {
      const one = await rhythm(timing)
      const { slots, next } = one.passed({ at: now - 10 * 365 * 86_400_000, wall: null }, now, 5)
      expect(slots.map((slot) => slot.at).at(-1)).to.equal(now)
      expect(slots).to.have.length(5)
      expect(next?.at).to.be.greaterThan(now)
    }
  })
})
