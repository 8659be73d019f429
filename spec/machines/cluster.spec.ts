import { expect } from 'chai'
import { createActor, fromCallback, fromPromise } from 'xstate'
import { clusterMachine } from '../../machines/cluster.ts'

const settle = () => new Promise(setImmediate)

/** A cluster whose sentinel is a fake, and whose preparation ends when `prepared` does. */
function made(prepared: Promise<void> = Promise.resolve(), emptiness = new Promise<void>(() => {})) {
  const log: { event: string; error?: object }[] = []
  const orders: string[] = []
  let say: (event: { type: string; [key: string]: unknown }) => void = () => {}
  const machine = clusterMachine.provide({
    actors: {
      prepare: fromPromise<void>(() => prepared),
      emptiness: fromPromise<void>(() => emptiness),
      sentinel: fromCallback<{ type: string }>(({ sendBack, receive }) => {
        say = sendBack
        receive(({ type }) => {
          orders.push(type)
        })
      }),
    },
    actions: { announce: (_, params) => void log.push(params) },
  })
  const actor = createActor(machine).start()
  const value = () => actor.getSnapshot().value
  const start = async () => {
    actor.send({ type: 'cluster.start' })
    await settle()
  }
  return { actor, log, orders, value, start, say: (event: Parameters<typeof say>[0]) => say(event) }
}

describe('the cluster machine', () => {
  it('runs when its sentinel says so, and has stopped when the sentinel has left in order', async () => {
    const { actor, value, start, say, log, orders } = made()
    await start()
    expect(value()).to.deep.equal({ starting: 'forking' })
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    actor.send({ type: 'cluster.stop' })
    expect([value(), orders]).to.deep.equal(['stopping', ['sentinel.stop']])
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

  it('fails, and tells the log why, when its sentinel dies', async () => {
    const { value, start, say, log } = made()
    await start()
    say({ type: 'sentinel.running' })
    say({ type: 'process.exited', code: null, signal: 'SIGKILL' })
    expect(value()).to.equal('failed')
    expect(JSON.stringify(log.at(-1))).to.include('was killed by SIGKILL')
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
    const { start, say, value } = made(Promise.resolve(), promise)
    await start()
    say({ type: 'sentinel.running' })
    expect(value()).to.deep.equal({ running: 'taking' })
    resolve()
    await settle()
    expect(value()).to.equal('stopping')
  })
})
