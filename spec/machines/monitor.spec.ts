import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import {
  HEED,
  type MonitorEvent,
  monitorMachine,
  type OutcomesOrder,
  type OutcomesReport,
} from '../../machines/monitor.ts'
import { STEADY } from '../../machines/pusher.ts'

const settle = () => new Promise(setImmediate)

/** A monitor with outcomes that write down their orders, on a store that is there or not. */
function made({ store = async () => {} } = {}) {
  const clock = new SimulatedClock()
  const [log, reasons]: [string[], string[]] = [[], []]
  const [orders, reports]: [OutcomesOrder[], { type: string }[]] = [[], []]
  let opened = 0
  let reportEdge: (event: OutcomesReport) => void = () => {}
  const machine = monitorMachine.provide({
    actors: {
      outcomes: fromCallback<OutcomesOrder>(({ sendBack, receive }) => {
        reportEdge = sendBack
        receive((order) => void orders.push(order))
      }),
      connectStore: fromPromise<void>(() => {
        opened += 1
        return store()
      }),
    },
    actions: {
      announce: (_, { event, reason }) => {
        log.push(event)
        if (reason !== undefined) reasons.push(reason)
      },
    },
  })
  const actor = createActor(machine, { clock })
  actor.on('*', (report) => void reports.push(report))
  actor.start()
  const running = async () => {
    await settle()
    reportEdge({ type: 'outcomes.listening', socket: '/m' })
    await settle()
  }
  return {
    ...{ actor, clock, log, reasons, orders, reports, running },
    send: (...events: readonly MonitorEvent[]) => events.forEach((event) => void actor.send(event)),
    say: (event: OutcomesReport) => reportEdge(event),
    value: () => actor.getSnapshot().value,
    ordered: () => orders.map(({ type }) => type),
    opened: () => opened,
  }
}

