import { expect } from 'chai'
import type { AnyMachineSnapshot, AnyStateMachine, AnyStateNode, EventObject, StateValue } from 'xstate'
import { type AdjacencyMap, type AdjacencyValue, getAdjacencyMap, getStateNodes } from 'xstate/graph'
import {
  busMachine,
  type ClusterContext,
  childMachine,
  clusterMachine,
  monitorMachine,
  orphansMachine,
  pusherMachine,
  type SentinelContext,
  schedulerMachine,
  sentinelMachine,
  workerMachine,
} from '../../machines/index.ts'

/** A machine, what may happen to it, and how its owner tells it to end. */
interface Subject {
  readonly machine: AnyStateMachine
  readonly input?: unknown
  /** What its events carry, where a bare type is not enough; several of one type where it matters which. */
  readonly payloads?: Readonly<Record<string, readonly object[]>>
  /** Events whose types the machine names only by a wildcard. */
  readonly events?: readonly EventObject[]
  readonly stops: readonly string[]
  /** What of the context decides, beside the state. */
  readonly decides?: (context: never) => unknown
  /** Whether this may happen at all, as the world goes. */
  readonly plausible?: (snapshot: AnyMachineSnapshot, event: EventObject) => boolean
  /** States that it leaves in the same step as it enters them: no snapshot shows them. */
  readonly passing?: readonly string[]
  /** States in which a stop order has no meaning. */
  readonly deaf?: readonly string[]
  /** True where it is at work: what no stopped machine comes back to. Tags `starting` and `running` by default. */
  readonly atWork?: (snapshot: AnyMachineSnapshot) => boolean
}

const testament = { worker: 'w', cause: 'crashed', code: 1, signal: null, running: [] }
const slots = ['worker-1', 'worker-2', 'monitor', 'pusher']
const born = slots.map((id) => ({ id, role: id.replace(/-\d/, ''), name: id, testament }))

