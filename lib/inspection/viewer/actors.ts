/** Every actor that the server tells of, with what it did last. Nothing here grows without bound. */
import { type Chart, chartOf, type Definition, leavesOf, pathsOf } from './chart.ts'
import { type Phase, phaseOf } from './phase.ts'
import { type Scene, Scenes } from './scenes.ts'
import type { Frame, SeenSnapshot } from './wire.ts'

/** The most that is kept: happenings of one actor, of all, actors that have ended, and changes for the ribbon. */
export const MOST = { own: 50, all: 300, ended: 60, marks: 240 } as const

/** An event that an actor got, or another state that it came to. */
export interface Happening {
  readonly serial: number
  readonly at: number
  readonly kind: 'event' | 'change' | 'dropped'
  /** Whose it is; of an event, who got it. */
  readonly actor: string
  readonly from: string | undefined
  /** The event's type. */
  readonly event: string
  /** Its other fields, where the cluster shows payloads. */
  readonly payload: Readonly<Record<string, unknown>> | undefined
  /** The innermost states that it came to. */
  readonly leaves: readonly string[]
  readonly phase: Phase
  /** How often it came; of events that are not told, how many. */
  readonly count: number
}

/** How far a run is, from 0 to 1; what else it says is told where the cluster shows payloads. */
export interface RunProgress {
  readonly taskId: string
  readonly progress: number
  readonly message?: string
}

/** What keeps a process from its work: its own event loop, which is kept busy or stopped; or a broker that takes nothing. */
export type Block = 'itself' | 'broker'

/** When a machine came to a phase. */
export interface Mark {
  readonly at: number
  readonly phase: Phase
}

export interface Actor {
  readonly id: string
  readonly name: string
  readonly parent: string | undefined
  readonly definition: Definition
  /** Undefined where it is no machine. */
  readonly chart: Chart | undefined
  /** Of the process whose root it is. */
  readonly pid: number | undefined
  /** Grows with everything that is seen of it. */
  version: number
  status: string
  value: unknown
  leaves: readonly string[]
  phase: Phase
  tags: readonly string[]
  error: unknown
  context: unknown
  /** Runs that say how far they are. */
  progress: readonly RunProgress[]
  /** Of a process: what blocks it. */
  block: Block | undefined
  /** When it came to where it is, by the server's clock; `sinceAtLeast` where nobody was looking then. */
  since: number
  sinceAtLeast: boolean
  endedAt: number | undefined
  readonly happenings: Happening[]
  readonly marks: Mark[]
  /** What the diagram shows, one after the other. */
  readonly scenes: Scenes
}

export class Actors {
  readonly #actors = new Map<string, Actor>()
  /** Who is below whom; made when it is asked for. */
  #below: Map<string | undefined, Actor[]> | undefined
  readonly happenings: Happening[] = []
  #serial = 0
  /** The processes that are blocked, by their names. */
  #blocks: ReadonlyMap<string, Block> = new Map()
  #confirmed: Set<string> | undefined
  /** Milliseconds by which this page's clock is ahead of the server's, the way of the frames included. */
  #ahead = Number.POSITIVE_INFINITY

