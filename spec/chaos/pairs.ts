/** What may happen where: made of the machines themselves, so that a new state is put to the test as soon as there is one. */
import type { AnyStateMachine, AnyStateNode } from 'xstate'
import { getStateNodes } from 'xstate/graph'
import {
  clusterMachine,
  monitorMachine,
  pusherMachine,
  schedulerMachine,
  sentinelMachine,
  workerMachine,
} from '../../machines/index.ts'

export const FAULTS = ['SIGKILL', 'SIGSTOP', 'SIGTERM'] as const

/** Something that happens to a role's process while its machine is in a state. */
export interface Blow {
  readonly role: string
  /** The state's id: `pusher.running.connected`. */
  readonly state: string
  readonly fault: (typeof FAULTS)[number]
}

const MACHINES: readonly AnyStateMachine[] = [
  ...[clusterMachine, sentinelMachine, workerMachine, monitorMachine, pusherMachine],
  schedulerMachine,
]

/** Every role with each of its states that can last. */
export function allBlows(): Blow[] {
  return MACHINES.flatMap((machine) =>
    getStateNodes(machine.root as AnyStateNode)
      .filter(({ type, id }) => type === 'atomic' && id !== 'cluster.idle')
      .flatMap(({ id: state }) => FAULTS.map((fault) => ({ role: machine.id, state, fault }))),
  )
}

/** What leads there, beside the start: orders to the cluster, the most particular first. */
const WAYS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/urgency\.aborting|urgency\.killing/, ['long', 'stop', 'abort']],
  [/exterminating/, ['long', 'stop', 'kill', 'kill']],
  [/outliving/, ['slay', 'stop']],
  [/reviving/, ['slay']],
  [/\.stopping/, ['stop']],
  [/\.paused/, ['pause']],
  [/scaling/, ['scale']],
  [/replacing/, ['reload']],
]

export function wayTo({ state }: Blow): readonly string[] {
  return WAYS.find(([pattern]) => pattern.test(state))?.[1] ?? []
}

/** The blows in an order that the seed decides. */
export function shuffled(blows: readonly Blow[], seed: number): Blow[] {
  const random = generator(seed)
  return blows
    .map((blow) => ({ blow, rank: random() }))
    .toSorted((one, other) => one.rank - other.rank)
    .map(({ blow }) => blow)
}

/** Mulberry32: as good as it need be, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
