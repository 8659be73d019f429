/** The wire format of `@statelyai/inspect` 0.7: one JSON text a note, which the Stately inspector and its receivers read. */
import type { InspectionNote } from '../../machines/protocol.ts'
import { completed, droppedEvent } from './relay.ts'

/** What receivers check for; the version whose format this is. */
const VERSION = '0.7.2'

/** @param rootId the actor above all others */
export function toStately(note: InspectionNote, rootId: string): object | undefined {
  const common = { _version: VERSION, createdAt: String(note.at), id: null, rootId, sessionId: note.id }
  switch (note.type) {
    case 'actor.registered':
      return {
        ...{ type: '@xstate.actor', ...common, name: note.name, definition: JSON.stringify(note.definition) },
        ...(note.parent !== null && { parentId: note.parent }),
        snapshot: { status: 'active' },
      }
    case 'actor.changed':
      return { type: '@xstate.snapshot', ...common, event: note.event, snapshot: completed(note.snapshot) }
    case 'event.sent':
      return {
        ...{ type: '@xstate.event', ...common, event: note.event },
        ...(note.from !== null && { sourceId: note.from }),
        // Not in the format of `@statelyai/inspect`, whose receivers pass over it.
        ...(note.times !== undefined && { times: note.times }),
      }
    case 'notes.dropped':
      return { type: '@xstate.event', ...common, event: droppedEvent(note.count) }
    case 'actor.lost':
      // A hub has made ends of it before.
      return undefined
  }
}
