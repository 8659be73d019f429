import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInspector, createWebSocketInspector } from '@statelyai/inspect'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type ClusterOptions } from 'qcluster'
import { WebSocketServer } from 'ws'
import type { InspectionEvent } from 'xstate'

const modules = [join(import.meta.dirname, 'fixtures', 'tasks.mjs')]

/** What the inspectors of `@statelyai/inspect` send. */
interface Sent {
  readonly type: string
  readonly sessionId: string
  readonly parentId?: string
  readonly rootId: string
  readonly name: string
  readonly definition: string
  readonly event: { readonly type: string }
  readonly snapshot: {
    readonly status: string
    readonly value?: unknown
    readonly tags?: string[]
    readonly context?: { readonly progress?: object[] }
  }
}

/** Notes what an inspector of `@statelyai/inspect` sends. */
class Screen {
  readonly sent: Sent[] = []
  #news = Promise.withResolvers<void>()
  readonly inspector = createInspector({
    send: (event) => {
      this.sent.push(event as unknown as Sent)
      this.#news.resolve()
      this.#news = Promise.withResolvers()
    },
  })

  async reaches(condition: () => unknown): Promise<void> {
    while (!condition()) await this.#news.promise
  }

  /** The newest actor of this name. */
  actor(name: string): Sent | undefined {
    return this.sent.findLast((one) => one.type === '@xstate.actor' && one.name === name)
  }

  /** The newest worker of a slot. */
  workerIn(slot: string | undefined): Sent | undefined {
    return this.sent.findLast(
      ({ type, name, parentId }) =>
        type === '@xstate.actor' && /^worker \d+$/.test(name) && this.named(parentId)?.parentId === slot,
    )
  }

  named(id: string | undefined): Sent | undefined {
    return this.sent.find((one) => one.type === '@xstate.actor' && one.sessionId === id)
  }

  /** The states that an actor went through, one after the other. */
  states(sessionId: string | undefined): string[] {
    const values = this.sent
      .filter((one) => one.type === '@xstate.snapshot' && one.sessionId === sessionId)
      .map(({ snapshot }) => JSON.stringify(snapshot.value))
    return values.filter((value, n) => value !== values[n - 1])
  }

  /** How far the runs of workers were, one after the other. */
  progress(): object[][] {
    const workers = new Set(
      this.sent.flatMap(({ name, sessionId }) => (/^worker \d+$/.test(name) ? sessionId : [])),
    )
    return this.sent
      .filter((one) => one.type === '@xstate.snapshot' && workers.has(one.sessionId))
      .map(({ snapshot }) => snapshot.context?.progress ?? [])
  }

  pathOf(actor: Sent | undefined): string[] {
    return actor ? [...this.pathOf(this.named(actor.parentId)), actor.name.replace(/ \d+$/, '')] : []
  }
}

/** A process's root is called as its machine is, with its pid. */
const pidOf = ({ name }: Sent): number => Number(name.split(' ')[1])

