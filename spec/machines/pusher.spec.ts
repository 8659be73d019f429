import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import {
  type DeliveriesOrder,
  type DispatcherOrder,
  type DispatcherReport,
  type PusherEvent,
  pusherMachine,
  reconnectDelay,
  STEADY,
  WATCH,
} from '../../machines/pusher.ts'

/** Promises of the machine are settled in microtasks; this lets them all. */
const settle = () => new Promise(setImmediate)

const JOINED: readonly PusherEvent[] = [
  { type: 'dispatcher.listening', socket: '/p' },
  { type: 'pusher.open', workers: ['w1', 'w2'] },
  { type: 'dispatcher.joined' },
]

/** A pusher with a dispatcher that writes down its orders, on a broker that is there or not. */
function made({
  broker = async () => {},
  closed = async () => {},
  consume = () => {},
  opens = (): boolean => true,
} = {}) {
  const clock = new SimulatedClock()
  const [log, reasons]: [string[], string[]] = [[], []]
  const [orders, reports]: [DispatcherOrder[], { type: string }[]] = [[], []]
  const calls = { connects: 0, consumers: 0, checks: 0, closes: 0 }
  let reportEdge: (event: DispatcherReport) => void = () => {}
  const machine = pusherMachine.provide({
    actors: {
      dispatcher: fromCallback<DispatcherOrder>(({ sendBack, receive }) => {
        reportEdge = sendBack
        receive((order) => void orders.push(order))
      }),
      connectBroker: fromPromise<void>(() => {
        calls.connects += 1
        return broker()
      }),
      deliveries: fromCallback<DeliveriesOrder>(({ sendBack, receive }) => {
        consume()
        calls.consumers += 1
        if (opens()) sendBack({ type: 'deliveries.opened' })
        receive(() => {
          calls.checks += 1
        })
        return () => {
          calls.consumers -= 1
        }
      }),
      closeBroker: fromPromise<void>(() => {
        calls.closes += 1
        return closed()
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
  const send = (...events: readonly PusherEvent[]) => events.forEach((event) => void actor.send(event))
  const connect = async () => {
    send(...JOINED)
    await settle()
  }
  return {
    ...{ clock, log, reasons, orders, reports, calls, actor, send, connect },
    say: (event: DispatcherReport) => reportEdge(event),
    value: () => actor.getSnapshot().value,
    ordered: () => orders.map(({ type }) => type),
  }
}

describe('the pusher machine', () => {
  describe('that starts', () => {
    it('is ready when its socket listens, and consumes nothing before every sink has said what it holds', async () => {
      const { send, say, value, calls, orders, reports, log } = made()
      expect(value()).to.deep.equal({ starting: 'listening' })
      say({ type: 'dispatcher.listening', socket: '/p' })
      expect(value()).to.deep.equal({ starting: 'waiting' })
      expect(reports).to.deep.equal([{ type: 'process.ready', socket: '/p' }])
      send({ type: 'pusher.open', workers: ['w1', 'w2'] })
      expect(value()).to.deep.equal({ starting: 'joining' })
      expect(orders).to.deep.equal([{ type: 'dispatcher.join', workers: ['w1', 'w2'] }])
      expect(calls.connects).to.equal(0)
      say({ type: 'dispatcher.joined' })
      await settle()
      expect(value()).to.deep.equal({ running: 'connected' })
      expect(calls).to.include({ connects: 1, consumers: 1 })
      expect(reports.at(-1)).to.deep.equal({ type: 'pusher.opened' })
      expect(log).to.deep.equal(['pusher.ready'])
    })

    for (let stage = 0; stage < JOINED.length; stage += 1)
      it(`drains without ever consuming when it is stopped after ${stage} steps`, async () => {
        const { send, value, ordered, calls } = made()
        send(...JOINED.slice(0, stage), { type: 'pusher.stop' })
        expect(value()).to.deep.equal({ stopping: 'draining' })
        expect(ordered().at(-1)).to.equal('dispatcher.drain')
        send({ type: 'dispatcher.joined' })
        await settle()
        expect(calls).to.include({ connects: 0, consumers: 0 })
      })

    it('leaves at once when it is told to close', () => {
      const { send, value } = made()
      send({ type: 'pusher.close' })
      expect(value()).to.equal('stopped')
    })

    it('requeues what it holds when it is aborted, and waits for others to leave when it is orphaned', () => {
      const aborted = made()
      aborted.send({ type: 'pusher.abort' })
      expect(aborted.ordered()).to.deep.equal(['dispatcher.abandon', 'dispatcher.drain'])
      const orphaned = made()
      orphaned.send({ type: 'process.orphaned' })
      expect(orphaned.ordered()).to.deep.equal(['dispatcher.drain'])
      orphaned.say({ type: 'dispatcher.drained' })
      expect(orphaned.ordered()).to.deep.equal(['dispatcher.drain', 'dispatcher.awaitDesertion'])
    })
  })

  describe('whose broker is away', () => {
    it('tries again after at most 0.1, 0.2, 0.4 … seconds and at least half of that, and never waits more than 5', async () => {
      const { connect, clock, calls, value } = made({ broker: () => Promise.reject(new Error('away')) })
      await connect()
      for (const delay of [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]) {
        const before = calls.connects
        expect(value()).to.deep.equal({ running: 'reconnecting' })
        clock.increment(delay / 2 - 1)
        expect(calls.connects, `after ${delay / 2 - 1} ms`).to.equal(before)
        clock.increment(delay / 2 + 1)
        expect(calls.connects, `after ${delay} ms`).to.equal(before + 1)
        await settle()
      }
    })

    it('waits differently long each time, so that many do not come back at once', () => {
      const waits = Array.from({ length: 100 }, () => reconnectDelay(20))
      expect(new Set(waits)).to.have.property('size').above(90)
      expect(Math.min(...waits)).to.be.at.least(2_500)
      expect(Math.max(...waits)).to.be.at.most(5_000)
    })

    it('stops consuming, voids its receipts, says why, and starts afresh when the broker is back', async () => {
      let away = false
      const { connect, send, clock, calls, value, log, ordered, actor } = made({
        broker: () => (away ? Promise.reject(new Error('away')) : Promise.resolve()),
      })
      await connect()
      away = true
      send({ type: 'broker.lost', reason: 'reset' })
      expect(value()).to.deep.equal({ running: 'reconnecting' })
      expect(calls.consumers).to.equal(0)
      expect(ordered().at(-1)).to.equal('dispatcher.void')
      clock.increment(100)
      await settle()
      away = false
      clock.increment(200)
      await settle()
      expect(value()).to.deep.equal({ running: 'connected' })
      expect(calls).to.include({ connects: 3, consumers: 1 })
      expect(log).to.deep.equal(['pusher.ready', 'broker.lost', 'broker.connected'])
      clock.increment(STEADY)
      expect(actor.getSnapshot().context.attempts).to.equal(0)
    })

    it('says also of a broker that it never reached that it is lost, once, and when it is there', async () => {
      let isAway = true
      const { connect, clock, log, reasons } = made({
        broker: () => (isAway ? Promise.reject(new Error('refused')) : Promise.resolve()),
      })
      await connect()
      for (const delay of [100, 200]) {
        clock.increment(delay)
        await settle()
      }
      expect([log, reasons]).to.deep.equal([['pusher.ready', 'broker.lost'], ['refused']])
      isAway = false
      clock.increment(400)
      await settle()
      expect(log.at(-1)).to.equal('broker.connected')
    })

    it('tells once of a broker that lets it in and does not let it consume, and says when it does', async () => {
      let isAllowed = false
      const { connect, send, clock, calls, value, log, ordered } = made({ opens: () => isAllowed })
      await connect()
      for (const delay of [100, 200, 400]) {
        send({ type: 'broker.lost', reason: 'not allowed' })
        expect(value()).to.deep.equal({ running: 'reconnecting' })
        expect(ordered().at(-1)).to.equal('dispatcher.void')
        clock.increment(delay)
        await settle()
      }
      expect(calls.connects).to.equal(4)
      expect(log).to.deep.equal(['pusher.ready', 'broker.lost'])
      isAllowed = true
      send({ type: 'broker.lost', reason: 'not allowed' })
      clock.increment(800)
      await settle()
      expect(log).to.deep.equal(['pusher.ready', 'broker.lost', 'broker.connected'])
    })

    it('asks its consumer every few seconds whether it gets what waits, while it consumes', async () => {
      const { connect, send, clock, calls } = made()
      await connect()
      for (const checks of [1, 2, 3]) {
        clock.increment(WATCH - 1)
        expect(calls.checks).to.equal(checks - 1)
        clock.increment(1)
        expect(calls.checks).to.equal(checks)
      }
      send({ type: 'pusher.pause' })
      clock.increment(10 * WATCH)
      expect(calls.checks).to.equal(3)
    })

    it('waits ever longer for a broker that comes back only to be lost again', async () => {
      const { connect, send, clock, value } = made()
      await connect()
      for (const delay of [100, 200, 400, 800]) {
        send({ type: 'broker.lost', reason: 'full' })
        clock.increment(delay / 2 - 1)
        expect(value()).to.deep.equal({ running: 'reconnecting' })
        clock.increment(delay / 2 + 1)
        await settle()
        expect(value()).to.deep.equal({ running: 'connected' })
      }
    })

    it('reconnects also when its consumer throws', async () => {
      const { connect, value } = made({
        consume: () => {
          throw new Error('no such queue')
        },
      })
      await connect()
      expect(value()).to.deep.equal({ running: 'reconnecting' })
    })

    it('stops in order also then, and connects to nothing more', async () => {
      for (const wait of [0, 100]) {
        const { connect, send, value, clock, calls } = made({
          broker: () => Promise.reject(new Error('away')),
        })
        await connect()
        clock.increment(wait)
        send({ type: 'pusher.stop' })
        expect(value()).to.deep.equal({ stopping: 'draining' })
        const { connects } = calls
        clock.increment(60_000)
        expect(calls.connects).to.equal(connects)
        send({ type: 'dispatcher.drained' }, { type: 'pusher.close' })
        await settle()
        expect(value()).to.equal('stopped')
      }
    })
  })

  describe('that stops', () => {
    it('stops consuming, pushes what it holds, and keeps its connection open until it is told to close', async () => {
      const { connect, send, say, value, calls, reports, ordered, log } = made()
      await connect()
      send({ type: 'pusher.stop' })
      expect(calls).to.include({ consumers: 0, closes: 0 })
      expect(ordered().at(-1)).to.equal('dispatcher.drain')
      say({ type: 'dispatcher.drained' })
      expect(value()).to.deep.equal({ stopping: 'settling' })
      expect(reports.at(-1)).to.deep.equal({ type: 'pusher.drained' })
      expect(log.at(-1)).to.equal('pusher.drained')
      expect(calls.closes).to.equal(0)
      send({ type: 'pusher.close' })
      expect(value()).to.deep.equal({ stopping: 'closing' })
      await settle()
      expect(calls.closes).to.equal(1)
      expect(value()).to.equal('stopped')
    })

    it('leaves also when the connection cannot be closed', async () => {
      const { connect, send, value } = made({ closed: () => Promise.reject(new Error('reset')) })
      await connect()
      send({ type: 'pusher.stop' }, { type: 'pusher.close' })
      await settle()
      expect(value()).to.equal('stopped')
    })

    it('requeues what it still holds when it is aborted, whether it stops already or not', async () => {
      for (const before of [[], [{ type: 'pusher.stop' as const }]]) {
        const { connect, send, value, ordered } = made()
        await connect()
        send(...before, { type: 'pusher.abort' })
        expect(value()).to.deep.equal({ stopping: 'draining' })
        expect(ordered()).to.include('dispatcher.abandon').and.to.include('dispatcher.drain')
      }
    })

    it('voids its receipts when the broker goes meanwhile', async () => {
      const { connect, send, ordered, value } = made()
      await connect()
      send({ type: 'pusher.stop' }, { type: 'broker.lost', reason: 'reset' })
      expect(ordered().at(-1)).to.equal('dispatcher.void')
      expect(value()).to.deep.equal({ stopping: 'draining' })
    })
  })

  it('stops by itself when it is orphaned: it leaves when workers and monitor have left', async () => {
    const [orphaned, stop] = [{ type: 'process.orphaned' }, { type: 'pusher.stop' }] as const
    for (const [before, after] of [
      [[orphaned], []],
      [[stop, orphaned], []],
      [[stop], [orphaned]],
    ] as const) {
      const { connect, send, say, value, ordered } = made()
      await connect()
      send(...before)
      // Not before all is pushed: it hears of each thing that it waits for once.
      expect(ordered()).not.to.include('dispatcher.awaitDesertion')
      say({ type: 'dispatcher.drained' })
      send(...after)
      expect(value()).to.deep.equal({ stopping: 'outliving' })
      expect(ordered().at(-1)).to.equal('dispatcher.awaitDesertion')
      say({ type: 'dispatcher.deserted' })
      await settle()
      expect(value()).to.equal('stopped')
    }
  })

  it('tells its dispatcher in any state which workers are gone', async () => {
    const { connect, send, orders } = made()
    const gone = { type: 'worker.gone', worker: 'w1' } as const
    send(gone)
    await connect()
    send(gone, { type: 'pusher.stop' }, gone)
    expect(orders.filter(({ type }) => type === 'worker.gone')).to.deep.equal([gone, gone, gone])
  })

  describe('that is paused', () => {
    it('consumes nothing until it is resumed, and says both', async () => {
      const { connect, send, value, calls, reports } = made()
      await connect()
      send({ type: 'pusher.pause' })
      expect([value(), calls.consumers]).to.deep.equal([{ running: 'paused' }, 0])
      send({ type: 'pusher.resume' })
      await settle()
      expect([value(), calls.consumers]).to.deep.equal([{ running: 'connected' }, 1])
      expect(reports.map(({ type }) => type).slice(-2)).to.deep.equal(['pusher.paused', 'pusher.resumed'])
    })

    it('never consumes when it is told so before it has joined the others', async () => {
      const { say, send, value, calls } = made()
      say({ type: 'dispatcher.listening', socket: '/p' })
      send({ type: 'pusher.open', workers: [] }, { type: 'pusher.pause' })
      say({ type: 'dispatcher.joined' })
      await settle()
      expect([value(), calls.connects]).to.deep.equal([{ running: 'paused' }, 0])
    })

    it('consumes when it is told to resume before it has joined the others', async () => {
      const { say, send, value } = made()
      say({ type: 'dispatcher.listening', socket: '/p' })
      send({ type: 'pusher.open', workers: [] }, { type: 'pusher.pause' }, { type: 'pusher.resume' })
      say({ type: 'dispatcher.joined' })
      await settle()
      expect(value()).to.deep.equal({ running: 'connected' })
    })

    it('stays paused when the broker is lost, and voids its receipts', async () => {
      const { connect, send, value, ordered, log } = made()
      await connect()
      send({ type: 'pusher.pause' }, { type: 'broker.lost', reason: 'gone' })
      expect(value()).to.deep.equal({ running: 'paused' })
      expect(ordered().at(-1)).to.equal('dispatcher.void')
      expect(log.at(-1)).to.equal('broker.lost')
    })

    it('gives up connecting when it is paused while it does', async () => {
      const { connect, send, value, clock, calls } = made({
        broker: () => Promise.reject(new Error('away')),
      })
      await connect()
      send({ type: 'pusher.pause' })
      clock.increment(60_000)
      expect([value(), calls.connects]).to.deep.equal([{ running: 'paused' }, 1])
    })

    it('drains when it is stopped', async () => {
      const { connect, send, value, ordered } = made()
      await connect()
      send({ type: 'pusher.pause' }, { type: 'pusher.stop' })
      expect(value()).to.deep.equal({ stopping: 'draining' })
      expect(ordered().at(-1)).to.equal('dispatcher.drain')
    })
  })
})
