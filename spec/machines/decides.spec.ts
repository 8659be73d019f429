import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import {
  type AnyActorRef,
  type AnyStateMachine,
  createActor,
  createMachine,
  type EventObject,
  fromPromise,
  setup,
  spawnChild,
  waitFor,
} from 'xstate'
import type { Broker } from '../../lib/brokers/broker.ts'
import { createBroker } from '../../lib/brokers/index.ts'
import { Client, close, configure } from '../../lib/client.ts'
import { resolveSettings, type Settings } from '../../lib/config.ts'
import { sealPackage, type TaskHeader } from '../../lib/package.ts'
import { fromProcess } from '../../lib/process/fork.ts'
import { connect, listen, socketPath } from '../../lib/process/socket.ts'
import {
  type Ended,
  keyOf,
  type MonitorToPusher,
  type MonitorToWorker,
  type PusherToMonitor,
  type PusherToWorker,
  type WorkerToMonitor,
  type WorkerToPusher,
} from '../../lib/roles/frames.ts'
import { pusher } from '../../lib/roles/pusher.ts'
import type { RoleContext } from '../../lib/roles/role.ts'
import { worker } from '../../lib/roles/worker.ts'
import { Signer } from '../../lib/signing.ts'
import { encode } from '../../lib/tasks/codec.ts'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { Role, RunningTask } from '../../machines/protocol.ts'
import { Inbox } from '../contracts/material.ts'

/** The same machine with the same effects, that lacks one transition. */
function without(machine: AnyStateMachine, ...path: readonly string[]): AnyStateMachine {
  return createMachine(omit(machine.config, path) as never, machine.implementations as never)
}

function omit(config: object, [first, ...rest]: readonly string[]): object {
  const { [first as string]: found, ...others } = config as Record<string, object>
  if (!found) throw new Error(`There is no ${first} to leave out.`)
  return rest.length === 0 ? others : { ...others, [first as string]: omit(found, rest) }
}

let counter = 0

function headerOf(func: string): TaskHeader {
  counter += 1
  const id = counter.toString(16).padStart(32, '0')
  return { id, run: 1, attempt: 1, name: 'a-b-c-d', func, enqueuedAt: Date.now() }
}