  get all(): readonly Actor[] {
    return [...this.#actors.values()]
  }

  get(id: string | undefined): Actor | undefined {
    return id === undefined ? undefined : this.#actors.get(id)
  }

  /** The actor above all others. */
  get root(): Actor | undefined {
    return this.below(undefined)[0]
  }

  /** Those that an actor has begun, the oldest first. */
  below(id: string | undefined): readonly Actor[] {
    this.#below ??= Map.groupBy(this.#actors.values(), ({ parent }) => parent)
    return this.#below.get(id) ?? []
  }

  /** The time at the server. */
  now(here: number): number {
    return here - (Number.isFinite(this.#ahead) ? this.#ahead : 0)
  }

  /** A connection is open: what is not told again has gone meanwhile. */
  begin(): void {
    this.#confirmed = new Set()
  }

  /** The present has been told. */
  settle(): void {
    if (!this.#confirmed) return
    for (const { id } of this.all) if (!this.#confirmed.has(id)) this.#forget(id)
    this.#confirmed = undefined
  }

  hear(frame: Frame, here: number): void {
    const at = Number(frame.createdAt)
    if (!Number.isFinite(at)) return
    this.#ahead = Math.min(this.#ahead, here - at)
    if (frame.type === '@xstate.actor') this.#register(frame, at)
    const actor = this.#actors.get(frame.sessionId)
    if (!actor) return
    if (frame.type === '@xstate.event') this.#note(actor, frame, at)
    if (frame.type === '@xstate.snapshot') this.#change(actor, frame, at)
  }

  /** Goes on with what the diagrams show. True while there is more. */
  play(here: number): boolean {
    let isPlaying = false
    for (const actor of this.#actors.values()) {
      const { scenes } = actor
      if (scenes.play(here)) actor.version += 1
      isPlaying ||= scenes.isWaiting
    }
    return isPlaying
  }

  #register({ sessionId: id, parentId: parent, name = id, definition = '{}' }: Frame, at: number): void {
    this.#confirmed?.add(id)
    if (this.#actors.has(id)) return
    // Another cluster has taken the place of the one that was.
    if (parent === undefined) this.#forgetAll()
    const parsed = definitionOf(definition)
    const chart = chartOf(parsed)
    this.#below = undefined
    this.#actors.set(id, {
      ...{ id, name, parent, definition: parsed, chart },
      pid: pidOf(name),
      ...{ version: 0, status: 'active', value: undefined, leaves: [], phase: 'starting' },
      ...{
        tags: [],
        error: undefined,
        context: undefined,
        progress: [],
        block: this.#blocks.get(processOf({ id })),
        since: at,
        sinceAtLeast: false,
        endedAt: undefined,
      },
      ...{ happenings: [], marks: [], scenes: new Scenes(chart) },
    })
  }

  #forget(id: string): void {
    this.#actors.delete(id)
    this.#below = undefined
  }

  #forgetAll(): void {
    this.#actors.clear()
    this.#below = undefined
    this.happenings.length = 0
  }

  #note(actor: Actor, { sourceId: from, event, times = 1 }: Frame, at: number): void {
    if (!event) return
    const { type, ...payload } = event
    const isDropped = type === 'inspection.dropped'
    const former = isDropped ? undefined : formerOf(actor, type, from)
    if (former) for (const list of [actor.happenings, this.happenings]) remove(list, former)
    this.#add(actor, {
      ...{ at, kind: isDropped ? 'dropped' : 'event', from, event: type, leaves: [] },
      payload: Object.keys(payload).length > 0 ? payload : undefined,
      count: isDropped ? Number(payload.count) : (former?.count ?? 0) + times,
    })
  }

  #change(actor: Actor, { event, snapshot = { status: 'active' } }: Frame, at: number): void {
    const isFirst = actor.version === 0 || actor.leaves.length === 0
    const before = actor.leaves
    const { status } = actor
    take(actor, snapshot)
    if (actor === this.root) this.#takeBlocks(blocksIn(snapshot.context), at)
    const isSame = before.join() === actor.leaves.join() && status === actor.status
    if (isSame) {
      actor.version += 1
      return
    }
    const wasHeard = actor.happenings.some((one) => one.event === 'xstate.init')
    actor.since = at
    actor.sinceAtLeast = isFirst && !wasHeard
    if (snapshot.status !== 'active') this.#end(actor, at)
    mark(actor, at)
    actor.scenes.add(sceneOf(actor, event?.type ?? '', at))
    if (isFirst && !wasHeard) actor.version += 1
    else
      this.#add(actor, {
        ...{ at, kind: 'change', from: undefined, event: event?.type ?? '', payload: undefined },
        ...{ leaves: actor.leaves, count: 0 },
      })
  }

  #add(actor: Actor, what: Omit<Happening, 'serial' | 'actor' | 'phase'>): void {
    this.#serial += 1
    const happening = { ...what, serial: this.#serial, actor: actor.id, phase: actor.phase }
    actor.version += 1
    keep(actor.happenings, happening, MOST.own)
    keep(this.happenings, happening, MOST.all)
  }

  /** What the cluster says of its processes. */
  #takeBlocks(blocks: ReadonlyMap<string, Block>, at: number): void {
    this.#blocks = blocks
    for (const actor of this.#actors.values()) {
      const block = actor.endedAt === undefined ? blocks.get(processOf(actor)) : undefined
      if (actor.pid === undefined || actor.block === block) continue
      actor.block = block
      actor.version += 1
      mark(actor, at)
    }
  }

  #end(actor: Actor, at: number): void {
    actor.endedAt = at
    actor.block = undefined
    const ended = this.all.filter(({ endedAt, parent }) => endedAt !== undefined && parent !== undefined)
    const [oldest] = ended.toSorted((one, other) => (one.endedAt ?? 0) - (other.endedAt ?? 0))
    if (oldest && ended.length > MOST.ended) this.#forget(oldest.id)
  }
}