const subjects: readonly Subject[] = [
  {
    machine: clusterMachine,
    payloads: {
      'process.exited': [
        { code: 0, signal: null },
        { code: 5, signal: null },
      ],
      'sentinel.failed': [{ error: { name: 'Error', message: 'x' } }],
      'child.forked': [{ pid: 1, name: 'p', bornAt: '' }],
      'child.ended': [{ name: 'p' }],
      'sentinel.reported': [{ processes: [], reincarnations: 0, workers: 1, counters: {} }],
      'orphans.ended': [0, 1].map((n) => ({ id: `orphans-${n}`, killed: false })),
      'xstate.done.actor.0.cluster.starting.preparing': [
        { output: { grace: 1, maxRestarts: 1, restartWindow: 1 } },
      ],
    },
    stops: ['cluster.stop', 'cluster.abort', 'cluster.kill'],
    // `Cluster.stop()` answers false there: nothing has been started.
    deaf: ['cluster.idle'],
    decides: ({ error, children, orphans, recentDeaths, paused }: ClusterContext) => [
      ...[error !== null, children.length, orphans.length, Math.min(recentDeaths, 1), paused],
    ],
    plausible: ({ context, value }, event) => {
      const { children, orphans, deaths } = context as ClusterContext
      // One child, forked before its sentinel dies for the first time: else there is no end.
      if (event.type === 'child.forked')
        return value !== 'idle' && children.length + orphans.length + deaths === 0
      if (event.type === 'child.ended') return children.length > 0
      return event.type !== 'orphans.ended' || orphans.includes((event as EventObject & { id: string }).id)
    },
  },
  {
    machine: orphansMachine,
    input: { id: 'o', processes: [], grace: 1 },
    stops: ['orphans.kill'],
    payloads: { 'xstate.done.actor.absence': [{ output: undefined }] },
    atWork: (snapshot) => snapshot.matches('finishing'),
  },
  {
    machine: sentinelMachine,
    // One of each role, and one more worker in its place or beside it; the scheduler's slot is as any.
    input: {
      ...{ name: 's', pid: 1, workers: 1, scheduler: false },
      ...{ grace: 1, maxRestarts: 1, restartWindow: 1, revived: false, paused: false },
    },
    payloads: {
      'child.up': born.map((one) => ({ ...one, socket: '/s' })),
      'child.died': born.map((one) => ({ ...one, starting: false })),
      'child.gone': born,
      'worker.drained': [{ worker: 'w' }],
      'worker.overran': [{ worker: 'worker-1' }],
      'sentinel.scale': [{ workers: 1 }, { workers: 2 }],
      'tasks.interrupted': [{ count: 1 }],
      'processes.observed': [{ processes: {}, counters: {} }],
    },
    stops: ['sentinel.stop', 'sentinel.abort', 'sentinel.kill', 'process.orphaned'],
    decides: ({ slots, due, pusherDrained, recentDeaths, error }: SentinelContext) => [
      ...[Object.entries(slots).map(([id, { state }]) => id + state), due.length, pusherDrained],
      ...[Math.min(recentDeaths, 1), error !== null],
    ],
    plausible: ({ context, tags }, event) => {
      const { slots, born } = context as SentinelContext
      // One second worker, made while all is well, after which neither monitor nor pusher dies: else there is no end.
      if (event.type === 'sentinel.reload' || event.type === 'sentinel.scale')
        return born < 2 && Object.values(slots).every(({ state }) => state === 'up')
      if (!event.type.startsWith('child.')) return true
      const { id } = event as EventObject & { id: string }
      const state = slots[id]?.state
      if (event.type === 'child.up') return state === 'starting' || state === 'down'
      if (event.type === 'child.died')
        return state !== undefined && state !== 'leaving' && (born < 2 || id.startsWith('worker'))
      // A slot leaves for good only when it was told to.
      return state !== undefined && (tags.has('stopping') || state === 'leaving')
    },
  },
  {
    machine: childMachine,
    input: { id: 'worker-1', role: 'worker', stopOrder: { type: 'worker.stop' } },
    payloads: {
      'process.exited': [{ code: null, signal: 'SIGKILL' }],
      'child.order': [{ order: { type: 'worker.abort' } }],
      'child.kill': [{ cause: 'timedOut' }],
    },
    events: [{ type: 'xstate.done.actor.0.child.examining', output: [] } as EventObject],
    stops: ['child.stop'],
    atWork: (snapshot) =>
      ['starting', 'up'].some((state) => snapshot.matches({ alive: state })) ||
      snapshot.matches('backingOff'),
  },
  {
    machine: pusherMachine,
    payloads: { 'pusher.open': [{ workers: [] }] },
    stops: ['pusher.stop', 'pusher.abort', 'process.orphaned'],
    decides: ({ attempts }: { attempts: number }) => attempts > 0,
  },
  { machine: workerMachine, stops: ['worker.stop', 'worker.abort', 'process.orphaned'] },
  { machine: monitorMachine, stops: ['monitor.stop'] },
  {
    machine: schedulerMachine,
    stops: ['scheduler.stop', 'process.orphaned'],
    passing: ['scheduler.starting'],
    payloads: {
      'timetable.looked': [{ wait: 1 }],
      'timetable.failed': [{ service: 'store', reason: 'gone' }],
    },
    decides: ({ attempts }: { attempts: number }) => attempts > 0,
  },
]

/** Nobody is told here, and the parents that would be told do not exist. */
const unheard = Object.fromEntries(
  [...['reportUp', 'reportDied', 'reportGone', 'passReport', 'reportForked'], 'reportEnded'].map((action) => [
    action,
    () => {},
  ]),
)

type Graph = AdjacencyMap<AnyMachineSnapshot, EventObject>
type Vertex = AdjacencyValue<AnyMachineSnapshot, EventObject>
type Edge = Vertex['transitions'][keyof Vertex['transitions']]

