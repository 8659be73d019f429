import { expect } from 'chai'
import { Actors, aspectOf, MOST } from '../../../lib/inspection/viewer/actors.ts'
import { lineOf, rowsOf, successorOf } from '../../../lib/inspection/viewer/tree.ts'
import { type Frame, frameOf } from '../../../lib/inspection/viewer/wire.ts'
import { definitionOf } from '../../../lib/process/definition.ts'
import { childMachine, sentinelMachine, workerMachine } from '../../../machines/index.ts'

const CHILD = JSON.stringify(definitionOf(childMachine, ''))
const SENTINEL = JSON.stringify(definitionOf(sentinelMachine, ''))
const WORKER = JSON.stringify(definitionOf(workerMachine, ''))

const actor = (sessionId: string, name: string, definition = '{}', parentId?: string): Frame => ({
  ...{ type: '@xstate.actor', createdAt: '1000', sessionId, name, definition },
  ...(parentId !== undefined && { parentId }),
})
const snapshot = (
  sessionId: string,
  value: unknown,
  rest: object = {},
  type = 'turn',
  at = 1_000,
): Frame => ({
  ...{ type: '@xstate.snapshot', createdAt: `${at}`, sessionId, event: { type } },
  snapshot: { status: 'active', value, ...rest },
})
const event = (sessionId: string, type: string, sourceId?: string): Frame => ({
  ...{ type: '@xstate.event', createdAt: '1000', sessionId, event: { type } },
  ...(sourceId !== undefined && { sourceId }),
})

