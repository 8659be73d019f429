import { expect } from 'chai'
import { createActor, fromCallback, fromPromise, SimulatedClock } from 'xstate'
import { type ClusterLimits, clusterMachine, type Heritage } from '../../machines/cluster.ts'
import { orphansMachine } from '../../machines/orphans.ts'
import type { ForkedProcess } from '../../machines/protocol.ts'

const LIMITS: ClusterLimits = { grace: 25_000, maxRestarts: 2, restartWindow: 30_000 }

const settle = () => new Promise(setImmediate)

interface FakeSentinel {
  readonly heritage: Heritage | null
  readonly orders: { readonly type: string }[]
  readonly say: (event: { type: string; [key: string]: unknown }) => void
}

/** A cluster whose sentinels are fakes, and whose preparation ends when `prepared` does. */
function made(
  prepared: Promise<ClusterLimits> = Promise.resolve(LIMITS),
  emptiness = new Promise<void>(() => {}),
) {
  const clock = new SimulatedClock()
  const log: { event: string; error?: object; signal?: unknown }[] = []
  const orders: string[] = []
  const sentinels: FakeSentinel[] = []
  const killed: string[] = []
  /** Ends the orphans of each sentinel that died, the first one's first. */
  const absences: (() => void)[] = []
  const machine = clusterMachine.provide({
    actors: {
      prepare: fromPromise<ClusterLimits>(() => prepared),
      emptiness: fromPromise<void>(() => emptiness),
      orphans: orphansMachine.provide({
        actors: {
          absence: fromPromise<void, readonly ForkedProcess[]>(
            () => new Promise((resolve) => void absences.push(resolve)),
          ),
        },
        actions: { kill: (_, processes) => void killed.push(...processes.map(({ name }) => name)) },
      }),
      sentinel: fromCallback<{ type: string }, Heritage | null>(({ input, sendBack, receive }) => {
        const one: FakeSentinel = { heritage: input, orders: [], say: sendBack }
        sentinels.push(one)
        receive((order) => {
          orders.push(order.type)
          one.orders.push(order)
        })
      }),
    },
    actions: { announce: (_, params) => void log.push(params) },
  })
  const actor = createActor(machine, { clock }).start()
  const value = () => actor.getSnapshot().value
  /** Orders that the sentinel has not answered. */
  const waiting = () => actor.getSnapshot().context.unanswered.map(({ type }) => type)
  const say: FakeSentinel['say'] = (event) => sentinels.at(-1)?.say(event)
  const start = async () => {
    actor.send({ type: 'cluster.start' })
    await settle()
  }
  /** One that runs, with a worker and a pusher. */
  const run = async () => {
    await start()
    fork('worker', 'pusher')
    say({ type: 'sentinel.running' })
  }
  const fork = (...names: string[]) => {
    for (const name of names) say({ type: 'child.forked', pid: 7, name, bornAt: '1' })
  }
  /** The sentinel is killed, and the next one forked. */
  const die = () => {
    say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
    clock.increment(5_000)
  }
  const endOrphans = async (which = 0) => {
    absences[which]?.()
    await settle()
  }
  return {
    actor,
    clock,
    log,
    orders,
    sentinels,
    killed,
    value,
    waiting,
    start,
    say,
    run,
    fork,
    die,
    endOrphans,
  }
}