function graphOf({ machine, input, payloads = {}, events = [], decides, plausible }: Subject): Graph {
  const own = machine.events.filter((type: string) => !type.includes('*'))
  const serializeState = ({ value, status, context }: AnyMachineSnapshot) =>
    JSON.stringify([value, status, decides?.(context as never)])
  return getAdjacencyMap(machine.provide({ actions: unheard }), {
    input,
    events: [
      ...own.flatMap((type: string) => (payloads[type] ?? [{}]).map((one) => ({ type, ...one }))),
      ...events,
    ],
    serializeState,
    filterEvents: (state: AnyMachineSnapshot, event: EventObject) =>
      state.can(event) && (plausible?.(state, event) ?? true),
    stopWhen: ({ status }: AnyMachineSnapshot) => status !== 'active',
    limit: 100_000,
  } as never) as unknown as Graph
}

const isOver = ({ state }: Vertex): boolean => state.status === 'done'

/** The vertices from which one that is `wanted` can be reached, itself among them. */
function leadingTo(
  graph: Graph,
  key: (snapshot: AnyMachineSnapshot) => string,
  wanted: (vertex: Vertex) => boolean,
) {
  const vertices = Object.values(graph)
  const found = new Set(vertices.filter(wanted).map(({ state }) => key(state)))
  for (let before = -1; before < found.size; ) {
    before = found.size
    for (const { state, transitions } of vertices)
      if (Object.values<Edge>(transitions).some((next) => found.has(key(next.state)))) found.add(key(state))
  }
  return found
}

function idsOf(value: StateValue, above: string): string[] {
  if (typeof value === 'string') return [above, `${above}.${value}`]
  return [above, ...Object.entries(value).flatMap(([key, below]) => idsOf(below ?? {}, `${above}.${key}`))]
}

const nodesOf = (machine: AnyStateMachine): AnyStateNode[] => [machine.root, ...getStateNodes(machine.root)]

for (const subject of subjects) {
  const { machine, stops, deaf = [], passing = [] } = subject
  const atWork = subject.atWork ?? (({ tags }) => tags.has('starting') || tags.has('running'))

  describe(`the graph of the ${machine.id} machine`, function () {
    this.timeout(60_000)
    let graph: Graph
    let vertices: Vertex[]
    const key = (snapshot: AnyMachineSnapshot) =>
      JSON.stringify([snapshot.value, snapshot.status, subject.decides?.(snapshot.context as never)])
    const name = ({ state }: Vertex) => key(state)

    before(() => {
      graph = graphOf(subject)
      vertices = Object.values(graph)
    })

    it('reaches every state', () => {
      const reached = new Set(vertices.flatMap(({ state }) => idsOf(state.value, machine.id)))
      expect(nodesOf(machine).map(({ id }) => id)).to.have.members([...reached, ...passing])
    })

    it('never fails, whatever comes when', () => {
      expect(vertices.filter(({ state }) => state.status === 'error').map(name)).to.deep.equal([])
    })

    it('has no dead end', () => {
      const ending = leadingTo(graph, key, isOver)
      expect(vertices.filter((vertex) => !ending.has(name(vertex))).map(name)).to.deep.equal([])
    })

    for (const stop of stops)
      it(`leads from every state to its end after ${stop}, and never back to work`, () => {
        const ending = leadingTo(graph, key, isOver)
        const working = leadingTo(graph, key, ({ state }) => atWork(state))
        const hearing = vertices.filter(
          (vertex) =>
            !isOver(vertex) && !idsOf(vertex.state.value, machine.id).some((id) => deaf.includes(id)),
        )
        const unstopped = hearing.filter((vertex) => {
          const told = Object.values(vertex.transitions).find(({ event }) => event.type === stop)
          // What is deaf to the order must be on its way already.
          const after = key(told?.state ?? vertex.state)
          return working.has(after) || !ending.has(after)
        })
        expect(hearing).not.to.be.empty
        expect(unstopped.map(name)).to.deep.equal([])
      })
  })
}

describe('every machine', () => {
  // The bus has no end of its own, and so no graph above.
  for (const machine of [...subjects.map((one) => one.machine), busMachine])
    it(`describes its states, and ends a loop of its own: ${machine.id}`, () => {
      const undescribed = nodesOf(machine).filter(({ description }) => !description)
      expect(undescribed.map(({ id }) => id)).to.deep.equal([])
      expect(machine.options?.maxIterations).to.equal(1000)
    })
})
