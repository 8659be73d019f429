/**
 * What is seen of an actor system: its own actors, and those of the processes that it has forked. It is looked at only
 * while somebody watches; until then nothing is attached to it and nothing is kept.
 */
import type { AnyActorLogic, AnyActorRef, AnyEventObject, InspectionEvent } from 'xstate'
import type { InspectionNote, Watch } from '../../machines/protocol.ts'
import { toErrorRecord } from '../errors.ts'
import { definitionOf } from './definition.ts'
import { isLasting } from './lasting.ts'
import { Notes } from './notes.ts'
import { type AnySnapshot, showEvent, showSnapshot } from './portrait.ts'

/** Milliseconds between two times that changes are told which a later one could take the place of. */
const CYCLE = 100

/** Milliseconds that what has waited in a forked process waits here for what comes from others at about the same time. */
const GATHERING = 20

/** Notes that are told in one message: a registration may have 5 kB, and the log uses the same channel. */
const MOST_AT_ONCE = 25

export interface WatchOptions {
  readonly root: AnyActorRef
  /** Of this process: what makes the ids of its actors unique. */
  readonly name: string
  /** The actor that stands for this process elsewhere; null where there is none. */
  readonly parent: string | null
  readonly payloads: () => boolean
  /** Takes notes, and calls `done` when it can take more; until then they wait here. */
  readonly tell: (notes: readonly InspectionNote[], done: () => void) => void
}

/** A forked process, as its inspection sees it. */
export interface Branch {
  /** The session of the actor that stands for it. */
  readonly actor: string
  /** Tells the process to inspect itself, or to cease. */
  readonly watch: (watch: Watch | null) => void
}

type AnyActorSystem = AnyActorRef['system']

const inspections = new WeakMap<AnyActorSystem, Inspection>()

/** The one inspection of an actor system. */
export function inspectionOf(system: AnyActorSystem): Inspection {
  const known = inspections.get(system) ?? new Inspection()
  inspections.set(system, known)
  return known
}

export class Inspection {
  readonly #branches = new Set<Branch>()
  #look: Look | undefined

