import { join } from 'node:path'
import { expect } from 'chai'
import { fromProcess, type InspectOptions, inspect } from 'qcluster'
import { type AnyActorRef, createActor, type InspectionEvent, sendTo, setup, spawnChild } from 'xstate'

const module = join(import.meta.dirname, '..', 'process', 'fixtures', 'parrot.mjs')

const cage = setup({ actors: { parrot: fromProcess({ module }) } }).createMachine({
  id: 'cage',
  entry: spawnChild('parrot', { id: 'parrot' }),
  on: { tell: { actions: sendTo('parrot', ({ event }) => event.order) } },
})

interface Seen {
  readonly id: string
  readonly sessionId: string
  readonly _parent?: Seen
}

const park = setup({
  actors: { aviary: fromProcess({ module: join(import.meta.dirname, 'fixtures', 'aviary.mjs') }) },
}).createMachine({
  id: 'park',
  invoke: { src: 'aviary', id: 'aviary', input: { place: 'here' } },
  on: { tell: { actions: sendTo('aviary', ({ event }) => event.order) } },
})

describe('the inspection of processes that a machine of the user has forked', function () {
  this.timeout(60_000)
  let ends: (() => void)[]

  beforeEach(() => {
    ends = []
  })
  afterEach(() => {
    for (const end of ends) end()
  })

  function keepParrot() {
    const actor = createActor(cage).start()
    ends.push(() => actor.stop())
    return { actor, tell: (order: object) => actor.send({ type: 'tell', order }) }
  }

  function observe(actor: AnyActorRef, options: InspectOptions = {}) {
    const events: InspectionEvent[] = []
    let news = Promise.withResolvers<void>()
    const end = inspect(
      actor,
      (event) => {
        events.push(event)
        news.resolve()
        news = Promise.withResolvers()
      },
      options,
    )
    ends.push(end)
    /** The first event, already told or to come. */
    const sees = async (what: (event: InspectionEvent) => boolean) => {
      const find = () => events.find(what)
      for (let found = find(); ; found = find()) {
        if (found) return found
        await news.promise
      }
    }
    return { sees, end, events }
  }

  const refOf = (event: InspectionEvent) => event.actorRef as unknown as Seen
  const isInChild = (event: InspectionEvent) => refOf(event)._parent?.id === 'parrot'
  const isNewState = (value: unknown, status: string) => (event: InspectionEvent) =>
    event.type === '@xstate.snapshot' &&
    (event.snapshot as { value?: unknown }).value === value &&
    event.snapshot.status === status

  it('shows the machine in the child, below the actor that stands for it, until its end', async () => {
    const { actor, tell } = keepParrot()
    const { sees } = observe(actor)
    const seen = refOf(await sees(isNewState('perched', 'active')))
    expect(seen.id).to.match(/^\(machine\) \d+$/)
    expect(seen.sessionId).to.match(/^Process-[0-9a-f]{32}\/x:\d+$/)
    expect(seen._parent?._parent?.id).to.equal(`cage ${process.pid}`)
    tell({ type: 'leave' })
    await sees((event) => isInChild(event) && event.type === '@xstate.event' && event.event.type === 'leave')
    await sees(isNewState('flown', 'done'))
  })

  it('shows a machine in the child that threw, and one that was killed', async () => {
    const thrower = keepParrot()
    const { sees } = observe(thrower.actor)
    thrower.tell({ type: 'fail' })
    await sees(isNewState('perched', 'error'))

    const victim = keepParrot()
    const other = observe(victim.actor)
    await other.sees(isNewState('perched', 'active'))
    victim.tell({ type: 'process.kill' })
    const end = await other.sees(isNewState('perched', 'error'))
    expect(end).to.deep.include({ event: { type: 'process.exited', code: null, signal: 'SIGKILL' } })
  })

  it('is off in the child when nobody looks, and on again when somebody does', async () => {
    const { actor, tell } = keepParrot()
    const first = observe(actor)
    await first.sees(isNewState('perched', 'active'))
    first.end()
    const second = observe(actor)
    await second.sees(isNewState('perched', 'active'))
    const count = first.events.length
    tell({ type: 'leave' })
    await second.sees(isNewState('flown', 'done'))
    expect(first.events).to.have.length(count)
  })

  it('tells the end, and all that led to it, though it floods the channel', async () => {
    const { actor, tell } = keepParrot()
    const { sees } = observe(actor)
    tell({ type: 'count', upTo: 5_000 })
    await sees(isNewState('flown', 'done'))
  })

  describe('that run a plain machine', () => {
    function visit(payloads = false) {
      const actor = createActor(park).start()
      ends.push(() => actor.stop())
      const { sees, events } = observe(actor, { payloads })
      /** Resolves when the actor below so many others, processes without their pids, is there. */
      const isAt = (path: string, value: string, status = 'active') =>
        sees((event) => pathOf(refOf(event)) === path && isNewState(value, status)(event))
      return { events, isAt, tell: (order: object) => actor.send({ type: 'tell', order }) }
    }

    const pathOf = ({ id, _parent }: Seen): string =>
      `${_parent ? `${pathOf(_parent)}/` : ''}${id.replace(/ \d+$/, '')}`
    const AVIARY = 'park/aviary/aviary'
    const PARROT = `${AVIARY}/parrot`
    const LAMP = `${AVIARY}/lamp/lamp`

    it('shows it with the machine that lives in it, and with the process that it has forked itself', async () => {
      const { isAt, events, tell } = visit()
      const seen = [await isAt(AVIARY, 'open'), await isAt(PARROT, 'perched'), await isAt(LAMP, 'off')]
      for (const type of ['fly', 'switch']) tell({ type })
      await isAt(PARROT, 'flying')
      await isAt(LAMP, 'on')
      expect(new Set(seen.map((event) => refOf(event).sessionId))).to.have.property('size', 3)
      expect(new Set(events.map(({ rootId }) => rootId))).to.have.property('size', 1)
      expect(seen[2]).to.have.nested.property('actorRef.logic.config.states.off.on.switch')
      expect(seen[0]).to.have.nested.property('snapshot.context').that.deep.equals({})
    })

    it('shows its context where payloads are asked for', async () => {
      const { isAt } = visit(true)
      expect(await isAt(AVIARY, 'open')).to.have.nested.property('snapshot.context.place', 'here')
    })

    it('shows that all in it and below it has ended with it', async () => {
      const { isAt, tell } = visit()
      await isAt(LAMP, 'off')
      tell({ type: 'process.kill' })
      await isAt(LAMP, 'off', 'error')
      await isAt(PARROT, 'perched', 'error')
      await isAt(AVIARY, 'open', 'error')
    })
  })
})