describe('the monitor machine', () => {
  it('opens its socket and is ready, whatever the store does, and then opens the store', async () => {
    const { value, say, reports, log, ordered, opened } = made()
    expect(value()).to.equal('starting')
    await settle()
    expect([reports, opened()]).to.deep.equal([[], 0])
    say({ type: 'outcomes.listening', socket: '/m' })
    expect(value()).to.deep.equal({ running: 'connecting' })
    expect(reports).to.deep.equal([{ type: 'process.ready', socket: '/m' }])
    expect([log, ordered()]).to.deep.equal([['monitor.ready'], []])
    await settle()
    expect(value()).to.deep.equal({ running: 'connected' })
    expect(log).to.deep.equal(['monitor.ready'])
    expect(ordered()).to.deep.equal(['outcomes.save'])
  })

  it('starts while the store is away, says so once, and opens it later', async () => {
    let isAway = true
    const { running, value, clock, log, reasons, opened } = made({
      store: () => (isAway ? Promise.reject(new Error('read-only')) : Promise.resolve()),
    })
    await running()
    for (const delay of [100, 200, 400]) {
      expect(value()).to.deep.equal({ running: 'reconnecting' })
      clock.increment(delay)
      await settle()
    }
    expect(opened()).to.equal(4)
    expect([log, reasons]).to.deep.equal([['monitor.ready', 'store.lost'], ['read-only']])
    isAway = false
    clock.increment(800)
    await settle()
    expect(value()).to.deep.equal({ running: 'connected' })
    expect(log.at(-1)).to.equal('store.connected')
  })

  for (const type of ['monitor.stop', 'monitor.abort', 'process.orphaned'] as const)
    it(`leaves at ${type} while it starts`, () => {
      const { send, value, log } = made()
      send({ type })
      expect(value()).to.equal('stopped')
      expect(log).to.deep.equal(['monitor.stopped'])
    })

  for (const stopping of [false, true])
    describe(`whose store goes away while it ${stopping ? 'stops' : 'runs'}`, () => {
      const top = stopping ? 'stopping' : 'running'

      it('opens it again after 0.1, 0.2, 0.4 … seconds, never after more than 5, and then saves', async () => {
        let away = true
        let first = true
        const { running, send, say, value, clock, opened, log, ordered, actor } = made({
          store: () => {
            if (first || !away) {
              first = false
              return Promise.resolve()
            }
            return Promise.reject(new Error('away'))
          },
        })
        await running()
        if (stopping) send({ type: 'monitor.stop' })
        say({ type: 'store.lost', reason: 'disk full' })
        for (const delay of [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]) {
          expect(value()).to.deep.equal({ [top]: 'reconnecting' })
          const before = opened()
          clock.increment(delay / 2 - 1)
          expect(opened(), `after ${delay / 2 - 1} ms`).to.equal(before)
          clock.increment(delay / 2 + 1)
          expect(value()).to.deep.equal({ [top]: 'connecting' })
          await settle()
        }
        away = false
        const saves = ordered().filter((type) => type === 'outcomes.save').length
        clock.increment(5_000)
        await settle()
        expect(value()).to.deep.equal({ [top]: 'connected' })
        expect(ordered().filter((type) => type === 'outcomes.save')).to.have.length(saves + 1)
        expect(log.filter((event) => event.startsWith('store.'))).to.deep.equal([
          'store.lost',
          'store.connected',
        ])
        clock.increment(STEADY)
        expect(actor.getSnapshot().context.attempts).to.equal(0)
      })
    })

  it('stops when all is saved and settled, in whatever way the store is just then', async () => {
    const ways = [
      [null, 'connected'],
      [0, 'reconnecting'],
      [100, 'connecting'],
    ] as const
    for (const [wait, way] of ways) {
      const { running, send, say, clock, value, ordered, log } = made()
      await running()
      if (wait !== null) say({ type: 'store.lost', reason: 'x' })
      clock.increment(wait ?? 0)
      send({ type: 'monitor.stop' })
      expect(ordered()).to.include('outcomes.finish')
      expect(value()).to.deep.equal({ stopping: way })
      say({ type: 'outcomes.finished' })
      expect(value()).to.equal('stopped')
      expect(log.at(-1)).to.equal('monitor.stopped')
    }
  })

  it('requeues what it cannot save when it is aborted, and goes on until all is settled', async () => {
    for (const before of [[], [{ type: 'monitor.stop' as const }]]) {
      const { running, send, say, ordered, value } = made()
      await running()
      send(...before, { type: 'monitor.abort' })
      expect(ordered().at(-1)).to.equal('outcomes.abandon')
      send({ type: 'monitor.stop' })
      say({ type: 'outcomes.finished' })
      expect(value()).to.equal('stopped')
    }
  })

  it('requeues what it cannot save when it loses the store after it was aborted', async () => {
    const { running, send, say, ordered } = made()
    const abandons = () => ordered().filter((type) => type === 'outcomes.abandon').length
    await running()
    say({ type: 'store.lost', reason: 'x' })
    expect(abandons()).to.equal(0)
    send({ type: 'monitor.abort' })
    expect(abandons()).to.equal(1)
    const late = made()
    await late.running()
    late.send({ type: 'monitor.abort' })
    late.say({ type: 'store.lost', reason: 'x' })
    expect(late.ordered()).to.deep.equal(['outcomes.save', 'outcomes.abandon', 'outcomes.abandon'])
  })

  it('looks now and then at what is cancelled, while the store is there', async () => {
    const { running, clock, say, ordered } = made()
    const looks = () => ordered().filter((type) => type === 'cancellations.made').length
    await running()
    clock.increment(HEED - 1)
    expect(looks()).to.equal(0)
    clock.increment(1)
    clock.increment(HEED)
    expect(looks()).to.equal(2)
    say({ type: 'store.lost', reason: 'x' })
    clock.increment(HEED)
    expect(looks()).to.equal(2)
  })

  it('outlives the workers when it is orphaned, then stops by itself', async () => {
    const { running, send, say, value, ordered } = made()
    await running()
    send({ type: 'process.orphaned' })
    expect(value()).to.deep.equal({ running: 'connected' })
    expect(ordered().at(-1)).to.equal('outcomes.awaitDesertion')
    say({ type: 'outcomes.deserted' })
    expect(value()).to.have.property('stopping')
    say({ type: 'outcomes.finished' })
    expect(value()).to.equal('stopped')
  })

  it('kills the workers that have not left when it is orphaned and the grace is over', async () => {
    const { running, send, clock, ordered } = made()
    await running()
    send({ type: 'process.orphaned' })
    clock.increment(24_999)
    expect(ordered()).not.to.include('outcomes.desert')
    clock.increment(1)
    expect(ordered().at(-1)).to.equal('outcomes.desert')
  })

  it('hears of peers and of dead workers, and tells what became of them, while it runs and while it stops', async () => {
    const { running, send, say, orders, reports } = made()
    const told = [
      { type: 'peer.listening', role: 'pusher', socket: '/p' },
      { type: 'worker.buried', worker: 'w', cause: 'crashed', code: 1, signal: null, running: [] },
    ] as const
    const answers = [
      { type: 'worker.drained', worker: 'w' },
      { type: 'tasks.interrupted', count: 2 },
    ] as const
    await running()
    send(...told)
    for (const answer of answers) say(answer)
    send({ type: 'monitor.stop' }, ...told)
    for (const answer of answers) say(answer)
    const heard = orders.filter(({ type }) => !type.startsWith('outcomes.'))
    expect(heard).to.deep.equal([...told, ...told])
    expect(reports.slice(1)).to.deep.equal([...answers, ...answers])
  })
})
