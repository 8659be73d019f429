import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { Role, RunningTask } from '../../machines/protocol.ts'
import { type SentinelInput, sentinelMachine } from '../../machines/sentinel.ts'
import { slotsOf } from '../../machines/slots.ts'

const aTask: RunningTask = {
  taskId: 'a'.repeat(32),
  run: 1,
  attempt: 1,
  name: 'n',
  func: 'f',
  startedAt: 0,
  overran: false,
}

const AT_WORK = { running: { intake: 'taking', staff: 'settled' } }

/** Promises of the machine are settled in microtasks; this lets them all. */
const settle = () => new Promise(setImmediate)

interface FakeProcess {
  readonly role: Role
  readonly orders: { type: string; [key: string]: unknown }[]
  readonly say: (event: { type: string; [key: string]: unknown }) => void
  readonly exit: (code: number | null, signal?: string) => Promise<void>
}

/** A sentinel whose children are fakes: each gets ready at once and leaves in order when it is told to. */
function guard({
  input = {} as Partial<SentinelInput>,
  running = [] as RunningTask[],
  obedient = true,
  ping = async () => {},
  /** Whether the nth process gets ready by itself. */
  loads = (_n: number): boolean => true,
} = {}) {
  const clock = new SimulatedClock()
  const processes: FakeProcess[] = []
  const log: string[] = []
  const reports: { type: string; [key: string]: unknown }[] = []
  const process = fromCallback<{ type: string }, IncarnationInput>(
    ({ input: { role }, sendBack, receive }) => {
      const orders: FakeProcess['orders'] = []
      const exit = async (code: number | null, signal: string | null = null) => {
        sendBack({ type: 'process.exited', code, signal })
        await settle()
      }
      const answers: Record<string, () => unknown> = {
        'pusher.open': () => sendBack({ type: 'pusher.opened' }),
        'pusher.pause': () => sendBack({ type: 'pusher.paused' }),
        'pusher.resume': () => sendBack({ type: 'pusher.resumed' }),
        'pusher.stop': () => sendBack({ type: 'pusher.drained' }),
        'pusher.close': () => exit(0),
        'worker.stop': () => exit(0),
        'monitor.stop': () => exit(0),
        'scheduler.stop': () => exit(0),
        'process.kill': () => exit(null, 'SIGKILL'),
      }
      receive((order) => {
        orders.push(order)
        if (obedient || order.type === 'pusher.open') answers[order.type]?.()
      })
      processes.push({ role, orders, say: sendBack, exit })
      const number = processes.length
      const name = `Process-${number}`
      queueMicrotask(() => {
        sendBack({ type: 'process.spawned', pid: number, name })
        if (loads(number))
          sendBack({ type: 'process.ready', ...(role === 'worker' ? {} : { socket: `/${name}` }) })
      })
    },
  )
  const machine = sentinelMachine.provide({
    actors: {
      pingServices: fromPromise<void>(ping),
      child: childMachine.provide({
        actors: {
          process,
          lastWords: fromPromise<readonly RunningTask[], { role: Role; name: string }>(
            async ({ input: { role } }) => (role === 'worker' ? running : []),
          ),
        },
      }),
    },
    actions: { announce: (_, { event }) => void log.push(event) },
  })
  const actor = createActor(machine, {
    clock,
    input: {
      ...{ name: 'Process-s', pid: 1, workers: 2, scheduler: true, revived: false, paused: false },
      ...{ grace: 25_000, maxRestarts: 2, restartWindow: 30_000, ...input },
    },
  })
  actor.on('*', (report) => {
    if (!report.type.startsWith('child.')) reports.push({ ...report })
  })
  actor.start()
  const last = (role: Role) => processes.findLast((one) => one.role === role) as FakeProcess
  const of = (role: Role) => processes.filter((one) => one.role === role)
  return { actor, clock, processes, log, reports, last, of, value: () => actor.getSnapshot().value }
}

