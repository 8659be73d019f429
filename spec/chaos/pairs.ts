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
import { randomOf } from '../random.ts'

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
      .filter(canLast)
      .flatMap(({ id: state }) => FAULTS.map((fault) => ({ role: machine.id, state, fault }))),
  )
}

/** Not a final one, none that is left at once whatever the case, and none of before the start. */
function canLast({ type, id, always = [] }: AnyStateNode): boolean {
  return type === 'atomic' && id !== 'cluster.idle' && always.every(({ guard }) => guard !== undefined)
}

type Order = keyof typeof ORDERS

/** What an order needs to be under way before the next one is given, in milliseconds. */
export const ORDERS = {
  /** Tasks that take seconds. */
  long: 150,
  ...{ pause: 150, scale: 150, reload: 150, stop: 150, abort: 150, kill: 150, killTwice: 150 },
  ...{ slaySentinel: 0, slayPusher: 1_000, slayWorkers: 150, slayAbove: 150 },
} as const

/** What leads to a state, beside the start and the load. */
export interface Way {
  /** Orders to the cluster, given one by one. */
  readonly orders?: readonly Order[]
  /** The state on whose entry the role's process loses its files and its connections, until it is held. */
  readonly outage?: string
  /** What the machine hears as soon as it enters a state. */
  readonly nudge?: { readonly state: string; readonly type: string }
}

/** The most particular first. */
const WAYS: readonly (readonly [RegExp, Way])[] = [
  [/urgency\.aborting/, { orders: ['long', 'stop', 'abort'] }],
  [/urgency\.killing/, { orders: ['long', 'stop', 'kill'] }],
  // All are soon gone after the first one.
  [/exterminating/, { orders: ['long', 'stop', 'killTwice'] }],
  [/pusher\.stopping\.outliving/, { orders: ['long', 'slayAbove'] }],
  [/cluster\.stopping\.outliving/, { orders: ['slaySentinel', 'stop'] }],
  [/reviving/, { orders: ['slaySentinel'] }],
  // What is left to save when it is told to stop is what workers have told it that were killed then.
  [
    /monitor\.stopping\.(re)?connecting/,
    { orders: ['long', 'stop', 'slayWorkers'], outage: 'monitor.running.connected' },
  ],
  // It lasts as long as somebody has not yet said what he holds: not each time.
  [/joiningPaused/, { orders: ['pause', 'slayPusher', 'slayPusher', 'slayPusher'] }],
  [/(pusher|monitor)\.running\.(re)?connecting/, { outage: '$1.running.connected' }],
  // On a slow machine the first look has met all slots, and there is no reason for another one.
  [
    /scheduler\.running\.reconnecting/,
    {
      outage: 'scheduler.running.waiting',
      nudge: { state: 'scheduler.running.waiting', type: 'timetable.changed' },
    },
  ],
  [/outdated/, { nudge: { state: 'scheduler.running.looking', type: 'timetable.changed' } }],
  [/scheduler\.stopping/, { nudge: { state: 'scheduler.running.looking', type: 'scheduler.stop' } }],
  [/\.stopping/, { orders: ['stop'] }],
  [/\.paused/, { orders: ['pause'] }],
  [/scaling/, { orders: ['scale'] }],
  [/replacing/, { orders: ['reload'] }],
]

export function wayTo({ role, state }: Blow): Way {
  const way = WAYS.find(([pattern]) => pattern.test(state))?.[1] ?? {}
  return way.outage === undefined ? way : { ...way, outage: way.outage.replace('$1', role) }
}

/** The blows in an order that the seed decides. */
export function shuffled(blows: readonly Blow[], seed: number): Blow[] {
  const random = randomOf(seed)
  return blows
    .map((blow) => ({ blow, rank: random() }))
    .toSorted((one, other) => one.rank - other.rank)
    .map(({ blow }) => blow)
}
