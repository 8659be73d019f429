import type { InspectionNote } from '../../machines/protocol.ts'

type EventNote = Extract<InspectionNote, { type: 'event.sent' }>

/** The most notes of either kind that wait: events, and what nothing may take the place of. */
const MOST = { events: 200, lasting: 1_000 } as const

/**
 * Notes that wait to be told. A change takes the place of an earlier one of the same actor, unless that one is lasting;
 * whoever reads them knows in the end where every actor is, however late. An event that is sent again before it was told is
 * told once, with how often, the last time: a busy worker is told of every batch of tasks, and that is hundreds a second.
 * Different events that are too many are dropped and counted.
 */
export class Notes {
  readonly #waiting = new Map<string, InspectionNote>()
  #serial = 0
  #events = 0
  #lasting = 0
  #dropped = 0

  get isEmpty(): boolean {
    return this.#waiting.size === 0
  }

  add(note: InspectionNote): void {
    if (note.type === 'event.sent') this.#addEvent(note)
    else if (note.type === 'actor.changed') this.#addChange(note)
    else if (note.type === 'actor.registered' && this.#isFull) this.#dropped += 1
    else this.#appendLasting(note)
  }

  /** What waits, the first so many in their order. @param teller the actor by whose name it is said how many were dropped */
  take(most: number, teller: string): InspectionNote[] {
    const taken = [...this.#waiting].slice(0, most)
    for (const [key, note] of taken) this.#remove(key, note)
    const notes = taken.map(([, note]) => note)
    if (this.#dropped > 0)
      notes.push({ type: 'notes.dropped', id: teller, at: Date.now(), count: this.#dropped })
    this.#dropped = 0
    return notes
  }

  #remove(key: string, { type, id }: InspectionNote): void {
    this.#waiting.delete(key)
    if (type === 'event.sent') this.#events -= 1
    else if (key !== id) this.#lasting -= 1
  }

  #addEvent(note: EventNote): void {
    // None moves behind a lasting note that it may have led to.
    const key = `#${this.#serial} ${note.id} ${note.from} ${JSON.stringify(note.event)}`
    const same = this.#waiting.get(key) as EventNote | undefined
    if (same) {
      this.#waiting.delete(key)
      this.#waiting.set(key, { ...note, times: timesOf(same) + timesOf(note) })
    } else if (this.#events >= MOST.events) this.#dropped += timesOf(note)
    else {
      this.#events += 1
      this.#waiting.set(key, note)
    }
  }

  #addChange(note: Extract<InspectionNote, { type: 'actor.changed' }>): void {
    // Taken out first, so that the newest stands behind what led to it.
    this.#waiting.delete(note.id)
    if (note.lasting && !this.#isFull) this.#appendLasting(note)
    else this.#waiting.set(note.id, note)
  }

  get #isFull(): boolean {
    return this.#lasting >= MOST.lasting
  }

  #appendLasting(note: InspectionNote): void {
    this.#lasting += 1
    this.#serial += 1
    this.#waiting.set(`#${this.#serial}`, note)
  }
}

const timesOf = ({ times = 1 }: EventNote): number => times
