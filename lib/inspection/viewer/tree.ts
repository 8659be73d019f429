/** The machines as a tree, each slot in one row with the process that is in it; and the lanes of the sequence view. */
import type { Actor, Actors, Happening } from './actors.ts'

export interface Row {
  /** The machine, or the slot. */
  readonly actor: Actor
  /** The machine of the process that is in the slot, or was last. */
  readonly process: Actor | undefined
  readonly depth: number
  /** What comes next on this level, to be told to those who do not see the tree. */
  readonly position: number
  readonly siblings: number
}

/** Milliseconds for which one that has ended is still there to be seen. */
const FAREWELL = 5_000

/** @param now the time at the server */
export function rowsOf(actors: Actors, now: number): Row[] {
  const { root } = actors
  if (!root) return []
  const isSeen = ({ endedAt }: Actor) =>
    endedAt === undefined || root.endedAt !== undefined || now - endedAt < FAREWELL
  const rows = (actor: Actor, depth: number, position: number, siblings: number): Row[] => {
    const below = machinesBelow(actors, actor.id)
    const process = isSlot(actor, actors) ? below.at(-1) : undefined
    const shown = process ? [] : below.filter(isSeen)
    return [
      { actor, process, depth, position, siblings },
      ...shown.flatMap((child, at) => rows(child, depth + 1, at + 1, shown.length)),
    ]
  }
  const tops = root.chart ? [root] : machinesBelow(actors, root.id)
  return tops.flatMap((one, at) => rows(one, 0, at + 1, tops.length))
}

/** The machine that an actor belongs to: itself, or the next one above. */
function machineOf(actors: Actors, id: string | undefined): Actor | undefined {
  const actor = actors.get(id)
  return !actor || actor.chart ? actor : machineOf(actors, actor.parent)
}

/** The machine that is next above. */
export function parentOf(actors: Actors, { parent }: Actor): Actor | undefined {
  return machineOf(actors, parent)
}

/** The machine of the process that has taken the place of another. */
export function successorOf(actors: Actors, actor: Actor): Actor | undefined {
  const parent = parentOf(actors, actor)
  if (!parent || !isSlot(parent, actors)) return undefined
  const last = machinesBelow(actors, parent.id).at(-1)
  return last === actor ? undefined : last
}

/** What happened between two machines: an arrow, or a mark on one's own lane. */
export interface Line {
  readonly happening: Happening
  readonly from: Actor | undefined
  readonly to: Actor
}

/**
 * A process that is forked is two actors: one that stands for it in its parent, and the machine's in the process. What passes
 * between them is shown once, from machine to machine.
 */
export function lineOf(actors: Actors, happening: Happening): Line | undefined {
  const target = actors.get(happening.actor)
  if (!target) return undefined
  if (happening.kind !== 'event') return target.chart ? { happening, from: undefined, to: target } : undefined
  // Said to what stands for a process: its machine hears the same.
  if (!target.chart) return undefined
  return { happening, from: speakerOf(actors, target, actors.get(happening.from)), to: target }
}

function speakerOf(actors: Actors, target: Actor, source: Actor | undefined): Actor | undefined {
  if (!source || source.chart) return source
  // What stands for this process brings what is said above it; what stands for another one, what is said in that.
  if (source.id === target.parent) return parentOf(actors, target)
  return processOf(actors, source) ?? machineOf(actors, source.id)
}

function processOf(actors: Actors, standIn: Actor): Actor | undefined {
  return machinesBelow(actors, standIn.id).at(-1)
}

/** The machines right below one: those of a process too, which has an actor that stands for it in between. */
export function machinesBelow(actors: Actors, id: string): Actor[] {
  return actors.below(id).flatMap((actor) => (actor.chart ? [actor] : machinesBelow(actors, actor.id)))
}

/** A machine inside another's process which has a process of its own below it. */
function isSlot({ pid, parent, id }: Actor, actors: Actors): boolean {
  return (
    pid === undefined &&
    parent !== undefined &&
    machinesBelow(actors, id).some((one) => one.pid !== undefined)
  )
}
