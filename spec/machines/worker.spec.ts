import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import type { PeerListening } from '../../machines/protocol.ts'
import {
  type RunnerOrder,
  type RunnerReport,
  type WorkerEvent,
  workerMachine,
} from '../../machines/worker.ts'

const settle = () => new Promise(setImmediate)
const pusher: PeerListening = { type: 'peer.listening', role: 'pusher', socket: '/p' }

/** A worker with a runner that writes down its orders, whose tasks are loaded when `loaded` is. */
function made({ loaded = Promise.resolve() } = {}) {
  const clock = new SimulatedClock()
  const [log, orders, reports]: [string[], RunnerOrder[], { type: string }[]] = [[], [], []]
  let reportEdge: (event: RunnerReport) => void = () => {}
  const machine = workerMachine.provide({
    actors: {
      loadTasks: fromPromise<void>(() => loaded),
      runner: fromCallback<RunnerOrder>(({ sendBack, receive }) => {
        reportEdge = sendBack
        receive((order) => void orders.push(order))
      }),
    },
    actions: { announce: (_, { event }) => void log.push(event) },
  })
  const actor = createActor(machine, { clock })
  let failure: unknown
  actor.on('*', (report) => void reports.push(report))
  actor.subscribe({
    error: (error) => {
      failure = error
    },
  })
  actor.start()
  return {
    ...{ actor, clock, log, orders, reports },
    send: (...events: readonly WorkerEvent[]) => events.forEach((event) => void actor.send(event)),
    say: (event: RunnerReport) => reportEdge(event),
    value: () => actor.getSnapshot().value,
    failure: () => failure,
  }
}

describe('the worker machine', () => {
  it('is ready when its task modules are loaded, and not before', async () => {
    const { value, reports, log } = made()
    expect(value()).to.equal('starting')
    expect(reports).to.deep.equal([])
    await settle()
    expect(value()).to.deep.equal({ running: 'idle' })
    expect(reports).to.deep.equal([{ type: 'process.ready' }])
    expect(log).to.deep.equal(['worker.ready'])
  })

  it('fails with the reason when a task module cannot be loaded', async () => {
    const reason = new Error('tasks.ts: unexpected token')
    const { failure, actor, reports } = made({ loaded: Promise.reject(reason) })
    await settle()
    expect(actor.getSnapshot().status).to.equal('error')
    expect(failure()).to.equal(reason)
    expect(reports).to.deep.equal([])
  })

  for (const type of ['worker.stop', 'worker.abort', 'process.orphaned'] as const)
    it(`leaves at once when ${type} comes while it loads`, async () => {
      const { send, value, reports, log } = made({ loaded: new Promise(() => {}) })
      send({ type })
      expect(value()).to.equal('stopped')
      expect([reports, log]).to.deep.equal([[], ['worker.stopped']])
    })

  it('works from the first task in to the last one out', async () => {
    const { say, value, actor } = made()
    await settle()
    say({ type: 'runner.busy' })
    expect(value()).to.deep.equal({ running: 'working' })
    say({ type: 'runner.idle', done: 7 })
    expect(value()).to.deep.equal({ running: 'idle' })
    expect(actor.getSnapshot().context.done).to.equal(7)
  })

  it('knows how far its runs say they are, as long as any runs', async () => {
    const { say, send, actor } = made()
    await settle()
    const runs = [{ taskId: 'a', progress: 0.25, message: 'page 1 of 4' }]
    const known = () => actor.getSnapshot().context.progress
    say({ type: 'runner.busy' })
    say({ type: 'runner.progressed', runs })
    expect(known()).to.deep.equal(runs)
    say({ type: 'runner.idle', done: 1 })
    expect(known()).to.deep.equal([])
    send({ type: 'worker.stop' })
    say({ type: 'runner.progressed', runs })
    expect(known()).to.deep.equal(runs)
  })

  for (const busy of [false, true])
    for (const type of ['worker.stop', 'process.orphaned'] as const)
      it(`finishes what it has at ${type} while it is ${busy ? 'working' : 'idle'}, then leaves`, async () => {
        const { send, say, value, orders, log, actor } = made()
        await settle()
        if (busy) say({ type: 'runner.busy' })
        send({ type })
        expect(value()).to.equal('stopping')
        expect(orders).to.deep.equal([{ type: 'runner.finish' }])
        say({ type: 'runner.idle', done: 3 })
        expect([value(), actor.getSnapshot().context.done]).to.deep.equal(['stopping', 3])
        say({ type: 'runner.finished' })
        expect(value()).to.equal('stopped')
        expect(log).to.deep.equal(['worker.ready', 'worker.stopped'])
      })

  it('aborts what runs when it is told to, whether it stops already or not, and still finishes', async () => {
    const abort = { type: 'runner.abort' }
    const finish = { type: 'runner.finish' }
    for (const [before, expected] of [
      [[], [abort, finish]],
      [[{ type: 'worker.stop' as const }], [finish, abort]],
    ] as const) {
      const { send, say, value, orders } = made()
      await settle()
      send(...before, { type: 'worker.abort' })
      expect(value()).to.equal('stopping')
      expect(orders).to.deep.equal(expected)
      say({ type: 'runner.finished' })
      expect(value()).to.equal('stopped')
    }
  })

  it('waits for its release as long as that takes: its own clock ends nothing', async () => {
    const { send, clock, value } = made()
    await settle()
    send({ type: 'worker.stop' })
    clock.increment(2 ** 31)
    expect(value()).to.equal('stopping')
  })

  it('meets its peers while it runs and while it stops', async () => {
    const { send, orders } = made()
    await settle()
    send(pusher, { type: 'worker.stop' }, pusher)
    expect(orders).to.deep.equal([pusher, { type: 'runner.finish' }, pusher])
  })
})
