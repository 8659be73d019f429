import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import type { Broker, Listener } from '../../lib/brokers/index.ts'
import { BrokerError } from '../../lib/errors.ts'
import { type BrokerPlace, brokerAt } from './broker.contract.ts'
import { eventually, Inbox, range } from './material.ts'

/** The contract of brokers that carry notices: results to those who wait for them. */
export function describeNotices(name: string, makeBroker: () => Promise<BrokerPlace>): void {
  describe(`${name}, as a carrier of notices`, () => {
    let place: BrokerPlace
    let broker: Broker
    let address: string
    let brokers: Broker[]
    let listeners: Listener[]

    beforeEach(async () => {
      place = await makeBroker()
      address = randomUUID()
      brokers = []
      listeners = []
      broker = await open()
    })
    afterEach(async () => {
      for (const listener of listeners) await listener.stop()
      for (const one of brokers) await one.close()
      await place.remove()
    })

    async function open(): Promise<Broker> {
      const opened = await brokerAt(place)
      brokers.push(opened)
      await opened.connect()
      return opened
    }

    async function hear(at = broker, from = address): Promise<Inbox<string>> {
      const inbox = new Inbox<string>()
      const onLost = (error: Error) => {
        throw error
      }
      const listener = await at.hear?.({ address: from, onNotice: (body) => inbox.put([body]), onLost })
      listeners.push(listener as Listener)
      return inbox
    }

    const notify = (...bodies: string[]) => broker.notify?.(bodies.map((body) => ({ to: address, body })))

    it('brings each notice to all who listen at its address, in their order', async () => {
      const inboxes = [await hear(), await hear(await open())]
      const sent = range(300).map((i) => `Grüße "${i}" 🎉`)
      notify(...sent)
      for (const inbox of inboxes) expect(await inbox.atLeast(300)).to.deep.equal(sent)
    })

    it('brings none to another address', async () => {
      const [other, inbox] = [await hear(broker, randomUUID()), await hear()]
      notify('a')
      expect(await inbox.atLeast(1)).to.deep.equal(['a'])
      expect(other.items).to.deep.equal([])
    })

    it('forgets what nobody listens for', async () => {
      const elsewhere = randomUUID()
      const passed = await hear(broker, elsewhere)
      notify('early')
      // They keep their order, so that one has come to nobody when this one comes.
      broker.notify?.([{ to: elsewhere, body: 'now' }])
      await passed.atLeast(1)
      const inbox = await hear()
      notify('late')
      expect(await inbox.atLeast(1)).to.deep.equal(['late'])
    })

    it('brings nothing to whoever has stopped listening', async () => {
      const [stopped, inbox] = [await hear(), await hear()]
      await listeners[0]?.stop()
      await listeners[0]?.stop()
      notify('a')
      await inbox.atLeast(1)
      expect(stopped.items).to.deep.equal([])
    })

    it('says once that nothing is heard any more', async () => {
      const other = await open()
      const losses: Error[] = []
      await other.hear?.({ address, onNotice: () => {}, onLost: (error) => losses.push(error) })
      await other.close()
      await eventually(async () => losses.length, 1)
      expect(losses[0]).to.be.instanceOf(BrokerError)
    })
  })
}
