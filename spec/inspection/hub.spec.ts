import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import { inspect } from 'qcluster'
import { createActor, type InspectionEvent, sendTo, setup, spawnChild, stopChild } from 'xstate'

interface Seen {
  readonly id: string
  readonly sessionId: string
  readonly _parent?: Seen
  readonly logic: { readonly config: object }
  getSnapshot(): { readonly status: string; readonly value?: unknown }
}

const lamp = setup({
  actions: {
    burnOut: () => {
      throw new Error('burnt out')
    },
  },
}).createMachine({
  id: 'lamp',
  context: { password: 'hunter2' },
  initial: 'off',
  states: {
    off: { on: { toggle: 'on' } },
    on: { tags: 'running', on: { toggle: 'off', burn: { actions: 'burnOut' } } },
  },
})

const room = setup({ actors: { lamp } }).createMachine({
  id: 'room',
  entry: spawnChild('lamp', { id: 'lamp' }),
  on: {
    toggle: { actions: sendTo('lamp', { type: 'toggle', secret: 'hunter2' }) },
    burn: { actions: sendTo('lamp', { type: 'burn' }) },
    remove: { actions: stopChild('lamp') },
    'xstate.error.actor.lamp': '.dark',
  },
  initial: 'bright',
  states: { bright: {}, dark: {} },
})

