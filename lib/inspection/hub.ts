import type { AnyActorRef, InspectionEvent, Observer } from 'xstate'
import type { InspectionNote, SeenSnapshot } from '../../machines/protocol.ts'
import { toErrorRecord } from '../errors.ts'
import { processName } from '../names.ts'
import { inspectionOf } from '../process/inspection.ts'
import { relayTo } from './relay.ts'

/** Whoever inspects: an observer as XState takes it, or a plain function. */
export type InspectionObserver = Observer<InspectionEvent> | ((event: InspectionEvent) => void)

/** Takes notes, in their order. */
export type Watcher = (notes: readonly InspectionNote[]) => void

/** Where a hub has its notes from, while somebody watches. */
export interface Source {
  /** Tells the present first. */
  open(take: Watcher): void
  close(): void
  /** Tells at once what waits. */
  flush(): void
}

/** What an inspector is shown beside states and the names of events. */
export interface InspectOptions {
  /** Shows contexts, inputs, outputs, messages of errors and the fields of events too. */
  readonly payloads?: boolean
}

type Registered = Extract<InspectionNote, { type: 'actor.registered' }>
type Changed = Extract<InspectionNote, { type: 'actor.changed' }>
type Lost = Extract<InspectionNote, { type: 'actor.lost' }>

/** An actor that lives. */
interface Known {
  readonly registered: Registered
  /** With which it came to the state that it is in; and the last of all. */
  arrived?: Changed
  changed?: Changed
}

/** What all watchers have in common: a table of the actors that live, so that one who comes late has the whole present. */
export class Hub {
  readonly #source: Source
  readonly #watchers = new Set<Watcher>()
  readonly #actors = new Map<string, Known>()
  #root = ''

  constructor(source: Source) {
    this.#source = source
  }

  /** The id of the actor above all others, once it is known. */
  get root(): string {
    return this.#root
  }

  /** Tells the present, then what happens. Returns what ends it. */
  watch(watcher: Watcher): () => void {
    // The same function may watch twice; each of them is ended by itself.
    const own: Watcher = (notes) => watcher(notes)
    this.#watchers.add(own)
    if (this.#watchers.size === 1) this.#source.open((notes) => this.#take(notes))
    else this.#tell(own, this.#present())
    return () => this.#leave(own)
  }

  /** The same for an observer of XState's. */
  observe(observer: InspectionObserver): () => void {
    return this.watch(relayTo(observer))
  }

  /** Tells at once what waits. */
  flush(): void {
    if (this.#watchers.size > 0) this.#source.flush()
  }

  #leave(watcher: Watcher): void {
    if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return
    this.#source.close()
    this.#actors.clear()
  }

  #present(): InspectionNote[] {
    return [...this.#actors.values()].flatMap(presentOf)
  }

  #take(told: readonly InspectionNote[]): void {
    const notes = told.flatMap((note) => (note.type === 'actor.lost' ? this.#endsOf(note) : [note]))
    const known = notes.filter((note) => this.#enter(note))
    for (const watcher of this.#watchers) this.#tell(watcher, known)
  }

  /** Keeps the table. False for what is about nobody that is known. */
  #enter(note: InspectionNote): boolean {
    if (note.type === 'actor.registered') {
      this.#actors.set(note.id, { registered: note })
      if (note.parent === null) this.#root = note.id
    }
    const known = this.#actors.get(note.id)
    if (!known) return false
    if (note.type !== 'actor.changed') return true
    if (!known.arrived || !isSameState(known.arrived, note)) known.arrived = note
    known.changed = note
    if (note.snapshot.status !== 'active') this.#actors.delete(note.id)
    return true
  }

  /** Everyone below the actor that stood for a process has ended with it, and could not say so any more. */
  #endsOf({ id, at, code, signal }: Lost): Changed[] {
    const end = {
      type: 'actor.changed',
      at,
      lasting: true,
      event: { type: 'process.exited', code, signal },
    } as const
    return this.#below(id).map((lost) => ({ ...end, id: lost.registered.id, snapshot: lastOf(lost, code) }))
  }

  #below(id: string): Known[] {
    const children = [...this.#actors.values()].filter(({ registered }) => (registered.parent ?? '') === id)
    return children.flatMap((child) => [...this.#below(child.registered.id), child])
  }

  /** A watcher that fails harms nobody else. */
  #tell(watcher: Watcher, notes: readonly InspectionNote[]): void {
    try {
      if (notes.length > 0) watcher(notes)
    } catch (error) {
      process.emitWarning(`Somebody who inspects failed: ${toErrorRecord(error).message}`)
    }
  }
}

/** When it came to where it is, too: the note that tells it must outlast the newer one. */
function presentOf({ registered, arrived, changed }: Known): InspectionNote[] {
  if (!arrived || !changed) return [registered]
  return arrived === changed ? [registered, changed] : [registered, { ...arrived, lasting: true }, changed]
}

function isSameState({ snapshot: one }: Changed, { snapshot: other }: Changed): boolean {
  return JSON.stringify(one.value) === JSON.stringify(other.value)
}

/** It is where it was, and goes on no more. */
function lastOf({ changed }: Known, code: number | null): SeenSnapshot {
  return { ...changed?.snapshot, status: code === 0 ? 'stopped' : 'error' }
}

/** An actor system of this process, with the processes that it has forked. */
export function sourceOf(root: AnyActorRef, payloads: () => boolean, name: string): Source {
  const inspection = inspectionOf(root.system)
  return {
    open: (take) =>
      inspection.open({
        ...{ root, name, payloads, parent: null },
        tell: (notes, done) => {
          take(notes)
          done()
        },
      }),
    close: () => inspection.close(),
    flush: () => void inspection.flush(),
  }
}

const hubs = new WeakMap<AnyActorRef['system'], Hub>()

/**
 * Shows everything that lives in an actor system to an observer: its actors, and those of every process that it forks with
 * `fromProcess`. What is there already is told first. Only while somebody looks does anybody tell anything. Of several
 * observers of one system the first decides about payloads.
 *
 * @example
 * const actor = createActor(machine).start()
 * const end = inspect(actor, createWebSocketInspector({ url: 'ws://localhost:8080' }).inspect)
 * @returns what ends it
 */
export function inspect(
  actor: AnyActorRef,
  observer: InspectionObserver,
  { payloads = false }: InspectOptions = {},
): () => void {
  const { system } = actor
  const hub = hubs.get(system) ?? new Hub(sourceOf(rootOf(actor), () => payloads, processName()))
  hubs.set(system, hub)
  return hub.observe(observer)
}

function rootOf(actor: AnyActorRef): AnyActorRef {
  return actor._parent ? rootOf(actor._parent) : actor
}
