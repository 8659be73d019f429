import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type AnyActorRef, createActor, fromCallback, SimulatedClock } from 'xstate'
import { replay } from '../../lib/inspection/replay.ts'
import { type Recording, readFlight, recorded, removeFlight } from '../../lib/process/flight.ts'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import { sentinelMachine } from '../../machines/sentinel.ts'
import { workerMachine } from '../../machines/worker.ts'
import { eventually } from '../contracts/material.ts'

describe('the flight recorder of a process', () => {
  let folder: string
  let actor: AnyActorRef

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'qcluster-flight-'))
  })
  afterEach(() => {
    actor.stop()
    rmSync(folder, { recursive: true })
  })

  async function worker(): Promise<void> {
    actor = createActor(recorded(workerMachine, folder, 'w'), { clock: new SimulatedClock() }).start()
    await eventually(async () => stateOf(actor), '{"running":"idle"}')
  }
  const stateOf = (one: AnyActorRef) => JSON.stringify((one.getSnapshot() as { value: unknown }).value)
  const read = () => readFlight(folder, 'w') as Recording
  const turn = () => {
    actor.send({ type: 'runner.busy' })
    actor.send({ type: 'runner.idle', done: 1 })
  }

  it('has every step at once, in a file for this user alone', async () => {
    await worker()
    actor.send({ type: 'runner.busy' })
    const { start, steps } = read()
    expect(start).to.deep.include({ state: 'starting', children: { '0.worker.starting': 'loadTasks' } })
    expect(steps.at(-1)).to.deep.include({ event: { type: 'runner.busy' }, state: { running: 'working' } })
    expect(statSync(join(folder, 'w.flight')).mode & 0o777).to.equal(0o600)
  })

  it('counts what comes in turns, and what it counted last is there soon', async () => {
    await worker()
    const startedAt = performance.now()
    for (let n = 0; n < 1_000; n += 1) turn()
    actor.send({ type: 'runner.busy' })
    await eventually(
      async () => read().steps.reduce((sum, step) => sum + ('again' in step ? step.again : 0), 0),
      1_999,
    )
    // What comes again is written once in 100 ms at the most.
    const cycles = Math.ceil((performance.now() - startedAt) / 100)
    expect(read().steps).to.have.length.below(9 + cycles)
    const last = replay('worker', read()).at(-1)
    expect(last).to.include({ recorded: 'running.working', rebuilt: 'running.working' })
  })

  it('keeps a bounded number of steps, from which the machine can be rebuilt', async () => {
    await worker()
    for (let n = 0; n < 1_000; n += 1) actor.send({ type: 'runner.idle', done: n })
    actor.send({ type: 'worker.stop' })
    const { steps } = read()
    expect(steps.length).to.be.within(200, 401)
    const replayed = replay('worker', read())
    expect(replayed.filter(({ recorded, rebuilt }) => recorded !== rebuilt)).to.deep.equal([])
    expect(replayed.at(-1)).to.include({ event: 'worker.stop', rebuilt: 'stopping' })
  })

  it('leaves out the half line of a process that was killed as it wrote', async () => {
    await worker()
    const { steps } = read()
    appendFileSync(join(folder, 'w.flight'), '{"at":17,"ev')
    expect(read().steps).to.deep.equal(steps)
  })

  it('lets no text come along that is not our own', async () => {
    await worker()
    for (const secret of ['amqp://me:hunter2@broker', 'hunter2'])
      actor.send({
        type: 'peer.listening',
        role: 'pusher',
        socket: secret,
        error: new Error(secret),
        args: [secret],
      })
    const text = readFileSync(join(folder, 'w.flight'), 'utf8')
    expect(text).to.contain('"role":"pusher"').and.not.contain('hunter2')
  })

  it('tells that the machine broke, and at what', async () => {
    const broken = workerMachine.provide({
      actions: {
        finish: () => {
          throw new RangeError('hunter2')
        },
      },
    })
    actor = createActor(recorded(broken, folder, 'w'), { clock: new SimulatedClock() })
    actor.subscribe({ error: () => {} })
    actor.start()
    await eventually(async () => stateOf(actor), '{"running":"idle"}')
    actor.send({ type: 'worker.stop' })
    expect(read().steps.at(-1)).to.deep.include({
      event: { type: 'worker.stop' },
      status: 'error',
      thrown: 'RangeError',
    })
  })

  it('rebuilds a sentinel, whose guards look at what it knows of its children', async () => {
    const names = ['worker-1', 'monitor', 'pusher']
    const input = {
      name: 's',
      pid: 1,
      workers: 1,
      scheduler: false,
      grace: 1,
      maxRestarts: 0,
      restartWindow: 1,
    }
    const process = fromCallback<{ type: string }, IncarnationInput>(() => {})
    const idle = sentinelMachine.provide({ actors: { child: childMachine.provide({ actors: { process } }) } })
    actor = createActor(recorded(idle, folder, 'w'), { input, clock: new SimulatedClock() }).start()
    await eventually(async () => stateOf(actor), '{"starting":"forking"}')
    for (const id of names) actor.send({ type: 'child.up', id, name: id, pid: 2, socket: null })
    actor.send({ type: 'pusher.opened' })
    const testament = { worker: 'worker-1', cause: 'crashed', code: 1, signal: null, running: [] }
    actor.send({
      type: 'child.died',
      id: 'worker-1',
      role: 'worker',
      name: 'worker-1',
      starting: false,
      testament,
    })
    expect(stateOf(actor)).to.contain('stopping')
    const replayed = replay('sentinel', read())
    expect(replayed.filter(({ recorded, rebuilt }) => recorded !== rebuilt)).to.deep.equal([])
    expect(replayed.at(-1)?.rebuilt).to.contain('stopping')
  })

  it('leaves nothing behind', async () => {
    await worker()
    for (let n = 0; n < 500; n += 1) actor.send({ type: 'runner.idle', done: n })
    removeFlight(folder, 'w')
    expect(readdirSync(folder)).to.deep.equal([])
  })
})