describe('a cluster that is inspected', function () {
  this.timeout(60_000)
  let folder: string
  let cluster: Cluster
  let client: Client
  let screen: Screen

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-story-'))
    screen = new Screen()
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(folder, { recursive: true })
  })

  async function start(options: ClusterOptions = {}): Promise<void> {
    const settings = { tasks: modules, workers: 2, dataDir: folder, logLevel: 'silent', ...options } as const
    cluster = new Cluster(settings)
    const { inspect: _, ...others } = settings
    client = new Client(others)
    await cluster.start()
  }

  const slotOf = (id: string) => screen.actor(id)?.sessionId
  const isUp = (id: string) => screen.states(slotOf(id)).at(-1) === '{"alive":"up"}'

  /** The worker in the first slot, when it is idle. */
  async function idleWorker(): Promise<Sent> {
    const worker = () => screen.workerIn(slotOf('worker-1'))
    await screen.reaches(() => screen.states(worker()?.sessionId).at(-1) === '{"running":"idle"}')
    return worker() as Sent
  }

  it('shows every machine of every process, with its place and its definition', async () => {
    await start({ inspect: screen.inspector.inspect })
    const machines = ['cluster', 'sentinel', 'worker', 'monitor', 'pusher', 'scheduler']
    const find = (machine: string) =>
      screen.sent.filter(
        ({ type, name }) => type === '@xstate.actor' && new RegExp(`^${machine} \\d+$`).test(name),
      )
    await screen.reaches(() => machines.every((machine) => find(machine).length > 0))
    await screen.reaches(() => find('worker').length === 2)
    const paths = machines.map((machine) => screen.pathOf(find(machine)[0]).join('/'))
    const sentinel = 'cluster/sentinel/sentinel'
    expect(paths).to.deep.equal([
      ...['cluster', sentinel, paths[2]],
      ...['monitor', 'pusher', 'scheduler'].map((role) => `${sentinel}/${role}/process/${role}`),
    ])
    expect(paths[2]).to.match(/^cluster\/sentinel\/sentinel\/worker-[12]\/process\/worker$/)
    const definition = JSON.parse(find('monitor')[0]?.definition ?? '')
    expect(definition).to.have.nested.property('states.running.states.reconnecting')
    expect(new Set(screen.sent.map(({ rootId }) => rootId))).to.have.property('size', 1)
    const ids = screen.sent.filter(({ type }) => type === '@xstate.actor').map(({ sessionId }) => sessionId)
    expect(new Set(ids)).to.have.property('size', ids.length)
  })

  it('shows them over a WebSocket, by the inspector of @statelyai/inspect that has one', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    try {
      await once(server, 'listening')
      const names = new Set<string>()
      const { promise: seen, resolve } = Promise.withResolvers<void>()
      server.on('connection', (socket) =>
        socket.on('message', (text) => {
          const { name = '' } = JSON.parse(String(text)) as Partial<Sent>
          names.add(name.replace(/ \d+$/, ''))
          if (['cluster', 'sentinel', 'worker', 'monitor', 'pusher'].every((one) => names.has(one))) resolve()
        }),
      )
      const { port } = server.address() as AddressInfo
      const inspector = createWebSocketInspector({ url: `ws://127.0.0.1:${port}` })
      await start({ workers: 1, inspect: inspector.inspect })
      await seen
      inspector.stop()
    } finally {
      for (const socket of server.clients) socket.terminate()
      server.close()
    }
  })

  it('shows the back-off of a slot whose idle worker is killed, and its next incarnation', async () => {
    await start()
    const end = cluster.inspect(screen.inspector.inspect)
    const first = await idleWorker()
    process.kill(pidOf(first), 'SIGKILL')
    await screen.reaches(() => screen.states(first?.sessionId).length > 0 && isUp('worker-1'))
    await screen.reaches(() => screen.states(slotOf('worker-1')).length >= 5 && isUp('worker-1'))
    expect(screen.states(slotOf('worker-1'))).to.deep.equal([
      ...['{"alive":"up"}', '{"examining":"unasked"}', '"backingOff"', '{"alive":"starting"}'],
      '{"alive":"up"}',
    ])
    const ends = screen.sent.filter(
      ({ type, sessionId }) => type === '@xstate.snapshot' && sessionId === first?.sessionId,
    )
    expect(ends.at(-1)?.snapshot.status).to.equal('error')
    const next = () => screen.workerIn(slotOf('worker-1'))
    await screen.reaches(() => next()?.sessionId !== first?.sessionId)
    expect(next()?.parentId).not.to.equal(first?.parentId)
    expect(screen.pathOf(next())).to.deep.equal(screen.pathOf(first))
    end()
  })

  it('shows the stages of its stop in order', async () => {
    await start()
    cluster.inspect(screen.inspector.inspect)
    await screen.reaches(() => isUp('pusher'))
    await cluster.stop()
    const root = screen.sent[0]?.sessionId
    await screen.reaches(() => screen.states(root).at(-1) === '"stopped"')
    const states = screen.states(
      screen.actor(screen.sent.find(({ name }) => /^sentinel \d/.test(name))?.name ?? '')?.sessionId,
    )
    const stages = states.flatMap((value) => (JSON.parse(value).stopping?.stage as string | undefined) ?? [])
    expect(stages.filter((stage, n) => stage !== stages[n - 1])).to.deep.equal([
      ...['stoppingPusher', 'stoppingWorkers', 'stoppingMonitor', 'closingPusher'],
    ])
    expect(states.at(-1)).to.equal('"stopped"')
  })

  it('shows within 200 ms that a worker works, to a plain function that came late', async () => {
    await start({ workers: 1 })
    const seen: number[] = []
    let news = Promise.withResolvers<void>()
    let rest = Promise.withResolvers<void>()
    const look = (event: InspectionEvent) => {
      if (event.type !== '@xstate.snapshot') return
      const { value, tags } = event.snapshot as { value?: unknown; tags?: string[] }
      if (JSON.stringify(value) === '{"running":"idle"}') rest.resolve()
      if (JSON.stringify(value) !== '{"running":"working"}') return
      expect(tags).to.deep.equal(['running'])
      seen.push(Date.now())
      rest = Promise.withResolvers()
      news.resolve()
      news = Promise.withResolvers()
    }
    const end = cluster.inspect(look)
    const delays: number[] = []
    for (let n = 0; n < 5; n += 1) {
      const { promise } = news
      const task = await asyncTask('clock', [300], { client })
      const startedAt = (await task.result({ wait: 20_000 })) as number
      await promise
      delays.push((seen.at(-1) as number) - startedAt)
      // Who has the next run at once goes on working.
      await rest.promise
    }
    end()
    // A busy machine may be late now and then.
    expect(Math.min(...delays), delays.join()).to.be.below(200)
  })

  it('shows how far a run says it is, and to who comes late, but not in which words', async () => {
    await start({ workers: 1, inspect: screen.inspector.inspect })
    const task = await asyncTask('half', ['hunter2', 1_500], { client })
    const late = new Screen()
    const share = (one: Screen) => one.progress().findLast((runs) => runs.length > 0)
    await screen.reaches(() => share(screen))
    const end = cluster.inspect(late.inspector.inspect)
    await late.reaches(() => share(late))
    for (const one of [screen, late]) expect(share(one)).to.deep.equal([{ taskId: task.id, progress: 0.5 }])
    await task.result({ wait: 20_000 })
    await screen.reaches(() => screen.progress().at(-1)?.length === 0)
    end()
    expect(JSON.stringify([screen.sent, late.sent])).not.to.include('hunter2')
  })

  for (const inspectPayloads of [false, true])
    it(`lets ${inspectPayloads ? 'results and arguments' : 'no secret, argument or result'} leave`, async () => {
      await start({
        workers: 1,
        secretKey: 'hunter2-key',
        inspect: screen.inspector.inspect,
        inspectPayloads,
      })
      const task = await asyncTask('boom', ['hunter2-argument'], { client, group: 'hunter2-group' })
      await task.result({ wait: 20_000 }).catch(() => {})
      process.kill(pidOf(await idleWorker()), 'SIGKILL')
      await screen.reaches(() => screen.states(slotOf('worker-1')).includes('"backingOff"'))
      const told = JSON.stringify(screen.sent)
      expect(told).not.to.include('hunter2')
      if (inspectPayloads) expect(told).to.include('"incarnation":1')
      else expect(screen.sent.every(({ event }) => !event || isBare(event))).to.equal(true)
    })

  const isBare = (event: object) =>
    Object.keys(event).every((key) => ['type', 'code', 'signal', 'count'].includes(key))
})