describe('the inspection of an actor system', () => {
  let ends: (() => void)[]

  beforeEach(() => {
    ends = []
  })
  afterEach(() => {
    for (const end of ends) end()
  })

  function makeRoom() {
    const actor = createActor(room)
    ends.push(() => actor.stop())
    return actor
  }

  /** Everything that an observer sees, as lines; and the actors by their ids. */
  function observe(actor: ReturnType<typeof makeRoom>, payloads?: boolean) {
    const events: InspectionEvent[] = []
    const actors = new Map<string, Seen>()
    let news = Promise.withResolvers<void>()
    const end = inspect(
      actor,
      (event) => {
        events.push(event)
        const seen = event.actorRef as unknown as Seen
        actors.set(seen.id, seen)
        news.resolve()
        news = Promise.withResolvers()
      },
      payloads === undefined ? {} : { payloads },
    )
    ends.push(end)
    const reaches = async (condition: () => unknown) => {
      while (!condition()) await news.promise
    }
    const lines = () => events.map(lineOf)
    return { events, actors, end, lines, reaches }
  }

  const lineOf = (event: InspectionEvent): string => {
    const { id } = event.actorRef as unknown as Seen
    if (event.type === '@xstate.actor') return `${id} registered`
    if (event.type === '@xstate.event') return `${id} got ${event.event.type}`
    const { status, value } = (event as { snapshot: ReturnType<Seen['getSnapshot']> }).snapshot
    return `${id} ${status} ${value}`
  }

  const name = `room ${process.pid}`

  it('begins with all that is there, parents first', async () => {
    const actor = makeRoom().start()
    actor.send({ type: 'toggle' })
    const { actors, lines, reaches } = observe(actor)
    await reaches(() => lines().length === 4)
    expect(lines()).to.deep.equal([
      ...[`${name} registered`, `${name} active bright`, 'lamp registered', 'lamp active on'],
    ])
    expect(actors.get('lamp')?._parent).to.equal(actors.get(name))
    expect(actors.get('lamp')?.getSnapshot().value).to.equal('on')
  })

  it('goes on with what happens, from the first event on where it came before the start', async () => {
    const actor = makeRoom()
    const { lines, reaches } = observe(actor)
    actor.start()
    await reaches(() => lines().includes('lamp got xstate.init'))
    actor.send({ type: 'toggle' })
    await reaches(() => lines().includes('lamp active on'))
    expect(lines()).to.include.members([`${name} got toggle`, 'lamp got toggle'])
    expect(lines().indexOf('lamp got toggle')).to.be.below(lines().indexOf('lamp active on'))
  })

  it('gives the present to whoever comes late, and the same ids', async () => {
    const actor = makeRoom().start()
    const first = observe(actor)
    await first.reaches(() => first.actors.size === 2)
    actor.send({ type: 'toggle' })
    await first.reaches(() => first.lines().includes('lamp active on'))
    const second = observe(actor)
    expect(second.lines()).to.deep.equal([
      ...[`${name} registered`, `${name} active bright`, 'lamp registered', 'lamp active on'],
    ])
    expect(second.actors.get('lamp')?.sessionId).to.equal(first.actors.get('lamp')?.sessionId)
  })

  it('shows an actor that threw, and one that was stopped', async () => {
    const actor = makeRoom().start()
    const { lines, reaches } = observe(actor)
    actor.send({ type: 'toggle' })
    actor.send({ type: 'burn' })
    await reaches(() => lines().includes(`${name} active dark`))
    expect(lines()).to.include('lamp error on')

    const other = makeRoom().start()
    const { lines: otherLines, reaches: otherReaches } = observe(other)
    other.send({ type: 'remove' })
    await otherReaches(() => otherLines().includes('lamp stopped off'))
    const late = observe(other)
    expect([...late.actors.keys()]).to.deep.equal([name])
  })

  it('shows nothing of what actors are about, unless it is asked to', async () => {
    const [closed, open] = [makeRoom().start(), makeRoom().start()]
    const [without, withAll] = [observe(closed), observe(open, true)]
    for (const actor of [closed, open]) actor.send({ type: 'toggle' })
    await without.reaches(() => without.lines().includes('lamp active on'))
    await withAll.reaches(() => withAll.lines().includes('lamp active on'))
    const told = ({ events, actors }: typeof without) =>
      JSON.stringify([
        events.map(({ actorRef: _, ...event }) => event),
        [...actors.values()].map((seen) => [seen.logic, seen.getSnapshot()]),
      ])
    expect(told(without)).not.to.include('hunter2')
    expect(told(withAll)).to.include('"context":{"password":"hunter2"}')
    expect(told(withAll)).to.include('"secret":"hunter2"')
    expect(JSON.stringify(withAll.actors.get('lamp')?.logic)).not.to.include('hunter2')
  })

  it('bears an observer that throws or rejects', async () => {
    const warnings: string[] = []
    const hear = (warning: Error) => void warnings.push(warning.message)
    process.on('warning', hear)
    ends.push(() => process.off('warning', hear))
    const actor = makeRoom().start()
    ends.push(
      inspect(actor, () => {
        throw new Error('clumsy')
      }),
      inspect(actor, async () => {
        throw new Error('careless')
      }),
      inspect(actor, {}),
    )
    const { lines, reaches } = observe(actor)
    actor.send({ type: 'toggle' })
    await reaches(() => lines().includes('lamp active on'))
    expect(actor.getSnapshot().status).to.equal('active')
    await turn()
    expect(warnings.join()).to.include('clumsy').and.to.include('careless')
  })

  it('leaves out events where thousands come at once, and says that it did', async () => {
    const actor = makeRoom().start()
    const { lines, reaches } = observe(actor)
    await reaches(() => lines().includes('lamp active off'))
    const told = lines().length
    for (let n = 0; n < 20_000; n += 1) actor.send({ type: `unknown ${n}` })
    await reaches(() => lines().some((line) => line.includes('inspection.dropped')))
    expect(lines().length - told).to.be.below(300)
  })

  it('tells an event that comes again and again once in a while, and how often it came', async () => {
    const actor = makeRoom().start()
    const { events, lines, reaches } = observe(actor)
    await reaches(() => lines().includes('lamp active off'))
    const told = lines().length
    for (let n = 0; n < 20_000; n += 1) actor.send({ type: 'unknown' })
    const counted = () =>
      events
        .slice(told)
        .map((event) => (event as { times?: number }).times ?? 1)
        .reduce((sum, times) => sum + times, 0)
    await reaches(() => counted() === 20_000)
    expect(lines().slice(told)).to.have.length.below(10)
  })

  it('is off when nobody looks any more', async () => {
    const actor = makeRoom().start()
    const { end, lines, reaches } = observe(actor)
    await reaches(() => lines().length === 4)
    const { system } = actor as unknown as { system: { _sendInspectionEvent(event: object): void } }
    // XState reads it only where somebody is attached.
    const look = () =>
      system._sendInspectionEvent({
        get type() {
          throw new Error('somebody looks')
        },
      })
    expect(look).to.throw()
    end()
    end()
    expect(look).not.to.throw()
    actor.send({ type: 'toggle' })
    await turn()
    expect(lines()).to.have.length(4)
  })
})
