import type { AnyEventObject, InspectionEvent } from 'xstate'
import type { InspectionNote, SeenSnapshot } from '../../machines/protocol.ts'
import { toErrorRecord } from '../errors.ts'
import type { InspectionObserver, Watcher } from './hub.ts'

/** What an observer sees in an actor's place: the actor itself may live in another process. */
class StandIn {
  readonly id: string
  /** Unique over all processes and restarts. */
  readonly sessionId: string
  readonly src: string
  readonly logic: { readonly config: object }
  readonly _parent: StandIn | undefined
  snapshot: SeenSnapshot = { status: 'active' }

  constructor({ id, name, definition }: Registered, parent: StandIn | undefined) {
    this.id = name
    this.sessionId = id
    this.src = name
    this.logic = { config: definition }
    this._parent = parent
  }

  getSnapshot(): SeenSnapshot {
    return completed(this.snapshot)
  }
}

type Registered = Extract<InspectionNote, { type: 'actor.registered' }>

/** Tells an observer in XState's own events. It can neither throw at us nor reject. */
export function relayTo(observer: InspectionObserver): Watcher {
  const next = typeof observer === 'function' ? observer : (event: InspectionEvent) => observer.next?.(event)
  const standIns = new StandIns()
  let hasWarned = false
  const warn = (error: unknown) => {
    if (!hasWarned)
      process.emitWarning(`An observer of an inspection failed: ${toErrorRecord(error).message}`)
    hasWarned = true
  }
  return (notes) => {
    for (const event of notes.flatMap((note) => standIns.eventOf(note) ?? [])) tell(next, event, warn)
  }
}

function tell(
  next: (event: InspectionEvent) => unknown,
  event: InspectionEvent,
  warn: (error: unknown) => void,
): void {
  try {
    const told = next(event)
    if (told instanceof Promise) told.catch(warn)
  } catch (error) {
    warn(error)
  }
}

/** Stands in for each actor that one observer sees. */
class StandIns {
  readonly #standIns = new Map<string, StandIn>()

  eventOf(note: InspectionNote): InspectionEvent | undefined {
    if (note.type === 'actor.registered')
      this.#standIns.set(note.id, new StandIn(note, this.#refOf(note.parent)))
    const actorRef = this.#refOf(note.id)
    if (!actorRef) return undefined
    const happening = this.#happening(note, actorRef)
    return { rootId: rootOf(actorRef).sessionId, actorRef, ...happening } as unknown as InspectionEvent
  }

  #happening(note: InspectionNote, actor: StandIn): object {
    switch (note.type) {
      case 'actor.changed':
        actor.snapshot = note.snapshot
        if (note.snapshot.status !== 'active') this.#standIns.delete(note.id)
        return { type: '@xstate.snapshot', event: note.event, snapshot: actor.getSnapshot() }
      case 'event.sent':
        return {
          ...{ type: '@xstate.event', event: note.event, sourceRef: this.#refOf(note.from) },
          ...(note.times !== undefined && { times: note.times }),
        }
      case 'notes.dropped':
        return { type: '@xstate.event', event: droppedEvent(note.count), sourceRef: undefined }
      default:
        return { type: '@xstate.actor' }
    }
  }

  #refOf(id: string | null): StandIn | undefined {
    return id === null ? undefined : this.#standIns.get(id)
  }
}

function rootOf(actor: StandIn): StandIn {
  return actor._parent ? rootOf(actor._parent) : actor
}

/** That something is missing is told as an event of its own, which any viewer can show. */
export function droppedEvent(count: number): AnyEventObject {
  return { type: 'inspection.dropped', count }
}

/** A machine's snapshot as inspectors expect it: what is not shown is empty. */
export function completed(snapshot: SeenSnapshot): SeenSnapshot {
  if (snapshot.value === undefined) return snapshot
  return { context: {}, children: {}, historyValue: {}, tags: [], ...snapshot } as SeenSnapshot
}