describe('the actors of a viewer', () => {
  let actors: Actors
  const hear = (...frames: Frame[]) => {
    for (const frame of frames) actors.hear(frame, 1_000)
  }
  /** Every state that a diagram shows, each as long as it takes. */
  const shown = (id: string): string[] => {
    const scenes: string[] = []
    for (let now = 0; now < 10_000; now += 10) {
      actors.play(now)
      scenes.push(actors.get(id)?.scenes.shown?.leaves.join() ?? '')
    }
    return scenes.filter((one, at) => one !== '' && one !== scenes[at - 1])
  }

  beforeEach(() => {
    actors = new Actors()
    hear(
      ...[
        actor('s', 'sentinel 1', SENTINEL),
        actor('c', 'worker-1', CHILD, 's'),
        actor('p', 'process', '{}', 'c'),
      ],
      ...[
        actor('w', 'worker 7', WORKER, 'p'),
        event('w', 'xstate.init'),
        snapshot('w', { running: 'idle' }, { tags: ['running'] }),
      ],
      snapshot('c', { alive: 'up' }),
    )
  })

  it('are rows of a tree, a slot with the process that is in it', () => {
    const rows = rowsOf(actors, 1_000).map(({ actor: { name }, process, depth }) => [
      name,
      process?.name,
      depth,
    ])
    expect(rows).to.deep.equal([
      ['sentinel 1', undefined, 0],
      ['worker-1', 'worker 7', 1],
    ])
  })

  it('say since when they are where they are, and whether anybody was looking then', () => {
    hear(snapshot('w', { running: 'working' }, { tags: ['running'] }, 'runner.busy', 2_000))
    hear(snapshot('w', { running: 'working' }, { tags: ['running'] }, 'noted', 3_000))
    expect(actors.get('w')).to.include({ since: 2_000, sinceAtLeast: false })
    expect(actors.get('c')).to.include({ since: 1_000, sinceAtLeast: true })
  })

  it('are shown in every state of a slot, and busy ones as they are in the end', () => {
    const slot = [{ examining: 'unasked' }, 'backingOff', { alive: 'starting' }, { alive: 'up' }]
    hear(...slot.map((value) => snapshot('c', value)))
    for (let n = 0; n < 50; n += 1)
      hear(snapshot('w', { running: n % 2 ? 'idle' : 'working' }, { tags: ['running'] }))
    expect(shown('c').slice(-4)).to.deep.equal([
      'examining.unasked',
      'backingOff',
      'alive.starting',
      'alive.up',
    ])
    expect(actors.get('w')?.scenes.shown?.leaves).to.deep.equal(['running.idle'])
    expect(actors.get('w')?.scenes.count).to.be.below(4)
  })

  it('show the arrow that was followed', () => {
    hear(snapshot('c', { examining: 'unasked' }, {}, 'process.exited'))
    shown('c')
    expect([...(actors.get('c')?.scenes.followed ?? [])]).to.deep.equal(['alive.up → examining.unasked'])
  })

  it('tell what passes between two processes once, from machine to machine', () => {
    const between = (frame: Frame) => {
      hear(frame)
      const last = actors.happenings.at(-1)
      const line = last && lineOf(actors, last)
      return line && [line.from?.name, line.to.name]
    }
    expect(between(event('p', 'worker.stop', 'c'))).to.equal(undefined)
    expect(between(event('w', 'worker.stop', 'p'))).to.deep.equal(['worker-1', 'worker 7'])
    expect(between(event('c', 'process.ready', 'p'))).to.deep.equal(['worker 7', 'worker-1'])
    expect(between(event('s', 'child.up', 'c'))).to.deep.equal(['worker-1', 'sentinel 1'])
  })

  it('know how far the runs of a worker say they are, until its end', () => {
    const runs = [{ taskId: 'a', progress: 0.25 }]
    const at = (progress: unknown, status = 'active') => {
      hear(snapshot('w', { running: 'working' }, { status, context: { progress } }))
      return actors.get('w')?.progress
    }
    expect(at(runs)).to.deep.equal(runs)
    for (const other of ['far', 0.5, [null, 'x', { progress: 1 }]]) expect(at(other)).to.deep.equal([])
    expect(at(runs, 'error')).to.deep.equal([])
  })

  it('know from the cluster which processes are blocked, and show it in the colour of trouble', () => {
    actors = new Actors()
    const said = (...processes: object[]) =>
      hear(snapshot('Q/x:0', 'running', { context: { report: { processes } } }))
    hear(actor('Q/x:0', 'cluster 1'))
    hear(actor('W/x:0', 'worker 7', WORKER, 'Q/x:0'), snapshot('W/x:0', { running: 'working' }))
    const seen = () => {
      const one = actors.get('W/x:0')
      return one && [one.block, aspectOf(one), one.marks.at(-1)?.phase]
    }
    expect(seen()).to.deep.equal([undefined, 'busy', 'busy'])
    said({ name: 'W', blocked: true })
    expect(seen()).to.deep.equal(['itself', 'troubled', 'troubled'])
    said({ name: 'W', blocked: false, gauges: { blocked: 1 } }, null as unknown as object)
    expect(seen()).to.deep.equal(['broker', 'troubled', 'troubled'])
    hear(actor('W/x:1', 'worker 8', WORKER, 'Q/x:0'))
    expect(actors.get('W/x:1')?.block).to.equal('broker')
    said()
    expect(seen()).to.deep.equal([undefined, 'busy', 'busy'])
    said({ name: 'W', blocked: true })
    hear(snapshot('W/x:0', 'stopped', { status: 'error' }))
    expect(seen()).to.deep.equal([undefined, 'failed', 'failed'])
    for (const context of ['x', { report: 1 }, { report: { processes: {} } }])
      hear(snapshot('Q/x:0', 'running', { context }))
  })

  it('list what is said again and again once, as long as it changes nothing', () => {
    const told = () => actors.get('w')?.happenings.map((one) => `${one.kind} ${one.event} ${one.count}`)
    const before = told()?.length ?? 0
    hear(event('w', 'peer.listening', 'p'), event('w', 'beat'), event('w', 'beat'))
    hear(event('w', 'peer.listening', 'p'), event('w', 'beat'))
    expect(told()?.slice(before)).to.deep.equal(['event peer.listening 2', 'event beat 3'])
    hear(snapshot('w', { running: 'working' }, {}, 'beat'), event('w', 'beat'))
    expect(told()?.slice(before + 2)).to.deep.equal(['change beat 0', 'event beat 1'])
    expect(actors.happenings.filter((one) => one.event === 'beat' && one.kind === 'event')).to.have.length(2)
  })

  it('know who has taken the place of another', () => {
    const first = actors.get('w')
    hear(
      snapshot('w', { running: 'idle' }, { status: 'error' }),
      snapshot('p', undefined, { status: 'done' }),
    )
    hear(actor('p2', 'process', '{}', 'c'), actor('w2', 'worker 8', WORKER, 'p2'))
    expect(first && successorOf(actors, first)?.name).to.equal('worker 8')
    expect(rowsOf(actors, 1_000)[1]?.process?.name).to.equal('worker 8')
  })

  it('are those that the server tells of when it is there again, and another cluster’s take the place of all', () => {
    actors.begin()
    hear(actor('s', 'sentinel 1', SENTINEL), actor('c', 'worker-1', CHILD, 's'))
    actors.settle()
    expect(actors.all.map(({ id }) => id)).to.deep.equal(['s', 'c'])
    actors.begin()
    hear(actor('other', 'sentinel 2', SENTINEL))
    expect(actors.all.map(({ id }) => id)).to.deep.equal(['other'])
  })

  it('take no more room, however long somebody looks', () => {
    for (let n = 0; n < 3_000; n += 1) {
      hear(event('s', `event.${n}`), actor(`w${n}`, `worker ${n}`, WORKER, 'c'))
      hear(snapshot(`w${n}`, { running: 'idle' }), snapshot(`w${n}`, { running: 'idle' }, { status: 'done' }))
      hear(snapshot('c', n % 2 ? 'backingOff' : { alive: 'up' }))
    }
    expect(actors.all).to.have.length.below(MOST.ended + 10)
    expect(actors.happenings).to.have.length(MOST.all)
    expect(actors.get('s')?.happenings).to.have.length(MOST.own)
    expect(actors.get('c')?.marks).to.have.length(MOST.marks)
  })

  it('bear frames that are none', () => {
    for (const text of ['', '{', 'null', '[]', '{"type":"@xstate.event"}', '{"sessionId":1,"type":"x"}'])
      expect(frameOf(text), text).to.equal(undefined)
    hear(
      { ...actor('x', 'x'), definition: '{' },
      { ...snapshot('x', 5), createdAt: 'never' },
      snapshot('nobody', 'here'),
    )
    expect(actors.get('x')?.chart).to.equal(undefined)
  })
})