  /** Begins to tell: what there is at once, then what happens. */
  open(options: WatchOptions): void {
    this.close()
    const look = new Look(options)
    this.#look = look
    for (const branch of this.#branches) branch.watch(look.watchOf(branch))
  }

  /** Ends it, here and in the forked processes. */
  close(): void {
    if (!this.#look) return
    this.#look.close()
    this.#look = undefined
    for (const branch of this.#branches) branch.watch(null)
  }

  /** Adds a forked process. Returns what takes it out again when it has ended. */
  join(branch: Branch): (end: { code: number | null; signal: string | null }) => void {
    this.#branches.add(branch)
    if (this.#look) branch.watch(this.#look.watchOf(branch))
    return (end) => {
      if (!this.#branches.delete(branch)) return
      this.#look?.pass([
        { type: 'actor.lost', id: this.#look.watchOf(branch).parent, at: Date.now(), ...end },
      ])
    }
  }

  /** Passes on what a forked process told. */
  pass(notes: readonly InspectionNote[]): void {
    this.#look?.pass(notes)
  }

  /** The root has failed, which XState tells nobody but those who have subscribed to it. */
  noteFailure(): void {
    this.#look?.noteFailure()
  }

  /** Tells what waits, where it can be told; true while something is left. */
  flush(): boolean {
    this.#look?.flush()
    return this.#look?.isBehind ?? false
  }
}

/** A look at a system, from the moment that somebody watches until nobody does. */
class Look {
  readonly #options: WatchOptions
  readonly #notes = new Notes()
  /** Session → the last snapshot that was seen, of every actor that lives. */
  readonly #seen = new Map<string, AnySnapshot | undefined>()
  readonly #subscription: { unsubscribe(): void }
  #timer: NodeJS.Timeout | undefined
  /** When what waits is told. */
  #due = Number.POSITIVE_INFINITY
  #isTelling = false
  #toldAt = 0

  constructor(options: WatchOptions) {
    this.#options = options
    const { root } = options
    this.#subscription = root.system.inspect({ next: (event) => this.#see(event) })
    this.#survey(root)
  }

  close(): void {
    this.#subscription.unsubscribe()
    this.#cancel()
  }

  get isBehind(): boolean {
    return this.#isTelling || !this.#notes.isEmpty
  }

  watchOf({ actor }: Branch): Watch {
    return { parent: this.#idOf(actor), payloads: this.#options.payloads() }
  }

  pass(notes: readonly InspectionNote[]): void {
    for (const note of notes) this.#notes.add(note)
    this.#tellWithin(notes.some(isUrgent) ? 0 : GATHERING)
  }

  noteFailure(): void {
    this.#change(this.#options.root, { type: 'xstate.error' })
  }

  flush(): void {
    this.#cancel()
    this.#toldAt = performance.now()
    if (this.#isTelling || this.#notes.isEmpty) return
    this.#isTelling = true
    const { root, tell } = this.#options
    tell(this.#notes.take(MOST_AT_ONCE, this.#idOf(root.sessionId)), () => {
      this.#isTelling = false
      if (!this.#notes.isEmpty) this.flush()
    })
  }

  /** Who is looked at must not notice: nothing that goes wrong here may reach the actor that it is about. */
  #see(event: InspectionEvent): void {
    try {
      const actor = event.actorRef as AnyActorRef
      if (event.type === '@xstate.actor') this.#register(actor)
      else if (event.type === '@xstate.event') this.#hear(actor, event)
      else if (event.type === '@xstate.snapshot') this.#change(actor, event.event)
    } catch (error) {
      process.emitWarning(`The inspection of an actor failed: ${toErrorRecord(error).message}`)
    }
  }

  /** What was there before anybody looked. */
  #survey(actor: AnyActorRef): void {
    this.#register(actor)
    this.#change(actor, { type: 'xstate.init' })
    const { children = {} } = (actor.getSnapshot() ?? {}) as { children?: Record<string, AnyActorRef> }
    for (const child of Object.values(children)) this.#survey(child)
  }

  #register(actor: AnyActorRef): void {
    if (this.#seen.has(actor.sessionId) || hasEnded(actor)) return
    const parent = actor._parent
    if (parent) this.#register(parent)
    this.#seen.set(actor.sessionId, undefined)
    this.#add({
      type: 'actor.registered',
      id: this.#idOf(actor.sessionId),
      at: Date.now(),
      parent: parent ? this.#idOf(parent.sessionId) : this.#options.parent,
      name: nameOf(actor),
      definition: definitionOf(logicOf(actor), actor.id),
    })
  }

  #hear(actor: AnyActorRef, { event, sourceRef }: Extract<InspectionEvent, { type: '@xstate.event' }>): void {
    this.#register(actor)
    if (!this.#seen.has(actor.sessionId)) return
    // An actor that threw says nothing any more: its parent hears of it.
    if (event.type.startsWith('xstate.error.actor.') && sourceRef)
      this.#change(sourceRef as AnyActorRef, event)
    this.#add({
      type: 'event.sent',
      id: this.#idOf(actor.sessionId),
      at: Date.now(),
      from: sourceRef ? this.#idOf(sourceRef.sessionId) : this.#senderTo(actor),
      event: showEvent(event, this.#options.payloads()),
    })
  }

  #change(actor: AnyActorRef, event: AnyEventObject): void {
    this.#register(actor)
    const snapshot = actor.getSnapshot() as AnySnapshot | undefined
    const { sessionId } = actor
    // Not there yet, not changed, or gone.
    if (!snapshot || !this.#seen.has(sessionId) || this.#seen.get(sessionId) === snapshot) return
    const lasting = isLasting(this.#seen.get(sessionId), snapshot)
    const payloads = this.#options.payloads()
    this.#add({
      type: 'actor.changed',
      id: this.#idOf(sessionId),
      at: Date.now(),
      event: showEvent(event, payloads),
      snapshot: showSnapshot(snapshot, payloads),
      lasting,
    })
    if (snapshot.status === 'active') this.#seen.set(sessionId, snapshot)
    else this.#seen.delete(sessionId)
  }

  #add(note: InspectionNote): void {
    this.#notes.add(note)
    // At once, with what else comes in this turn, where it is urgent or all has been quiet; else with the cycle.
    this.#tellWithin(isUrgent(note) ? 0 : Math.max(0, this.#toldAt + CYCLE - performance.now()))
  }

  #tellWithin(wait: number): void {
    const due = performance.now() + wait
    if (this.#due <= due) return
    this.#cancel()
    this.#due = due
    this.#timer = setTimeout(() => this.flush(), wait).unref()
  }

  #cancel(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#due = Number.POSITIVE_INFINITY
  }

  /** What came over the channel was sent by the actor that stands for this process. */
  #senderTo(actor: AnyActorRef): string | null {
    return actor === this.#options.root ? this.#options.parent : null
  }

  #idOf(sessionId: string): string {
    return `${this.#options.name}/${sessionId}`
  }
}

/** Whether it must not wait for the cycle. */
function isUrgent(note: InspectionNote): boolean {
  return note.type === 'actor.lost' || (note.type === 'actor.changed' && note.lasting)
}

/** While an actor is made it has no snapshot yet. */
function hasEnded(actor: AnyActorRef): boolean {
  const { status = 'active' } = (actor.getSnapshot() ?? {}) as Partial<AnySnapshot>
  return status !== 'active'
}

/** A process's root is called as its machine is, with the pid that people know it by. */
function nameOf(actor: AnyActorRef): string {
  const { id = actor.id } = logicOf(actor) as { id?: string }
  return actor._parent ? actor.id : `${id} ${process.pid}`
}

/** XState's own inspectors read it there, too. */
function logicOf(actor: AnyActorRef): AnyActorLogic {
  return (actor as unknown as { logic: AnyActorLogic }).logic
}
