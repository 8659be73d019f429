/** A cluster that is inspected from elsewhere: it is asked over the bus for what is new, again and again. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { InspectionNote } from '../../machines/protocol.ts'
import type { Client } from '../client.ts'
import { ask } from '../control.ts'
import { newClusterId } from '../names.ts'
import { Notes } from '../process/notes.ts'
import type { Hub, Source, Watcher } from './hub.ts'

/** What one asks for gets: notes with the number by which they are known to have arrived. */
export interface Batch {
  readonly number: number
  readonly notes: readonly InspectionNote[]
}

/** Milliseconds that an answer may wait for news; for which an onlooker is remembered; and between two answers. */
const TIMES = { news: 1_000, lease: 15_000, cycle: 100 } as const

/** Whoever looks at a cluster over the bus. */
export class Onlookers {
  readonly #hub: Hub
  readonly #onlookers = new Map<string, Onlooker>()

  constructor(hub: Hub) {
    this.#hub = hub
  }

  /**
   * What is new for this one since the batch that it has had last.
   * @param seen that batch's number; 0 for the first, which begins with the present
   */
  next(id: string, seen: number): Promise<Batch> {
    const known = this.#onlookers.get(id) ?? new Onlooker(this.#hub, () => this.#onlookers.delete(id))
    this.#onlookers.set(id, known)
    return known.next(seen)
  }
}

class Onlooker {
  readonly #hub: Hub
  readonly #notes = new Notes()
  readonly #lease: NodeJS.Timeout
  #batch: Batch = { number: 0, notes: [] }
  #tellNews = () => {}

  constructor(hub: Hub, onLeave: () => void) {
    this.#hub = hub
    const end = hub.watch((told) => {
      for (const note of told) this.#notes.add(note)
      this.#tellNews()
    })
    this.#lease = setTimeout(() => {
      end()
      onLeave()
    }, TIMES.lease).unref()
  }

  async next(seen: number): Promise<Batch> {
    this.#lease.refresh()
    if (seen === this.#batch.number && this.#notes.isEmpty) await this.#news()
    // What was answered got lost, or another question that was late: it is answered alike. Or it is someone who was
    // forgotten: they see it by the number.
    if (seen !== this.#batch.number) return this.#batch
    this.#batch = { number: seen + 1, notes: this.#notes.take(200, this.#hub.root) }
    return this.#batch
  }

  async #news(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#tellNews = resolve
    const patience = setTimeout(resolve, TIMES.news)
    await promise
    clearTimeout(patience)
  }
}

export interface RemoteOptions {
  readonly client: Client
  readonly clusterId: string
  /** Called when the cluster does not answer any more; nothing is asked then. */
  readonly onSilence: () => void
}

/** A cluster at our broker, on whatever machine. */
export function remoteSource(options: RemoteOptions): Source {
  let looking: AbortController | undefined
  return {
    open: (take) => {
      looking = new AbortController()
      void look(options, take, looking.signal)
    },
    close: () => looking?.abort(),
    flush: () => {},
  }
}

async function look({ client, clusterId, onSilence }: RemoteOptions, take: Watcher, signal: AbortSignal) {
  const id = newClusterId()
  let seen = 0
  for (let misses = 0; misses < MOST_MISSES; ) {
    const batch = await askFor(clusterId, [id, seen], client)
    if (signal.aborted) return
    misses = batch ? 0 : misses + 1
    if (batch) {
      // It has forgotten us, and begins with the present.
      if (batch.number < seen) take([everythingLost()])
      if (batch.number !== seen) take(batch.notes)
      seen = batch.number
    }
    await sleep(batch ? TIMES.cycle : TIMES.news)
  }
  take([everythingLost()])
  onSilence()
}

/** An answer may get lost, and a broker come back. */
const MOST_MISSES = 3

async function askFor(clusterId: string, args: unknown[], client: Client): Promise<Batch | undefined> {
  try {
    return (await ask(clusterId, 'inspect', { client, args }))?.result as Batch | undefined
  } catch {
    return undefined
  }
}

/** Below nobody is everybody. */
function everythingLost(): InspectionNote {
  return { type: 'actor.lost', id: '', at: Date.now(), code: null, signal: null }
}
