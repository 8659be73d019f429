import { expect } from 'chai'
import {
  type AnyActorRef,
  createActor,
  fromCallback,
  fromPromise,
  SimulatedClock,
  setup,
  spawnChild,
} from 'xstate'
import { backOff, type ChildInput, childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { Role, RunningTask } from '../../machines/protocol.ts'

const aTask: RunningTask = {
  taskId: 'a'.repeat(32),
  run: 1,
  attempt: 1,
  name: 'one-two-three-four',
  func: 'math.add',
  startedAt: 0,
  overran: false,
}

/** A slot under a parent that writes down what it hears, with processes that do as the spec says. */
function slot({ running = [] as RunningTask[], input = {} as Partial<ChildInput> } = {}) {
  const clock = new SimulatedClock()
  const forks: object[] = []
  const heard: { type: string; [key: string]: unknown }[] = []
  const processes: { orders: string[]; say: (event: { type: string; [key: string]: unknown }) => void }[] = []
  const fake = fromCallback<{ type: string }, IncarnationInput>(({ sendBack, receive }) => {
    const orders: string[] = []
    processes.push({ orders, say: sendBack })
    receive((order) => {
      orders.push(order.type)
    })
  })
  const machine = childMachine.provide({
    actors: {
      process: fake,
      lastWords: fromPromise<readonly RunningTask[], { role: Role; name: string }>(async () => running),
    },
  })
  const parent = setup({ actors: { machine } }).createMachine({
    entry: spawnChild('machine', {
      id: 'slot',
      input: { id: 'worker-1', role: 'worker', stopOrder: { type: 'worker.stop' }, ...input },
    }),
    on: {
      'child.forked': { actions: ({ event }) => void forks.push(event) },
      'child.ended': { actions: ({ event }) => void forks.push(event) },
      '*': { actions: ({ event }) => void (event.type.startsWith('xstate.') || heard.push(event as never)) },
    },
  })
  const actor = createActor(parent, { clock }).start()
  const child = actor.getSnapshot().children.slot as AnyActorRef
  const last = () => processes.at(-1) as (typeof processes)[number]
  const up = () => {
    last().say({ type: 'process.spawned', pid: 7, name: `Process-${processes.length}`, bornAt: '1' })
    last().say({ type: 'process.ready', socket: '/s' })
  }
  const die = async (signal = 'SIGKILL') => {
    last().say({ type: 'process.exited', code: null, signal })
    await new Promise(setImmediate)
  }
  return { forks, clock, heard, processes, child, last, up, die, value: () => child.getSnapshot().value }
}

describe('the child machine', () => {
  it('is up only on the child’s own word', () => {
    const { last, value, heard } = slot()
    last().say({ type: 'process.spawned', pid: 7, name: 'Process-1' })
    expect(value()).to.deep.equal({ alive: 'starting' })
    last().say({ type: 'process.ready', socket: '/s' })
    expect(value()).to.deep.equal({ alive: 'up' })
    expect(heard[0]).to.include({ type: 'child.up', id: 'worker-1', name: 'Process-1', pid: 7, socket: '/s' })
  })

  it('tells of each process that it has, for whoever has to end it should its sentinel die', async () => {
    const { forks, up, die } = slot()
    up()
    const forked = { type: 'child.forked', pid: 7, name: 'Process-1', bornAt: '1' }
    expect(forks).to.deep.equal([forked])
    await die()
    expect(forks).to.deep.equal([forked, { type: 'child.ended', name: 'Process-1' }])
  })

  it('replaces a process that dies unasked, and tells with what it left', async () => {
    const { up, die, processes, heard, clock } = slot({ running: [aTask] })
    up()
    await die()
    expect(heard.at(-1)).to.include({ type: 'child.died', starting: false })
    expect((heard.at(-1) as never as { testament: object }).testament).to.deep.include({
      cause: 'crashed',
      running: [aTask],
    })
    clock.increment(0)
    expect(processes).to.have.length(2)
  })

  it('waits longer after each death that no task explains, and forgets them after a while up', async () => {
    const { up, die, processes, clock, child } = slot()
    for (const expected of [0, 100, 200]) {
      up()
      await die()
      const before = processes.length
      if (expected > 0) clock.increment(expected - 1)
      if (expected > 0) expect(processes, `after ${expected - 1} ms`).to.have.length(before)
      clock.increment(1)
      expect(processes, `after ${expected} ms`).to.have.length(before + 1)
    }
    up()
    clock.increment(10_000)
    expect(child.getSnapshot().context.deaths).to.equal(0)
  })

  it('does not charge the slot for a death that a task explains', async () => {
    const { up, die, child } = slot({ running: [aTask] })
    up()
    await die()
    expect(child.getSnapshot().context.deaths).to.equal(0)
  })

  it('calls a death timed out where a run was overdue, whoever sent the signal', async () => {
    const { up, die, heard } = slot({ running: [{ ...aTask, overran: true }] })
    up()
    await die()
    expect((heard.at(-1) as never as { testament: object }).testament).to.include({ cause: 'timedOut' })
  })

  it('orders a child to leave, and kills it when it does not', async () => {
    const { up, child, last, clock, die, heard, value } = slot({ input: { stopTimeout: 500 } })
    up()
    child.send({ type: 'child.stop' })
    expect(last().orders).to.deep.equal(['worker.stop'])
    clock.increment(500)
    expect(last().orders).to.deep.equal(['worker.stop', 'process.kill'])
    await die()
    expect(value()).to.equal('gone')
    expect(heard.at(-1)).to.include({ type: 'child.gone', id: 'worker-1' })
  })

  it('kills at once who is told to leave before it is ready, and blames nobody', async () => {
    const { last, child, die, heard, value } = slot()
    last().say({ type: 'process.spawned', pid: 7, name: 'Process-1', bornAt: '1' })
    child.send({ type: 'child.stop' })
    expect(last().orders).to.include('process.kill')
    await die()
    expect(value()).to.equal('gone')
    expect(heard.at(-1)).to.include({ type: 'child.gone', id: 'worker-1' })
    expect((heard.at(-1) as never as { testament: object }).testament).to.include({ cause: 'shutdown' })
  })

  it('starts nobody when it is stopped while it backs off', async () => {
    const { up, die, child, processes, clock, value } = slot()
    up()
    await die()
    child.send({ type: 'child.stop' })
    clock.increment(60_000)
    expect(value()).to.equal('gone')
    expect(processes).to.have.length(1)
  })

  it('kills a child that does not get ready in time', () => {
    const { last, clock } = slot({ input: { startTimeout: 1_000 } })
    clock.increment(1_000)
    expect(last().orders).to.deep.equal(['process.kill'])
  })

  it('passes orders down and the child’s own reports up', () => {
    const { up, child, last, heard } = slot()
    up()
    child.send({ type: 'child.order', order: { type: 'worker.abort' } })
    expect(last().orders).to.deep.equal(['worker.abort'])
    last().say({ type: 'pusher.opened' })
    expect(heard.at(-1)).to.deep.equal({ type: 'pusher.opened' })
  })

  it('backs off 0, 100, 200 ms … and never more than 5 s', () => {
    expect([0, 1, 2, 3, 4, 20].map(backOff)).to.deep.equal([0, 0, 100, 200, 400, 5_000])
  })
})