describe('the machine decides', function () {
  this.timeout(20_000)
  let folder: string
  let settings: Settings
  let owned: (() => unknown)[]

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-decides-'))
    owned = [() => rm(folder, { recursive: true })]
    settings = await resolveSettings(
      {
        ...{ name: 'decides', dataDir: folder, secretKey: 'secret', workers: 1 },
        tasks: [join(import.meta.dirname, '..', 'stories', 'fixtures', 'tasks.mjs')],
      },
      { baseDir: folder, file: null, env: {} },
    )
  })

  afterEach(async () => {
    for (const end of owned.reverse()) await end()
  })

  const role = (name: Role): RoleContext => ({
    ...{ role: name, settings, directory: folder, events: [], cluster: 'c', name: `Process-${name}` },
    record: () => {},
    flush: () => {},
    title: { show: () => {}, rest: () => {} },
    measure: () => () => {},
  })

  function run(machine: AnyStateMachine) {
    const reports = new Inbox<string>()
    const actor = createActor(machine)
    actor.on('*', ({ type }: EventObject) => reports.put([type]))
    owned.push(() => actor.stop())
    actor.start()
    return { actor, reports, over: () => waitFor(actor, ({ status }) => status === 'done') }
  }

  describe('for a pusher on a real broker', () => {
    /** A pusher at work between a worker and a monitor to whom every run is done as soon as it comes. */
    async function atWork(machine: AnyStateMachine) {
      const { actor, reports, over } = run(machine)
      await reports.atLeast(1)
      const path = socketPath(folder, `p${process.pid}`)
      const monitor = await connect<PusherToMonitor, MonitorToPusher>(path)
      const settled = new Inbox<string>()
      monitor.onMessage((message) => void (message.kind === 'settled' && settled.put(message.keys)))
      monitor.send({ kind: 'hello', unsettled: [] })
      const hand = await connect<PusherToWorker, WorkerToPusher>(path)
      const jobs = new Inbox<string>()
      hand.onMessage((message) => {
        if (message.kind !== 'jobs') return
        for (const { header } of message.jobs) {
          const key = keyOf(header)
          hand.send({ kind: 'finished', runs: [{ key, took: 1 }] })
          monitor.send({ kind: 'verdicts', verdicts: [{ key, fate: 'ack' }] })
          jobs.put([header.func])
        }
      })
      hand.send({ kind: 'hello', worker: 'w', holds: [] })
      owned.push(
        () => monitor.destroy(),
        () => hand.destroy(),
      )
      actor.send({ type: 'pusher.open', workers: ['w'] })
      await waitFor(actor, (snapshot) => snapshot.matches({ running: 'connected' }))
      return { actor, reports, over, jobs, settled }
    }

    async function queue(): Promise<{ broker: Broker; put: (func: string) => Promise<void> }> {
      const broker = await createBroker({ dataDir: folder, durability: 'normal' } as never)
      await broker.connect()
      owned.push(() => broker.close())
      const put = (func: string) =>
        broker.enqueue([
          {
            queue: settings.name,
            package: sealPackage(headerOf(func), '[]', settings.name, new Signer(settings.secretKey)),
          },
        ])
      return { broker, put }
    }

    it('stops consuming when it is told to', async () => {
      const { broker, put } = await queue()
      const { actor, reports, over, jobs, settled } = await atWork(pusher(role('pusher')))
      await put('first')
      await settled.atLeast(1)
      actor.send({ type: 'pusher.stop' })
      await reports.atLeast(3)
      await put('second')
      actor.send({ type: 'pusher.close' })
      await over()
      expect(reports.items).to.deep.equal(['process.ready', 'pusher.opened', 'pusher.drained'])
      expect(jobs.items).to.deep.equal(['first'])
      expect(await broker.queueSize(settings.name)).to.equal(1)
    })

    it('goes on consuming where its machine lacks that transition', async () => {
      const { broker, put } = await queue()
      const deaf = without(pusher(role('pusher')), 'states', 'running', 'on', 'pusher.stop')
      const { actor, reports, over, jobs, settled } = await atWork(deaf)
      await put('first')
      await jobs.atLeast(1)
      actor.send({ type: 'pusher.stop' })
      await put('second')
      expect(await jobs.atLeast(2)).to.deep.equal(['first', 'second'])
      expect(reports.items).to.deep.equal(['process.ready', 'pusher.opened'])
      await settled.atLeast(2)
      actor.send({ type: 'pusher.abort' })
      actor.send({ type: 'pusher.close' })
      await over()
      expect(await broker.queueSize(settings.name)).to.equal(0)
    })
  })

  describe('for a worker with real tasks', () => {
    afterEach(async () => {
      await close()
      configure(new Client())
    })

    /** A worker between a pusher and a monitor that follow the protocol and write down what they hear. */
    async function atWork(machine: AnyStateMachine) {
      const said = new Inbox<WorkerToPusher['kind']>()
      const ended = new Inbox<Ended>()
      let send: (message: PusherToWorker) => void = () => {}
      const monitors = await listen<WorkerToMonitor, MonitorToWorker>(socketPath(folder, 'm'), (socket) =>
        socket.onMessage((message) => {
          if (message.kind !== 'ended') return
          socket.send({
            kind: 'released',
            keys: message.outcomes.map(({ header }) => keyOf(header)),
          })
          ended.put(message.outcomes)
        }),
      )
      const pushers = await listen<WorkerToPusher, PusherToWorker>(socketPath(folder, 'p'), (socket) => {
        send = (message) => socket.send(message)
        socket.onMessage(({ kind }) => {
          if (kind === 'leaving') socket.send({ kind: 'farewell' })
          said.put([kind])
        })
      })
      owned.push(
        () => monitors.destroy(),
        () => pushers.destroy(),
      )
      const { actor, over } = run(machine)
      await waitFor(actor, (snapshot) => snapshot.matches('running'))
      actor.send({ type: 'peer.listening', role: 'monitor', socket: monitors.path })
      actor.send({ type: 'peer.listening', role: 'pusher', socket: pushers.path })
      await said.atLeast(1)
      const push = (a: number, b: number) =>
        send({ kind: 'jobs', jobs: [{ header: headerOf('math.add'), args: encode([a, b]), tiny: false }] })
      return { actor, over, said, ended, push }
    }

    it('leaves when it is told to', async () => {
      const { actor, over, said, ended, push } = await atWork(worker(role('worker')))
      push(2, 3)
      await ended.atLeast(1)
      actor.send({ type: 'worker.stop' })
      await over()
      expect(said.items).to.include('leaving')
      expect(ended.items.map(({ success, result }) => [success, result])).to.deep.equal([[true, encode(5)]])
    })

    it('goes on working where its machine lacks that transition', async () => {
      const deaf = without(worker(role('worker')), 'states', 'running', 'on', 'worker.stop')
      const { actor, over, said, ended, push } = await atWork(deaf)
      actor.send({ type: 'worker.stop' })
      for (const n of [1, 2]) {
        push(n, n)
        await ended.atLeast(n)
      }
      expect(ended.items.map(({ result }) => result)).to.deep.equal([encode(2), encode(4)])
      expect(said.items).not.to.include('leaving')
      expect(actor.getSnapshot().value).to.have.property('running')
      actor.send({ type: 'worker.abort' })
      await over()
    })
  })

  describe('for the slot of a real process', () => {
    /** A slot whose process is up and is then killed; `told` comes when the slot has heard of it. */
    async function killed(change: (machine: AnyStateMachine) => AnyStateMachine) {
      const slotted = childMachine.provide({
        actors: {
          process: fromProcess<{ type: string }, IncarnationInput>({
            module: join(import.meta.dirname, '..', 'process', 'fixtures', 'parrot.mjs'),
          }),
          lastWords: fromPromise<readonly RunningTask[], { role: Role; name: string }>(async () => []),
        },
      })
      const pids = new Inbox<number>()
      const told = new Inbox<string>()
      const parent = setup({ actors: { slot: change(slotted) } }).createMachine({
        entry: spawnChild('slot', {
          id: 'slot',
          input: { id: 'worker-1', role: 'worker', stopOrder: { type: 'leave' } } as never,
        }),
      })
      const actor = createActor(parent, {
        inspect: ({ type, ...inspected }) => {
          if (type !== '@xstate.event') return
          const { event } = inspected as unknown as { event: EventObject & { pid: number } }
          if (event.type === 'process.spawned') pids.put([event.pid])
          if (event.type === 'process.exited') told.put([event.type])
        },
      })
      owned.push(() => actor.stop())
      actor.start()
      const slot = actor.getSnapshot().children.slot as AnyActorRef
      slot.send({ type: 'child.order', order: { type: 'ready' } })
      await waitFor(slot, (snapshot) => snapshot.hasTag('up'))
      process.kill(pids.items[0] as number, 'SIGKILL')
      await told.atLeast(1)
      return { slot, pids }
    }

    it('replaces it when it is killed', async () => {
      const { pids } = await killed((machine) => machine)
      expect(new Set(await pids.atLeast(2)).size).to.equal(2)
    })

    it('does not where its machine lacks that transition', async () => {
      const { slot, pids } = await killed((machine) =>
        without(machine, 'states', 'alive', 'states', 'up', 'on', 'process.exited'),
      )
      expect(slot.getSnapshot().value).to.deep.equal({ alive: 'up' })
      expect(pids.items).to.have.length(1)
    })
  })
})