describe('the sentinel machine', () => {
  it('forks every sink before the source, and opens the source last', async () => {
    const { processes, value, last, reports, log } = guard()
    await settle()
    expect(processes.map(({ role }) => role)).to.deep.equal([
      'worker',
      'worker',
      'monitor',
      'scheduler',
      'pusher',
    ])
    expect(last('pusher').orders.at(-1)).to.deep.equal({
      type: 'pusher.open',
      workers: ['Process-1', 'Process-2'],
    })
    expect(value()).to.deep.equal(AT_WORK)
    expect(log).to.deep.equal(['sentinel.guarding'])
    expect(reports.map(({ type }) => type)).to.deep.equal(['sentinel.running'])
  })

  it('introduces pusher and monitor to whoever talks to them, whatever the order of their starts', async () => {
    const { of, last } = guard()
    await settle()
    const heard = (one: FakeProcess) =>
      one.orders.filter(({ type }) => type === 'peer.listening').map(({ role }) => role)
    for (const worker of of('worker')) expect(heard(worker)).to.have.members(['monitor', 'pusher'])
    expect(heard(last('monitor'))).to.deep.equal(['pusher'])
    expect(heard(last('pusher'))).to.deep.equal([])
  })

  it('has no scheduler where it is switched off', () => {
    expect(slotsOf({ workers: 1, scheduler: false }).map(({ id }) => id)).to.deep.equal([
      'worker-1',
      'monitor',
      'pusher',
    ])
  })

  it('fails with the reason when broker or store do not answer', async () => {
    const { value, reports } = guard({
      ping: async () => {
        throw Object.assign(new Error('no broker there'), { code: 'QCLUSTER_BROKER' })
      },
    })
    await settle()
    expect(value()).to.equal('failed')
    const crossed = JSON.parse(JSON.stringify(reports.at(-1)))
    expect(crossed.error).to.include({ message: 'no broker there', code: 'QCLUSTER_BROKER' })
  })

  it('asks nobody whether all is well where it takes the place of one that died', async () => {
    const { value } = guard({
      input: { revived: true },
      ping: async () => {
        throw new Error('no broker there')
      },
    })
    await settle()
    expect(value()).to.deep.equal(AT_WORK)
  })

  it('takes nothing, from the first moment, where the one before it was paused', async () => {
    const { value, last } = guard({ input: { revived: true, paused: true } })
    await settle()
    expect(value()).to.deep.equal({ running: { intake: 'paused', staff: 'settled' } })
    const told = last('pusher').orders.map(({ type }) => type)
    expect(told.indexOf('pusher.pause')).to.equal(told.indexOf('pusher.open') + 1)
  })

  it('stops by the documented stages, in their order', async () => {
    const { actor, last, of, processes, log, value, reports } = guard({ obedient: false })
    await settle()
    const stage = () => (value() as never as { stopping: { stage: string } }).stopping.stage
    actor.send({ type: 'sentinel.stop' })
    expect(stage()).to.equal('stoppingPusher')
    expect(last('pusher').orders.at(-1)?.type).to.equal('pusher.stop')
    await last('scheduler').exit(0)
    last('pusher').say({ type: 'pusher.drained' })
    expect(stage()).to.equal('stoppingWorkers')
    for (const worker of of('worker')) {
      expect(worker.orders.at(-1)?.type).to.equal('worker.stop')
      expect(stage()).to.equal('stoppingWorkers')
      await worker.exit(0)
    }
    expect(stage()).to.equal('stoppingMonitor')
    expect(
      last('pusher').orders.map(({ type }) => type),
      'its connection stays open',
    ).to.not.include('pusher.close')
    await last('monitor').exit(0)
    expect(stage()).to.equal('closingPusher')
    expect(last('pusher').orders.at(-1)?.type).to.equal('pusher.close')
    await last('pusher').exit(0)
    expect(value()).to.equal('stopped')
    expect(log).to.deep.equal(['sentinel.guarding', 'sentinel.stopping', 'sentinel.waiting'])
    expect(reports.at(-1)).to.deep.equal({
      type: 'sentinel.stopped',
      interrupted: 0,
      deadline: false,
      reincarnations: 0,
    })
    expect(processes).to.have.length(5)
  })

  it('replaces a worker that dies, and tells the monitor and the pusher what it left', async () => {
    const { of, last, clock, log } = guard({ running: [aTask] })
    await settle()
    await of('worker')[0]?.exit(null, 'SIGKILL')
    expect(last('monitor').orders.at(-1)).to.deep.include({
      ...{
        type: 'worker.buried',
        worker: 'Process-1',
        cause: 'crashed',
        signal: 'SIGKILL',
        running: [aTask],
      },
    })
    expect(last('pusher').orders.at(-1)).to.deep.equal({ type: 'worker.gone', worker: 'Process-1' })
    clock.increment(0)
    await settle()
    expect(of('worker')).to.have.length(3)
    expect(log.at(-1)).to.equal('worker.reincarnated')
  })

  it('repeats to a new monitor what the old one has not answered for', async () => {
    const { of, last, clock } = guard({ running: [aTask] })
    await settle()
    await of('worker')[0]?.exit(null, 'SIGKILL')
    await last('monitor').exit(null, 'SIGKILL')
    clock.increment(0)
    await settle()
    const buried = () => last('monitor').orders.filter(({ type }) => type === 'worker.buried')
    expect(of('monitor')).to.have.length(2)
    expect(buried()).to.have.length(1)
    last('monitor').say({ type: 'worker.drained', worker: 'Process-1' })
    await last('monitor').exit(null, 'SIGKILL')
    clock.increment(1_000)
    await settle()
    expect(of('monitor')).to.have.length(3)
    expect(buried()).to.have.length(0)
  })

  it('gives up after too many deaths that no task explains, in order, with exit code 5', async () => {
    const { last, clock, value, reports } = guard()
    await settle()
    for (let n = 0; n < 3; n += 1) {
      await last('pusher').exit(1)
      clock.increment(1_000)
      await settle()
    }
    expect(value()).to.equal('failed')
    expect((reports.at(-1) as never as { error: object }).error).to.include({
      code: 'QCLUSTER_RESTARTS',
      exitCode: 5,
    })
  })

  it('bears any number of deaths that tasks explain, and tells in its last report how many', async () => {
    const { actor, last, clock, value, reports } = guard({ running: [aTask] })
    await settle()
    for (let n = 0; n < 10; n += 1) {
      await last('worker').exit(null, 'SIGKILL')
      clock.increment(0)
      await settle()
    }
    expect(value()).to.deep.equal(AT_WORK)
    actor.send({ type: 'sentinel.stop' })
    for (let n = 0; n < 10 && actor.getSnapshot().status === 'active'; n += 1) await settle()
    expect(reports.at(-1)).to.include({ type: 'sentinel.stopped', reincarnations: 10 })
  })

  it('kills the worker of an overdue run, and calls it timed out', async () => {
    const { actor, of, last } = guard({ running: [{ ...aTask, overran: true }] })
    await settle()
    actor.send({ type: 'worker.overran', worker: 'Process-1' })
    await settle()
    expect(of('worker')[0]?.orders.at(-1)?.type).to.equal('process.kill')
    expect(last('monitor').orders.at(-1)).to.include({ type: 'worker.buried', cause: 'timedOut' })
  })

  it('aborts tasks when the grace is over, then kills, and says that the deadline was reached', async () => {
    const { actor, clock, last, of, reports, log } = guard({ obedient: false })
    await settle()
    actor.send({ type: 'sentinel.stop' })
    last('pusher').say({ type: 'pusher.drained' })
    await last('scheduler').exit(0)
    clock.increment(24_999)
    expect(last('worker').orders.at(-1)?.type).to.equal('worker.stop')
    clock.increment(1)
    expect(last('worker').orders.at(-1)?.type).to.equal('worker.abort')
    clock.increment(1_000)
    for (const worker of of('worker')) {
      expect(worker.orders.at(-1)?.type).to.equal('process.kill')
      await worker.exit(null, 'SIGKILL')
    }
    await last('monitor').exit(0)
    await last('pusher').exit(0)
    expect(reports.at(-1)).to.deep.equal({
      type: 'sentinel.stopped',
      interrupted: 0,
      deadline: true,
      reincarnations: 0,
    })
    expect(log).to.include('cluster.deadline')
  })

  it('stops when it is told to while it starts, and when its cluster is gone', async () => {
    for (const type of ['sentinel.stop', 'process.orphaned'] as const)
      for (const started of [false, true]) {
        const { actor, value, reports } = guard()
        if (started) await settle()
        actor.send({ type })
        for (let n = 0; n < 10 && actor.getSnapshot().status === 'active'; n += 1) await settle()
        expect(value(), `${type}, ${started ? 'running' : 'starting'}`).to.equal('stopped')
        expect(reports.at(-1)?.type).to.equal('sentinel.stopped')
      }
  })

  const ordersOf = (one: FakeProcess | undefined) => one?.orders.map(({ type }) => type) ?? []
  const isToldToLeave = (one: FakeProcess) => ordersOf(one).includes('worker.stop')

  describe('whose pusher is alive but not working', () => {
    const seen = (state: string, waiting: number) => (name: string, role: Role) => ({
      ...{ at: 1, pid: 1, rss: 1, cpu: 0, delay: 0, blocked: false, tasks: [] },
      ...(role === 'worker' ? { state, gauges: {} } : { state: 'running.connected', gauges: { waiting } }),
      name,
    })
    const look = ({ actor }: ReturnType<typeof guard>, one: ReturnType<typeof seen>, runs: number) => {
      const { slots } = actor.getSnapshot().context
      const processes = Object.values(slots).map(({ name, role }) => [name, one(name, role)] as const)
      actor.send({ type: 'processes.observed', processes: Object.fromEntries(processes), counters: { runs } })
    }

    it('replaces it after five looks at which nothing has moved, and says so', async () => {
      const guarded = guard()
      await settle()
      for (let n = 0; n < 4; n++) look(guarded, seen('running.idle', 3), 7)
      expect(guarded.log).not.to.include('pusher.stalled')
      look(guarded, seen('running.idle', 3), 7)
      await settle()
      expect(guarded.log).to.include.members(['pusher.stalled', 'pusher.reincarnated'])
      expect(guarded.of('pusher')[0]?.orders.at(-1)?.type).to.equal('process.kill')
    })

    it('bears looks between which something moved, works, or where nothing waits', async () => {
      const guarded = guard()
      await settle()
      for (let n = 0; n < 20; n++) look(guarded, seen('running.idle', 3), n)
      for (let n = 0; n < 20; n++) look(guarded, seen('running.working', 3), 20)
      for (let n = 0; n < 20; n++) look(guarded, seen('running.idle', 0), 20)
      expect(guarded.log).not.to.include('pusher.stalled')
    })

    it('gives up where that does not help', async () => {
      const guarded = guard({ input: { maxRestarts: 1 } })
      await settle()
      for (let n = 0; n < 10; n++) {
        look(guarded, seen('running.idle', 3), 7)
        await settle()
        guarded.clock.increment(0)
        await settle()
      }
      expect(guarded.reports.at(-1)).to.deep.include({ type: 'sentinel.failed' })
    })
  })

  describe('that is paused', () => {
    it('lets its pusher take nothing, and take again when it is resumed', async () => {
      const { actor, last, value, reports } = guard()
      await settle()
      actor.send({ type: 'sentinel.pause' })
      expect(value()).to.deep.equal({ running: { intake: 'paused', staff: 'settled' } })
      expect(ordersOf(last('pusher')).at(-1)).to.equal('pusher.pause')
      expect(reports.at(-1)?.type).to.equal('sentinel.paused')
      actor.send({ type: 'sentinel.resume' })
      expect(value()).to.deep.equal(AT_WORK)
      expect(ordersOf(last('pusher')).at(-1)).to.equal('pusher.resume')
      expect(reports.at(-1)?.type).to.equal('sentinel.resumed')
    })

    it('pauses a pusher that takes the place of a dead one, before that one consumes', async () => {
      const { actor, last, clock } = guard()
      await settle()
      actor.send({ type: 'sentinel.pause' })
      await last('pusher').exit(1)
      clock.increment(0)
      await settle()
      expect(ordersOf(last('pusher'))).to.deep.equal(['pusher.open', 'pusher.pause'])
    })

    it('stops by the same stages', async () => {
      const { actor, value } = guard()
      await settle()
      actor.send({ type: 'sentinel.pause' })
      actor.send({ type: 'sentinel.stop' })
      await settle()
      await settle()
      expect(value()).to.equal('stopped')
    })
  })

  describe('that is scaled', () => {
    it('has more workers as soon as they are up, and introduces them', async () => {
      const { actor, of, last, reports, value } = guard()
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 4 })
      expect(value()).to.deep.equal({ running: { intake: 'taking', staff: 'scaling' } })
      await settle()
      expect(of('worker')).to.have.length(4)
      expect(ordersOf(last('worker'))).to.deep.equal(['peer.listening', 'peer.listening'])
      expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.scaled', workers: 4 })
      expect(value()).to.deep.equal(AT_WORK)
    })

    it('tells the youngest to leave when there are to be fewer, and does not wait for them', async () => {
      const { actor, of, reports, last } = guard({ obedient: false, input: { workers: 3 } })
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 1 })
      expect(of('worker').map(isToldToLeave)).to.deep.equal([false, true, true])
      expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.scaled', workers: 1 })
      await of('worker')[1]?.exit(0)
      expect(last('pusher').orders.at(-1)).to.deep.equal({ type: 'worker.gone', worker: 'Process-2' })
      expect(of('worker'), 'nobody takes its place').to.have.length(3)
    })

    it('lets a new pusher wait for a worker that is leaving, for it still holds something', async () => {
      const { actor, of, last, clock } = guard({ obedient: false })
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 1 })
      await last('pusher').exit(1)
      clock.increment(0)
      await settle()
      expect(last('pusher').orders[0]).to.deep.equal({
        type: 'pusher.open',
        workers: ['Process-1', 'Process-2'],
      })
      expect(of('worker')[1]?.orders.at(-1)).to.include({ type: 'peer.listening', role: 'pusher' })
    })

    it('stops while the new ones are starting', async () => {
      const { actor, value } = guard({ loads: (n) => n <= 5 })
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 4 })
      await settle()
      actor.send({ type: 'sentinel.stop' })
      await settle()
      await settle()
      expect(value()).to.equal('stopped')
    })

    it('charges the death of a new one while it starts to the restart budget', async () => {
      const { actor, last, clock, value } = guard({ loads: (n) => n <= 5 })
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 3 })
      for (let n = 0; n < 3; n += 1) {
        await settle()
        await last('worker').exit(4)
        clock.increment(1_000)
      }
      for (let n = 0; n < 5; n += 1) await settle()
      expect(value()).to.equal('failed')
    })
  })

  describe('told of a worker that is worn', () => {
    const worn = { type: 'worker.worn', worker: 'Process-1', by: 'tasks' } as const

    it('has its replacement ready before it leaves, counts it, and reports no reload', async () => {
      const { actor, of, last, reports, log, value } = guard({ obedient: false, loads: (n) => n <= 5 })
      await settle()
      actor.send(worn)
      actor.send(worn)
      await settle()
      expect(of('worker')).to.have.length(3)
      expect(of('worker').map(isToldToLeave)).to.deep.equal([false, false, false])
      last('worker').say({ type: 'process.ready' })
      await settle()
      expect(of('worker').map(isToldToLeave)).to.deep.equal([true, false, false])
      expect(log.filter((event) => event === 'worker.recycled')).to.have.length(1)
      expect(actor.getSnapshot().context.reincarnations).to.equal(1)
      actor.send(worn)
      await settle()
      expect(of('worker'), 'it is leaving already').to.have.length(3)
      expect(reports.map(({ type }) => type)).to.not.include('sentinel.reloaded')
      expect(value()).to.deep.equal(AT_WORK)
    })

    it('gives its replacement a slot that has been free for long, however many there were', async () => {
      const { actor } = guard()
      await settle()
      const workers = () =>
        Object.entries(actor.getSnapshot().context.slots).filter(([id]) => id.startsWith('worker-'))
      const seen: string[][] = []
      for (let n = 0; n < 8; n += 1) {
        seen.push(workers().map(([id]) => id))
        const oldest = workers()[0]?.[1].name ?? ''
        actor.send({ ...worn, worker: oldest })
        await settle()
      }
      const turns = [1, 2, 3, 4, 5, 6, 1, 2, 3].map((n) => `worker-${n}`)
      expect(seen).to.deep.equal(turns.slice(1).map((id, n) => [turns[n], id]))
      expect(Object.keys(actor.getSnapshot().children)).to.have.length(2 + 4)
    })

    it('keeps it where its replacement cannot start, at no cost, and tries when it is told once more', async () => {
      const { actor, of, last, log, value } = guard({ loads: (n) => n <= 5 })
      await settle()
      for (let n = 0; n < 6; n += 1) {
        actor.send(worn)
        await settle()
        await last('worker').exit(1)
      }
      expect(of('worker').slice(0, 2).map(isToldToLeave)).to.deep.equal([false, false])
      expect(log.filter((event) => event === 'replacement.failed')).to.have.length(6)
      expect(value()).to.deep.equal(AT_WORK)
    })

    it('replaces nobody while it stops', async () => {
      const { actor, of } = guard({ obedient: false })
      await settle()
      actor.send({ type: 'sentinel.stop' })
      actor.send(worn)
      await settle()
      expect(of('worker')).to.have.length(2)
    })
  })

  describe('that reloads', () => {
    it('has each replacement ready before the old worker is told to leave, one after the other', async () => {
      const { actor, of, reports, log, value } = guard({ obedient: false, loads: (n) => n <= 5 })
      await settle()
      const seen: [number, boolean[]][] = []
      const look = () => seen.push([of('worker').length, of('worker').map(isToldToLeave)])
      actor.send({ type: 'sentinel.reload' })
      for (let n = 0; n < 2; n += 1) {
        await settle()
        look()
        of('worker').at(-1)?.say({ type: 'process.ready' })
      }
      look()
      expect(seen).to.deep.equal([
        [3, [false, false, false]],
        [4, [true, false, false, false]],
        [4, [true, true, false, false]],
      ])
      expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.reloaded', workers: 2 })
      expect(log.filter((event) => event === 'worker.recycled')).to.have.length(2)
      expect(value()).to.deep.equal(AT_WORK)
    })

    it('keeps the old workers and says why when a replacement dies while it starts, at no cost', async () => {
      const { actor, of, last, clock, reports, log, value } = guard({ loads: (n) => n <= 5 })
      await settle()
      for (let n = 0; n < 5; n += 1) {
        actor.send({ type: 'sentinel.reload' })
        await settle()
        last('worker').say({
          type: 'process.exited',
          code: 4,
          signal: null,
          error: { name: 'E', message: 'x' },
        })
        await settle()
        clock.increment(60_000)
      }
      expect(reports.at(-1)).to.deep.equal({
        ...{ type: 'sentinel.reloaded', workers: 2, error: { name: 'E', message: 'x' } },
      })
      expect(log.at(-1)).to.equal('replacement.failed')
      expect(of('worker').slice(0, 2).map(isToldToLeave)).to.deep.equal([false, false])
      expect(of('worker'), 'it is not tried again').to.have.length(7)
      expect(value()).to.deep.equal(AT_WORK)
    })

    it('replaces also what has just been replaced when it is told to once more', async () => {
      const { actor, of, reports } = guard()
      await settle()
      actor.send({ type: 'sentinel.reload' })
      actor.send({ type: 'sentinel.reload' })
      for (let n = 0; n < 5; n += 1) await settle()
      expect(of('worker').map(isToldToLeave)).to.deep.equal([true, true, true, false, false])
      expect(reports.filter(({ type }) => type === 'sentinel.reloaded')).to.have.length(1)
    })

    it('tries once more when it was told to before the replacement died', async () => {
      const { actor, of, last, reports } = guard({ loads: (n) => n !== 6 })
      await settle()
      actor.send({ type: 'sentinel.reload' })
      actor.send({ type: 'sentinel.reload' })
      await settle()
      await last('worker').exit(4)
      for (let n = 0; n < 5; n += 1) await settle()
      expect(of('worker').map(isToldToLeave)).to.deep.equal([true, true, false, false, false])
      expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.reloaded', workers: 2 })
    })

    it('scales when the replacement that is starting is there', async () => {
      const { actor, last, of, reports } = guard({ loads: (n) => n !== 6 })
      await settle()
      actor.send({ type: 'sentinel.reload' })
      await settle()
      actor.send({ type: 'sentinel.scale', workers: 3 })
      expect(of('worker')).to.have.length(3)
      last('worker').say({ type: 'process.ready' })
      for (let n = 0; n < 5; n += 1) await settle()
      expect(of('worker').filter((one) => !isToldToLeave(one))).to.have.length(3)
      const ends = reports.map(({ type }) => type).filter((type) => /scaled|reloaded/.test(type))
      expect(ends).to.have.members(['sentinel.scaled', 'sentinel.reloaded'])
    })

    it('replaces a worker that dies meanwhile as ever, and charges its death', async () => {
      const { actor, of, value, log } = guard({ loads: (n) => n <= 5, input: { maxRestarts: 0 } })
      await settle()
      actor.send({ type: 'sentinel.reload' })
      await settle()
      await of('worker')[1]?.exit(null, 'SIGKILL')
      for (let n = 0; n < 5; n += 1) await settle()
      expect(log).to.include('sentinel.stopping')
      expect(value()).to.equal('failed')
    })

    it('stops while a replacement is starting', async () => {
      const { actor, value, of } = guard({ loads: (n) => n <= 5 })
      await settle()
      actor.send({ type: 'sentinel.reload' })
      await settle()
      actor.send({ type: 'sentinel.stop' })
      for (let n = 0; n < 5; n += 1) await settle()
      expect(value()).to.equal('stopped')
      expect(of('worker')).to.have.length(3)
    })

    it('does nothing while it stops', async () => {
      const { actor, of } = guard({ obedient: false })
      await settle()
      actor.send({ type: 'sentinel.stop' })
      for (const type of ['sentinel.reload', 'sentinel.pause', 'sentinel.resume'] as const)
        actor.send({ type })
      actor.send({ type: 'sentinel.scale', workers: 5 })
      await settle()
      expect(of('worker')).to.have.length(2)
    })
  })
})
