import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { Role, RunningTask } from '../../machines/protocol.ts'
import { type SentinelInput, sentinelMachine, slotsOf } from '../../machines/sentinel.ts'

const aTask: RunningTask = {
  taskId: 'a'.repeat(32),
  run: 1,
  attempt: 1,
  name: 'n',
  func: 'f',
  startedAt: 0,
  overran: false,
}

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
      const name = `Process-${processes.length}`
      queueMicrotask(() => {
        sendBack({ type: 'process.spawned', pid: processes.length, name })
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
      ...{ name: 'Process-s', pid: 1, workers: 2, scheduler: true },
      ...{ grace: 25_000, maxRestarts: 2, restartWindow: 30_000, ...input },
    },
  })
  actor.on('*', (report) => void reports.push(report))
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
    expect(value()).to.equal('running')
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
    expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.stopped', interrupted: 0, deadline: false })
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

  it('bears any number of deaths that tasks explain', async () => {
    const { last, clock, value } = guard({ running: [aTask] })
    await settle()
    for (let n = 0; n < 10; n += 1) {
      await last('worker').exit(null, 'SIGKILL')
      clock.increment(0)
      await settle()
    }
    expect(value()).to.equal('running')
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
    expect(reports.at(-1)).to.deep.equal({ type: 'sentinel.stopped', interrupted: 0, deadline: true })
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
})
