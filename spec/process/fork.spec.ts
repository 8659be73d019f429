import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { fromProcess } from 'qcluster'
import { type AnyActorRef, createActor, type EventObject, fromPromise, setup, spawnChild } from 'xstate'
import type { ProcessOptions } from '../../lib/process/fork.ts'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { Role, RunningTask } from '../../machines/protocol.ts'
import { pause } from '../contracts/material.ts'
import { ended, isAlive } from '../stories/stage.ts'

const module = join(import.meta.dirname, 'fixtures', 'parrot.mjs')

type Heard = EventObject & { [key: string]: unknown }

/** True also while nobody has taken notice: a zombie. */
const hasEnded = (pid: number): boolean => {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout === '' || stdout.startsWith('Z')
}

describe('a process as an actor', function () {
  this.timeout(20_000)
  let folder: string
  let pids: number[]
  let parents: AnyActorRef[]

  beforeEach(async () => {
    ;[pids, parents] = [[], []]
    folder = await mkdtemp(join(tmpdir(), 'qcluster-fork-'))
  })

  afterEach(async () => {
    for (const parent of parents) parent.stop()
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    await ended(pids)
    await rm(folder, { recursive: true })
  })

  /** A parent machine that writes down what it hears; `hears` resolves with the first event of a type that is new. */
  function parentOf(logic: ReturnType<typeof fromProcess>, input?: unknown) {
    const heard: Heard[] = []
    const waiting = new Map<string, (event: Heard) => void>()
    const hear = (event: Heard) => {
      heard.push(event)
      if (event.type === 'process.spawned') pids.push(event.pid as number)
      waiting.get(event.type)?.(event)
      waiting.delete(event.type)
    }
    const actor = createActor(
      setup({ actors: { logic } }).createMachine({
        entry: spawnChild('logic', { id: 'child', input }),
        on: { '*': { actions: ({ event }) => hear(event) } },
      }),
    ).start()
    parents.push(actor)
    const hears = (type: string) => new Promise<Heard>((resolve) => waiting.set(type, resolve))
    const order = (event: Heard) => actor.getSnapshot().children.child?.send(event)
    const ask = (event: Heard, answer: string) => {
      const answered = hears(answer)
      order(event)
      return answered
    }
    return { actor, heard, hears, order, ask, types: () => heard.map(({ type }) => type) }
  }

  const parrot = (input?: unknown, options: Partial<ProcessOptions> = {}) =>
    parentOf(fromProcess({ module, ...options }), input)

  it('takes orders down and reports up, between its birth and its exit', async () => {
    const { ask, hears, order, types, heard } = parrot({ a: 1 })
    const told = await ask({ type: 'introduce' }, 'said')
    const { pid, name } = heard[0] as Heard
    expect(told).to.deep.include({ pid, name, input: { a: 1 } })
    expect(name).to.match(/^Process-[0-9a-f]{32}$/)
    order({ type: 'repeat', text: 'ärgerlich 🦜' })
    expect(await hears('said')).to.include({ text: 'ärgerlich 🦜' })
    expect(await ask({ type: 'leave' }, 'process.exited')).to.deep.equal({
      ...{ type: 'process.exited', code: 0, signal: null },
    })
    expect(types()).to.deep.equal(['process.spawned', 'said', 'said', 'process.exited'])
  })

  it('gives the child what its options make of the input, and a module by its URL', async () => {
    const logic = fromProcess<EventObject, unknown>({
      module: pathToFileURL(module),
      childInput: (input) => ({ wrapped: input }),
    })
    const { ask } = parentOf(logic as never, 'this')
    expect(await ask({ type: 'introduce' }, 'said')).to.deep.include({ input: { wrapped: 'this' } })
  })

  for (const end of [{ type: 'process.kill' }, { type: 'leave' }])
    it(`ends what a child of a group of its own has started, when it gets ${end.type}`, async () => {
      const { ask } = parrot({}, { ownGroup: () => true })
      const { pid } = (await ask({ type: 'breed' }, 'number')) as unknown as { pid: number }
      expect(hasEnded(pid)).to.equal(false)
      await ask(end, 'process.exited')
      while (!hasEnded(pid)) await pause()
    })

  it('keeps a child to its processors, or says why it cannot', async () => {
    const pinned = Promise.withResolvers<unknown[]>()
    const { hears } = parrot({}, { cpus: () => [0], onPinned: (...told) => pinned.resolve(told) })
    const { pid, name } = await hears('process.spawned')
    const [who, told, cpus, error] = await pinned.promise
    expect([who, told, cpus]).to.deep.equal([name, pid, [0]])
    if (error) expect(error).to.be.instanceOf(Error)
    else expect(readFileSync(`/proc/${pid}/status`, 'utf8')).to.match(/^Cpus_allowed_list:\s+0$/m)
  })

  it('refuses processors that there are not', async () => {
    const pinned = Promise.withResolvers<unknown>()
    parrot({}, { cpus: () => [99_999], onPinned: (...[, , , error]) => pinned.resolve(error) })
    expect(await pinned.promise).to.be.instanceOf(Error)
  })

  it('leaves alone what a child of its own group has started', async () => {
    const { ask } = parrot()
    const { pid } = (await ask({ type: 'breed' }, 'number')) as unknown as { pid: number }
    await ask({ type: 'process.kill' }, 'process.exited')
    const isLeft = !hasEnded(pid)
    if (isLeft) process.kill(pid, 'SIGKILL')
    expect(isLeft).to.equal(true)
  })

  it('gives the child no flags of its parent, but those of its options', async () => {
    const before = process.execArgv
    process.execArgv = ['--no-deprecation']
    try {
      const clean = await parrot().ask({ type: 'introduce' }, 'said')
      expect(clean).to.deep.include({ execArgv: [], argv: [] })
      const flagged = parrot({}, { execArgv: ['--trace-warnings'] })
      expect(await flagged.ask({ type: 'introduce' }, 'said')).to.deep.include({
        execArgv: ['--trace-warnings'],
      })
    } finally {
      process.execArgv = before
    }
  })

  it('tells how it ended: its code, or the signal', async () => {
    const left = await parrot().ask({ type: 'exit', code: 7 }, 'process.exited')
    expect(left).to.deep.include({ code: 7, signal: null })
    const killed = parrot()
    await killed.ask({ type: 'introduce' }, 'said')
    const exit = killed.hears('process.exited')
    process.kill(pids.at(-1) as number, 'SIGKILL')
    expect(await exit).to.deep.include({ code: null, signal: 'SIGKILL' })
  })

  it('is killed by the order to kill, also when it is blocked', async () => {
    const { ask, order } = parrot()
    await ask({ type: 'introduce' }, 'said')
    order({ type: 'block' })
    expect(await ask({ type: 'process.kill' }, 'process.exited')).to.deep.include({ signal: 'SIGKILL' })
  })

  it('ignores the signals that a terminal sends to the whole group', async () => {
    const { ask } = parrot()
    await ask({ type: 'introduce' }, 'said')
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.kill(pids[0] as number, signal)
    expect(await ask({ type: 'repeat', text: 'still here' }, 'said')).to.include({ text: 'still here' })
  })

  it('reports the error of its machine, and ends', async () => {
    const exit = await parrot().ask({ type: 'fail' }, 'process.exited')
    expect(exit).to.include({ code: 1, signal: null })
    expect(exit.error).to.include({ name: 'RangeError', message: 'too much', code: 'PARROT' })
  })

  for (const [where, type] of [
    ['a timer', 'stumble'],
    ['a promise that nobody waits for', 'forget'],
  ] as const)
    it(`reports the error of ${where}, and ends`, async () => {
      const exit = await parrot().ask({ type }, 'process.exited')
      expect(exit).to.include({ code: 1, signal: null })
      expect(exit.error).to.include({ name: 'RangeError', message: 'too late', code: 'PARROT' })
    })

  it('reports why it could not make its machine, and ends', async () => {
    const exit = await parrot({ refuses: true }).hears('process.exited')
    expect(exit).to.include({ code: 1 })
    expect(exit.error).to.include({ name: 'TypeError', message: 'not with me', code: 'PARROT' })
  })

  it('tells of a fork that failed as of an exit, with the reason', async () => {
    const before = process.execPath
    process.execPath = join(folder, 'no-node-here')
    try {
      const exit = await parrot().hears('process.exited')
      expect(exit).to.deep.include({ code: null, signal: null })
      expect((exit.error as Error).message).to.include('ENOENT')
    } finally {
      process.execPath = before
    }
  })

  it('loses none of 2,000 reports that are sent just before it leaves, and exits after the last', async () => {
    const { ask, heard } = parrot()
    await ask({ type: 'count', upTo: 2_000 }, 'process.exited')
    const numbers = heard.filter(({ type }) => type === 'number').map(({ n }) => n)
    expect(numbers).to.deep.equal(Array.from({ length: 2_000 }, (_, n) => n))
    expect(heard.at(-1)).to.include({ type: 'process.exited', code: 0 })
  })

  it('exits after its last report also where its parent looks only when all is over', async () => {
    const { ask, order, hears, heard } = parrot()
    await ask({ type: 'introduce' }, 'said')
    const exit = hears('process.exited')
    order({ type: 'count', upTo: 100 })
    while (!hasEnded(pids[0] as number));
    await exit
    expect(heard.filter(({ type }) => type === 'number')).to.have.length(100)
    expect(heard.at(-1)).to.include({ type: 'process.exited', code: 0 })
  })

  for (const leaves of [false, true])
    it(`drops and counts log records, and no report, while its parent is busy${leaves ? ' until it leaves' : ''}`, async () => {
      const records: { event?: string; count?: number }[] = []
      const { ask, order, hears, heard } = parrot(
        {},
        { onRecords: (batch) => void records.push(...(batch as typeof records)) },
      )
      await ask({ type: 'introduce' }, 'said')
      const marker = join(folder, 'flooded')
      const over = hears(leaves ? 'process.exited' : 'flooded')
      order({ type: 'flood', turns: 2_000, records: 2, marker, leaves })
      while (!existsSync(marker));
      await over
      if (!leaves) await ask({ type: 'leave' }, 'process.exited')
      const dropped = records.filter(({ event }) => event === 'records.dropped')
      const lost = dropped.reduce((sum, { count }) => sum + (count ?? 0), 0)
      expect(lost, `of ${records.length}`).to.be.above(0)
      expect(records.length - dropped.length + lost).to.equal(4_000)
      expect(heard.filter(({ type }) => type === 'number')).to.have.length(2_000)
    })

  describe('that is let go of', () => {
    it('is told by its channel, and leaves by itself', async () => {
      const marker = join(folder, 'orphaned')
      const { ask, actor } = parrot({ marker }, { killAfter: 60_000 })
      await ask({ type: 'introduce' }, 'said')
      actor.stop()
      await ended(pids.slice(0, 1))
      expect(await readFile(marker, 'utf8')).to.equal('process.orphaned')
    })

    it('goes on to its end where it has something to say to a parent that is gone already', async () => {
      const [marker, after] = [join(folder, 'orphaned'), join(folder, 'gone')]
      const { ask, order, actor } = parrot({ marker, lingers: true, orphanGrace: 300 }, { killAfter: 60_000 })
      await ask({ type: 'introduce' }, 'said')
      order({ type: 'gossip', after })
      actor.stop()
      await writeFile(after, '')
      await ended(pids.slice(0, 1))
      expect(await readFile(marker, 'utf8')).to.equal('process.orphaned')
    })

    it('ends itself when its machine does not, at the end of its own grace', async () => {
      const { ask, actor } = parrot({ deaf: true, orphanGrace: 50 }, { killAfter: 60_000 })
      await ask({ type: 'introduce' }, 'said')
      actor.stop()
      await ended(pids.slice(0, 1))
    })

    it('is killed when it is blocked', async () => {
      const { ask, order, actor } = parrot({}, { killAfter: 50 })
      await ask({ type: 'introduce' }, 'said')
      order({ type: 'block' })
      actor.stop()
      await ended(pids.slice(0, 1))
    })
  })

  describe('in a child slot', () => {
    /** The real slot of a real process. */
    function slot(stopTimeout = 60_000) {
      const heard: Heard[] = []
      const machine = childMachine.provide({
        actors: {
          process: fromProcess<{ type: string }, IncarnationInput>({ module }),
          lastWords: fromPromise<readonly RunningTask[], { role: Role; name: string }>(async () => []),
        },
      })
      const parent = setup({ actors: { machine } }).createMachine({
        entry: spawnChild('machine', {
          id: 'slot',
          input: { id: 'worker-1', role: 'worker', stopOrder: { type: 'no such order' }, stopTimeout },
        }),
        on: {
          'child.forked': {},
          'child.ended': {},
          '*': {
            actions: ({ event }) => void (event.type.startsWith('xstate.') || heard.push(event as Heard)),
          },
        },
      })
      const actor = createActor(parent).start()
      parents.push(actor)
      const child = actor.getSnapshot().children.slot as AnyActorRef
      child.subscribe(({ context }) => {
        if (context.pid && !pids.includes(context.pid)) pids.push(context.pid)
      })
      const reaches = (predicate: () => unknown) =>
        new Promise<void>((resolve) => {
          const look = () => predicate() && resolve()
          actor.subscribe(look)
          child.subscribe(look)
          look()
        })
      return { child, heard, reaches }
    }

    it('is up on its own word, and not before', async () => {
      const { child, heard, reaches } = slot()
      child.send({ type: 'child.order', order: { type: 'introduce' } })
      await reaches(() => heard.length > 0)
      expect(child.getSnapshot().value).to.deep.equal({ alive: 'starting' })
      child.send({ type: 'child.order', order: { type: 'ready' } })
      await reaches(() => child.getSnapshot().hasTag('up'))
      expect(heard.map(({ type }) => type)).to.deep.equal(['said', 'child.up'])
    })

    it('is replaced when it is killed', async () => {
      const { child, heard, reaches } = slot()
      child.send({ type: 'child.order', order: { type: 'ready' } })
      await reaches(() => child.getSnapshot().hasTag('up'))
      process.kill(pids[0] as number, 'SIGKILL')
      await reaches(() => pids.length === 2)
      expect(heard.at(-1)).to.deep.include({ type: 'child.died', starting: false })
    })

    it('is killed when it does not follow its order to leave', async () => {
      const { child, heard, reaches } = slot(50)
      child.send({ type: 'child.order', order: { type: 'ready' } })
      await reaches(() => child.getSnapshot().hasTag('up'))
      child.send({ type: 'child.stop' })
      await reaches(() => heard.at(-1)?.type === 'child.gone')
      expect(heard.at(-1)?.testament).to.deep.include({ code: null, signal: 'SIGKILL' })
    })
  })
})