/** How somebody who passes by should take what a machine does. */
export function aspectOf({ block, scenes, phase }: Actor): Phase {
  return block ? 'troubled' : (scenes.shown?.phase ?? phase)
}

function mark(actor: Actor, at: number): void {
  keep(actor.marks, { at, phase: actor.block ? 'troubled' : actor.phase }, MOST.marks)
}

function take(actor: Actor, { status, value, tags = [], error, context }: SeenSnapshot): void {
  actor.status = status
  if (value !== undefined) {
    actor.value = value
    actor.leaves = leavesOf(value)
  }
  actor.tags = tags
  actor.error = error
  actor.context = context
  actor.progress = status === 'active' ? progressIn(context) : []
  actor.phase = phaseOf(status, actor.leaves)
}

/** A machine of somebody else's may call something else so. */
function progressIn(context: unknown): RunProgress[] {
  const { progress } = (context ?? {}) as { progress?: unknown }
  if (!Array.isArray(progress)) return []
  return progress.filter((run) => typeof run?.taskId === 'string' && typeof run.progress === 'number')
}

/** Which processes are blocked. A machine of somebody else's may call something else so. */
function blocksIn(context: unknown): ReadonlyMap<string, Block> {
  const { report } = (context ?? {}) as { report?: { processes?: unknown } }
  const processes: readonly SeenProcess[] = Array.isArray(report?.processes) ? report.processes : []
  return new Map(
    processes.flatMap((one) => {
      const block: Block | undefined = one?.blocked ? 'itself' : one?.gauges?.blocked ? 'broker' : undefined
      return block ? [[String(one.name), block] as const] : []
    }),
  )
}

interface SeenProcess {
  readonly name?: unknown
  readonly blocked?: unknown
  readonly gauges?: { readonly blocked?: unknown }
}

/** The name of the process that an actor lives in, with which its id begins. */
const processOf = ({ id }: Pick<Actor, 'id'>): string => id.split('/')[0] as string

function sceneOf({ value, phase, status, leaves, tags }: Actor, event: string, at: number): Scene {
  return { active: new Set(pathsOf(value)), value, tags, leaves, phase, status, event, at }
}

/**
 * The same event before, where the machine has come to no other state since. What is said again and again stands in a list
 * once, the last time, and drives nothing else out of it.
 */
function formerOf({ happenings }: Actor, event: string, from: string | undefined): Happening | undefined {
  const since = happenings.slice(happenings.findLastIndex(({ kind }) => kind === 'change') + 1)
  return since.find((one) => one.kind === 'event' && one.event === event && one.from === from)
}

function remove<T>(list: T[], one: T): void {
  const at = list.indexOf(one)
  if (at >= 0) list.splice(at, 1)
}

function keep<T>(list: T[], one: T, most: number): void {
  list.push(one)
  if (list.length > most) list.splice(0, list.length - most)
}

function definitionOf(text: string): Definition {
  try {
    const parsed = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? parsed : {}
  } catch {
    return {}
  }
}

/** The root of a process is called by its machine and its pid: `worker 4711`. */
function pidOf(name: string): number | undefined {
  const [, pid] = / (\d+)$/.exec(name) ?? []
  return pid === undefined ? undefined : Number(pid)
}
