import { expect } from 'chai'
import { Notes } from '../../lib/process/notes.ts'
import type { InspectionNote } from '../../machines/protocol.ts'

const changed = (id: string, value: string, lasting = false): InspectionNote => ({
  ...{ type: 'actor.changed', id, at: 0, lasting },
  event: { type: 'turn' },
  snapshot: { status: 'active', value },
})
const sent = (type: string): InspectionNote => ({
  type: 'event.sent',
  id: 'a',
  at: 0,
  from: null,
  event: { type },
})
const valuesOf = (notes: readonly InspectionNote[]) =>
  notes.map((note) => (note.type === 'actor.changed' ? `${note.id} ${note.snapshot.value}` : note.type))

describe('notes of an inspection', () => {
  let notes: Notes

  beforeEach(() => {
    notes = new Notes()
  })

  it('keep the last of the changes that may take the place of one another, behind what led to it', () => {
    for (const note of [changed('a', 'idle'), changed('b', 'idle'), sent('go'), changed('a', 'working')])
      notes.add(note)
    expect(valuesOf(notes.take(10, 'root'))).to.deep.equal(['b idle', 'event.sent', 'a working'])
  })

  it('keep every lasting change in its order, however many there are of one actor', () => {
    const values = Array.from({ length: 900 }, (_, n) => `${n}`)
    for (const value of values) notes.add(changed('a', value, true))
    expect(valuesOf(notes.take(1_000, 'root'))).to.deep.equal(values.map((value) => `a ${value}`))
  })

  it('drop and count events that are too many, and never the change they led to', () => {
    for (let n = 0; n < 1_000; n += 1) notes.add(sent(`${n}`))
    notes.add(changed('a', 'end'))
    const taken = notes.take(10_000, 'root')
    expect(valuesOf(taken).slice(200)).to.deep.equal(['a end', 'notes.dropped'])
    expect(taken.at(-1)).to.include({ id: 'root', count: 800 })
    notes.add(sent('again'))
    expect(valuesOf(notes.take(10, 'root'))).to.deep.equal(['event.sent'])
  })

  it('tell an event that comes again once, with how often, before the change that followed the last', () => {
    for (let n = 0; n < 1_000; n += 1)
      for (const note of [sent('busy'), changed('a', 'working'), sent('idle'), changed('a', 'idle')])
        notes.add(note)
    const taken = notes.take(10, 'root')
    expect(valuesOf(taken)).to.deep.equal(['event.sent', 'event.sent', 'a idle'])
    expect(taken.slice(0, 2)).to.deep.equal([
      { ...sent('busy'), times: 1_000 },
      { ...sent('idle'), times: 1_000 },
    ])
    notes.add(sent('busy'))
    expect(notes.take(10, 'root')).to.deep.equal([sent('busy')])
  })

  it('keep an event before the lasting change that it led to, though the same comes again', () => {
    for (const note of [sent('go'), changed('a', 'gone', true), sent('go'), sent('go')]) notes.add(note)
    const taken = notes.take(10, 'root')
    expect(valuesOf(taken)).to.deep.equal(['event.sent', 'a gone', 'event.sent'])
    expect(taken.at(-1)).to.deep.equal({ ...sent('go'), times: 2 })
  })

  it('keep events apart that differ in what they carry, and add up what was counted elsewhere', () => {
    const carrying = (n: number): InspectionNote =>
      ({ ...sent('go'), event: { type: 'go', n } }) as InspectionNote
    const told = (times: number): InspectionNote => ({ ...sent('busy'), times }) as InspectionNote
    for (const note of [carrying(1), carrying(2), told(3), told(4)]) notes.add(note)
    expect(notes.take(10, 'root')).to.deep.equal([carrying(1), carrying(2), told(7)])
  })

  it('hold a bounded number, also of actors that come and go without end', () => {
    for (let n = 0; n < 10_000; n += 1) {
      notes.add({ type: 'actor.registered', id: `${n}`, at: 0, parent: null, name: '', definition: {} })
      notes.add(sent('x'))
      notes.add(changed('a', `${n}`, true))
    }
    let count = 0
    while (!notes.isEmpty) count += notes.take(25, 'root').length
    expect(count).to.be.within(1_000, 1_300)
  })
})
