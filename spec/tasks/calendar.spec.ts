import { expect } from 'chai'
import { addMonths, instantOf, isZone, wallOf } from '../../lib/tasks/calendar.ts'

const at = (text: string): number => Date.parse(`${text}Z`)
const iso = (time: number): string => new Date(time).toISOString().slice(0, 16)

describe('the calendar', () => {
  it('adds months and years as the reference does', () => {
    for (const [from, months, to] of [
      ['2020-01-31T09:00', 1, '2020-02-29T09:00'],
      ['2020-11-02T09:00', 3, '2021-02-02T09:00'],
      ['2020-02-29T09:00', 12, '2021-02-28T09:00'],
      ['2021-12-31T09:00', 2, '2022-02-28T09:00'],
      ['2021-12-31T09:00', 1, '2022-01-31T09:00'],
    ] as const)
      expect(iso(addMonths(at(from), months)), from).to.equal(to)
  })

  it('knows what the clocks of a zone show, and when', () => {
    for (const [zone, instant, wall] of [
      ['Europe/Amsterdam', '2021-01-01T00:00', '2021-01-01T01:00'],
      ['Europe/Amsterdam', '2021-07-01T00:00', '2021-07-01T02:00'],
      ['Asia/Kolkata', '2021-07-01T00:00', '2021-07-01T05:30'],
      ['America/St_Johns', '2021-01-01T00:00', '2020-12-31T20:30'],
      ['UTC', '2021-01-01T00:00', '2021-01-01T00:00'],
    ] as const) {
      expect(iso(wallOf(at(instant), zone)), zone).to.equal(wall)
      expect(iso(instantOf(at(wall), zone)), zone).to.equal(instant)
    }
  })

  it('meets a time that the clocks skip at the first moment after the gap', () => {
    expect(iso(instantOf(at('2021-03-28T02:30'), 'Europe/Amsterdam'))).to.equal('2021-03-28T01:00')
    // They go on by half an hour there.
    expect(iso(instantOf(at('2021-10-03T02:15'), 'Australia/Lord_Howe'))).to.equal('2021-10-02T15:30')
    // This day did not exist.
    expect(iso(instantOf(at('2011-12-30T12:00'), 'Pacific/Apia'))).to.equal('2011-12-30T10:00')
  })

  it('meets a time that the clocks show twice at the first of the two', () => {
    expect(iso(instantOf(at('2021-10-31T02:30'), 'Europe/Amsterdam'))).to.equal('2021-10-31T00:30')
  })

  it('knows a zone from what is none', () => {
    expect(['Europe/Amsterdam', 'UTC', 'America/Argentina/Salta'].filter(isZone)).to.have.length(3)
    expect(['Mars/Olympus', '', 'Europe'].filter(isZone)).to.deep.equal([])
  })
})
