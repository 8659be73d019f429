import { expect } from 'chai'
import { Hub } from '../../lib/inspection/hub.ts'
import { Onlookers } from '../../lib/inspection/remote.ts'
import type { InspectionNote } from '../../machines/protocol.ts'
import { Script } from './script.ts'

const registered: InspectionNote = {
  ...{ type: 'actor.registered', id: 'root', at: 1, parent: null, name: 'root', definition: {} },
}
const changed = (value: string): InspectionNote => ({
  ...{ type: 'actor.changed', id: 'root', at: 2, event: { type: 'turn' }, lasting: true },
  snapshot: { status: 'active', value },
})

describe('onlookers over the bus', () => {
  let script: Script
  let onlookers: Onlookers

  beforeEach(() => {
    script = new Script([registered, changed('idle')])
    onlookers = new Onlookers(new Hub(script))
  })

  it('get the present, and then what is new, as soon as there is something', async () => {
    expect(await onlookers.next('one', 0)).to.deep.equal({ number: 1, notes: [registered, changed('idle')] })
    const waiting = onlookers.next('one', 1)
    script.take?.([changed('busy')])
    expect(await waiting).to.deep.equal({ number: 2, notes: [changed('busy')] })
  })

  it('get the same batch again, when it was lost on its way', async () => {
    const lost = await onlookers.next('one', 0)
    script.take?.([changed('busy')])
    expect(await onlookers.next('one', 0)).to.deep.equal(lost)
    expect((await onlookers.next('one', 1)).notes).to.deep.equal([changed('busy')])
  })

  it('get the same batch twice, when they asked again before there was something', async () => {
    await onlookers.next('one', 0)
    const waiting = [onlookers.next('one', 1), onlookers.next('one', 1)]
    script.take?.([changed('busy')])
    const batch = { number: 2, notes: [changed('busy')] }
    expect(await Promise.all(waiting)).to.deep.equal([batch, batch])
  })

  it('see by the number that they were forgotten, and begin again with the present', async () => {
    expect(await onlookers.next('forgotten', 7)).to.deep.equal({ number: 0, notes: [] })
    expect((await onlookers.next('forgotten', 0)).notes).to.deep.equal([registered, changed('idle')])
  })

  it('each have their own', async () => {
    await onlookers.next('one', 0)
    expect((await onlookers.next('other', 0)).notes).to.deep.equal([registered, changed('idle')])
  })
})
