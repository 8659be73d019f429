import { expect } from 'chai'
import { clock, tableLines } from '../../lib/cli/table.ts'

describe('a table', () => {
  it('is as wide as a terminal shows what stands in it', () => {
    const columns = { Name: (name: string) => name, Length: (name: string) => name.length }
    expect(tableLines(columns, ['日本', 'e\u0301t\u00e9', 'plain'])).to.deep.equal([
      'Name   Length',
      '日本   2',
      'e\u0301t\u00e9    4',
      'plain  5',
    ])
  })

  it('lets nothing that stands in it move the cursor or begin a line', () => {
    const [, line] = tableLines({ Name: (name: string) => name }, ['a\u001b[2Jb\nc\u202ed'])
    expect(line).to.equal('ab?c?d')
  })

  it('shows times as hours, minutes and seconds, and none before the beginning', () => {
    expect([0, 61.9, 3_600 * 30 + 59, -5].map(clock)).to.deep.equal([
      '0:00:00',
      '0:01:01',
      '30:00:59',
      '0:00:00',
    ])
  })

  it('is turned where it is wider than the room, if that makes it narrower', () => {
    const columns = {
      Host: (n: number) => `host ${n}`,
      'Available (MB)': (n: number) => n,
      Up: () => '0:00:01',
    }
    const upright = ['Host    Available (MB)  Up', 'host 7  7               0:00:01']
    expect(tableLines(columns, [7], 31)).to.deep.equal(upright)
    expect(tableLines(columns, [7], 30)).to.deep.equal([
      'Host            host 7',
      'Available (MB)  7',
      'Up              0:00:01',
    ])
    expect(tableLines({ A: String }, [1, 2, 3], 0)).to.deep.equal(['A', '1', '2', '3'])
  })
})