describe('the cluster machine', () => {
  it('runs when its sentinel says so, and has stopped when the sentinel has left in order', async () => {
    const { actor, value, start, say, log, orders } = made()
    await start()
    expect(value()).to.deep.equal({ starting: 'forking' })
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    actor.send({ type: 'cluster.stop' })
    expect([value(), orders]).to.deep.equal([{ stopping: 'ordered' }, ['sentinel.stop']])
    say({ type: 'process.exited', code: 0, signal: null })
    expect(value()).to.equal('stopped')
    const events = ['starting', 'running', 'stopping', 'stopped'].map((word) => `cluster.${word}`)
    expect(log.map(({ event }) => event)).to.deep.equal(events)
  })

  it('forks nothing when it is stopped while it prepares', async () => {
    const { actor, value, start, log } = made(new Promise(() => {}))
    await start()
    expect(value()).to.deep.equal({ starting: 'preparing' })
    actor.send({ type: 'cluster.stop' })
    expect(value()).to.equal('stopped')
    expect(log.map(({ event }) => event)).to.deep.equal(['cluster.stopped'])
  })

  it('fails with the reason when it cannot prepare', async () => {
    const { actor, value, start } = made(
      Promise.reject(Object.assign(new Error('no such option'), { exitCode: 2 })),
    )
    await start()
    expect(value()).to.equal('failed')
    expect(actor.getSnapshot().context.error).to.include({ message: 'no such option', exitCode: 2 })
  })

  it('fails, and tells the log why, when its sentinel dies before it runs', async () => {
    const { value, start, say, log } = made()
    await start()
    say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
    expect(value()).to.equal('failed')
    expect(JSON.stringify(log.at(-1))).to.include('was killed by SIGKILL')
  })

  it('puts another sentinel at once in the place of one that dies', async () => {
    const { value, run, say, clock, log, sentinels, actor } = made()
    await run()
    say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
    expect(value()).to.deep.equal({ running: { reviving: 'backingOff' } })
    expect(log.at(-1)).to.include({ event: 'sentinel.reincarnated', signal: 'SIGKILL' })
    clock.increment(0)
    expect(value()).to.deep.equal({ running: { reviving: 'forking' } })
    expect(sentinels.map(({ heritage }) => heritage)).to.deep.equal([null, { workers: null, paused: false }])
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    expect(actor.getSnapshot().context.error).to.equal(null)
  })

  it('keeps count over all its sentinels', async () => {
    const { run, say, die, actor } = made()
    const report = (counters: object, reincarnations: number) =>
      say({ type: 'sentinel.reported', processes: [{ id: 'pusher' }], workers: 1, counters, reincarnations })
    await run()
    report({ succeeded: 5, failed: 1 }, 2)
    die()
    const { report: between } = actor.getSnapshot().context
    expect(between).to.deep.include({
      processes: [],
      reincarnations: 3,
      counters: { succeeded: 5, failed: 1 },
    })
    report({ succeeded: 2 }, 1)
    const { report: after } = actor.getSnapshot().context
    expect(after).to.deep.include({ reincarnations: 4, counters: { succeeded: 7, failed: 1 } })
    actor.send({ type: 'cluster.stop' })
    say({ type: 'sentinel.stopped', interrupted: 0, deadline: false, reincarnations: 2 })
    expect(actor.getSnapshot().context.report).to.deep.include({ ...after, reincarnations: 5 })
  })

  it('keeps count also where it is stopped before its sentinel has reported anything', async () => {
    const { run, say, actor } = made()
    await run()
    actor.send({ type: 'cluster.stop' })
    say({ type: 'sentinel.stopped', interrupted: 0, deadline: false, reincarnations: 2 })
    const { report, past } = actor.getSnapshot().context
    expect([report, past.reincarnations]).to.deep.equal([null, 2])
  })

  it('counts each sentinel that dies, also before any has reported anything', async () => {
    const { run, die, actor } = made()
    await run()
    die()
    die()
    expect(actor.getSnapshot().context.past.reincarnations).to.equal(2)
  })

  it('gives the next sentinel what the dead one was told, and had not answered', async () => {
    const { run, say, die, actor, sentinels, value } = made()
    await run()
    actor.send({ type: 'cluster.scale', workers: 3 })
    say({ type: 'sentinel.scaled', workers: 3 })
    actor.send({ type: 'cluster.pause' })
    say({ type: 'sentinel.paused' })
    actor.send({ type: 'cluster.reload' })
    die()
    expect(sentinels.at(-1)?.heritage).to.deep.equal({ workers: 3, paused: true })
    actor.send({ type: 'cluster.resume' })
    actor.send({ type: 'cluster.scale', workers: 4 })
    expect(sentinels.at(-1)?.orders).to.deep.equal([])
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'paused' })
    expect(sentinels.at(-1)?.orders).to.deep.equal([
      { type: 'sentinel.reload' },
      { type: 'sentinel.resume' },
      { type: 'sentinel.scale', workers: 4 },
    ])
  })

  it('gives up when its sentinels die too often, and only then', async () => {
    const { value, run, die, actor, endOrphans } = made()
    await run()
    for (let n = 0; n < 2; n++) die()
    expect(value()).to.deep.equal({ running: { reviving: 'forking' } })
    die()
    await endOrphans()
    expect(value()).to.equal('failed')
    expect(actor.getSnapshot().context.error).to.include({ code: 'QCLUSTER_RESTARTS', exitCode: 5 })
  })

  it('bears deaths of its sentinel that lie far enough apart', async () => {
    const { value, run, die, clock } = made()
    await run()
    for (let n = 0; n < 9; n++) {
      die()
      clock.increment(LIMITS.restartWindow)
    }
    expect(value()).to.deep.equal({ running: { reviving: 'forking' } })
  })

  it('tries again where a new sentinel cannot start, for what it misses may come back', async () => {
    const { value, run, die, say, sentinels } = made()
    await run()
    die()
    say({ type: 'sentinel.failed', error: { name: 'E', message: 'no store' } })
    die()
    expect(sentinels).to.have.length(3)
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
  })

  it('does not repeat what a sentinel that gave up has tried', async () => {
    const { value, run, say, actor } = made()
    await run()
    for (const name of ['worker', 'pusher']) say({ type: 'child.ended', name })
    say({ type: 'sentinel.failed', error: { name: 'E', message: 'too often', exitCode: 5 } })
    say({ type: 'process.exited', code: 0, signal: null })
    expect(value()).to.equal('failed')
    expect(actor.getSnapshot().context.error).to.include({ exitCode: 5 })
  })

  it('gives the children of a dead sentinel their grace, then kills those that are left', async () => {
    const { run, die, say, fork, clock, killed, endOrphans, actor } = made()
    await run()
    say({ type: 'child.ended', name: 'worker' })
    die()
    say({ type: 'sentinel.running' })
    fork('new')
    clock.increment(LIMITS.grace - 5_001)
    expect(killed).to.deep.equal([])
    clock.increment(1)
    expect(killed).to.deep.equal(['pusher'])
    await endOrphans()
    expect(actor.getSnapshot().context).to.deep.include({ orphans: [] })
  })

  it('has not stopped before the children of a dead sentinel are gone', async () => {
    const { run, die, say, actor, value, endOrphans } = made()
    await run()
    die()
    say({ type: 'sentinel.running' })
    actor.send({ type: 'cluster.stop' })
    say({ type: 'process.exited', code: 0, signal: null })
    expect(value()).to.deep.equal({ stopping: 'outliving' })
    await endOrphans()
    expect(value()).to.equal('stopped')
    expect(actor.getSnapshot().context.deadlineReached).to.equal(false)
  })

  it('ends the children of a dead sentinel at once where it is to hurry', async () => {
    for (const order of ['cluster.abort', 'cluster.kill'] as const) {
      const { run, say, actor, value, killed, endOrphans } = made()
      await run()
      say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
      actor.send({ type: order })
      expect([value(), killed]).to.deep.equal([{ stopping: 'outliving' }, ['worker', 'pusher']])
      await endOrphans()
      expect(value()).to.equal('stopped')
      expect(actor.getSnapshot().context.deadlineReached).to.equal(true)
    }
  })

  it('waits for the children of a sentinel that dies while it stops, and ends as failed', async () => {
    const { run, say, actor, value, endOrphans } = made()
    await run()
    actor.send({ type: 'cluster.stop' })
    say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
    expect(value()).to.deep.equal({ stopping: 'outliving' })
    await endOrphans()
    expect(value()).to.equal('failed')
  })

  it('stops, then hurries, then kills, as it is told', async () => {
    const { actor, start, say, orders } = made()
    await start()
    say({ type: 'sentinel.running' })
    for (const type of ['cluster.stop', 'cluster.abort', 'cluster.kill'] as const) actor.send({ type })
    expect(orders).to.deep.equal(['sentinel.stop', 'sentinel.abort', 'sentinel.kill'])
  })

  it('is paused and taking again when its sentinel says so, and not before', async () => {
    const { actor, start, say, orders, value, log } = made()
    await start()
    say({ type: 'sentinel.running' })
    actor.send({ type: 'cluster.pause' })
    expect(value()).to.deep.equal({ running: 'taking' })
    say({ type: 'sentinel.paused' })
    expect(value()).to.deep.equal({ running: 'paused' })
    actor.send({ type: 'cluster.resume' })
    expect(value()).to.deep.equal({ running: 'paused' })
    say({ type: 'sentinel.resumed' })
    expect(value()).to.deep.equal({ running: 'taking' })
    expect(orders).to.deep.equal(['sentinel.pause', 'sentinel.resume'])
    expect(log.map(({ event }) => event).slice(-2)).to.deep.equal(['cluster.paused', 'cluster.resumed'])
  })

  it('is not paused in the end where it is told to resume before it is paused', async () => {
    const { actor, start, say, orders, value, waiting } = made()
    await start()
    say({ type: 'sentinel.running' })
    actor.send({ type: 'cluster.resume' })
    expect(orders, 'it is taking, so there is nothing to resume').to.deep.equal([])
    actor.send({ type: 'cluster.pause' })
    actor.send({ type: 'cluster.resume' })
    expect(orders).to.deep.equal(['sentinel.pause', 'sentinel.resume'])
    expect(waiting()).to.deep.equal(['sentinel.resume'])
    say({ type: 'sentinel.paused' })
    expect(value()).to.deep.equal({ running: 'paused' })
    say({ type: 'sentinel.resumed' })
    expect(value()).to.deep.equal({ running: 'taking' })
    expect(waiting()).to.deep.equal([])
  })

  it('has the last word count also where its sentinel has gone from one to the other without a word', async () => {
    const { actor, start, say, orders, value, waiting } = made()
    await start()
    say({ type: 'sentinel.running' })
    actor.send({ type: 'cluster.pause' })
    actor.send({ type: 'cluster.resume' })
    say({ type: 'sentinel.resumed' })
    expect([value(), waiting()]).to.deep.equal([{ running: 'taking' }, []])
    actor.send({ type: 'cluster.pause' })
    say({ type: 'sentinel.paused' })
    actor.send({ type: 'cluster.resume' })
    actor.send({ type: 'cluster.pause' })
    expect(orders.slice(-2)).to.deep.equal(['sentinel.resume', 'sentinel.pause'])
    say({ type: 'sentinel.paused' })
    expect([value(), waiting()]).to.deep.equal([{ running: 'paused' }, []])
  })

  it('has the last word count also where its sentinel dies before it has answered', async () => {
    const { run, say, die, actor, sentinels, value } = made()
    await run()
    actor.send({ type: 'cluster.pause' })
    actor.send({ type: 'cluster.resume' })
    die()
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    expect(sentinels.at(-1)?.orders).to.deep.equal([{ type: 'sentinel.resume' }])
    expect(actor.getSnapshot().context.unanswered).to.deep.equal([])
  })

  it('passes on what becomes of orders to scale and to reload', async () => {
    const { actor, start, say, orders } = made()
    const heard: object[] = []
    actor.on('*', (report) => void heard.push(report))
    await start()
    say({ type: 'sentinel.running' })
    actor.send({ type: 'cluster.scale', workers: 3 })
    say({ type: 'sentinel.scaled', workers: 3 })
    actor.send({ type: 'cluster.reload' })
    say({ type: 'sentinel.reloaded', workers: 3, error: { name: 'E', message: 'x' } })
    expect(orders).to.deep.equal(['sentinel.scale', 'sentinel.reload'])
    expect(heard).to.deep.equal([
      { type: 'cluster.scaled', workers: 3 },
      { type: 'cluster.reloaded', workers: 3, error: { name: 'E', message: 'x' } },
    ])
  })

  it('stops by itself when there is nothing left to do, where it is to', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { start, say, value } = made(undefined, promise)
    await start()
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    resolve()
    await settle()
    expect(value()).to.deep.equal({ stopping: 'ordered' })
  })
})
