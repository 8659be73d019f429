/**
 * What the sentinel knows of its slots, and what follows from it: plain functions that its guards and actions call. A
 * slot is the place of one child process; whoever dies in it is replaced in it.
 */
import type { ChildInput, ChildReport } from './child.ts'
import type { Observed, PeerListening, ProcessStat, ReportedError, Role } from './protocol.ts'

/** What the sentinel knows of a slot. */
export interface Slot {
  readonly role: Role
  /** `leaving`: told to leave for good; until it is gone it holds what it has. */
  readonly state: 'starting' | 'up' | 'leaving' | 'down'
  readonly name: string
  readonly pid: number | null
  readonly socket: string | null
}

/** What of the sentinel's context its slots are. */
export interface Slots {
  /** Slots that are not gone for good, by id. */
  readonly slots: Readonly<Record<string, Slot>>
  /** The number of the worker slot that was made last. */
  readonly born: number
}

export type Died = Extract<ChildReport, { type: 'child.died' }>
export type Up = Extract<ChildReport, { type: 'child.up' }>

/** The order that asks a role to leave for good. */
const STOP_ORDER: Record<Role, string> = {
  worker: 'worker.stop',
  monitor: 'monitor.stop',
  scheduler: 'scheduler.stop',
  pusher: 'pusher.close',
}

/** Every slot of a cluster, sinks before the source that fills them. */
export function slotsOf({ workers, scheduler }: { workers: number; scheduler: boolean }): ChildInput[] {
  const ids = [...Array.from({ length: workers }, (_, n) => workerId(n + 1)), 'monitor']
  if (scheduler) ids.push('scheduler')
  return [...ids, 'pusher'].map(slot)
}

function slot(id: string): ChildInput {
  const role = id.replace(/-\d+$/, '') as Role
  return { id, role, stopOrder: { type: STOP_ORDER[role] } }
}

function workerId(number: number): string {
  return `worker-${number}`
}

export const STARTING: Omit<Slot, 'role'> = { state: 'starting', name: '', pid: null, socket: null }

export const idsOf = (context: Slots, role: Role): string[] =>
  Object.keys(context.slots).filter((id) => context.slots[id]?.role === role)

export const slotNamed = (context: Slots, name: string): string | undefined =>
  Object.keys(context.slots).find((id) => context.slots[id]?.name === name)

export const isUp = (context: Slots, id: string): boolean => context.slots[id]?.state === 'up'

/** Up, or leaving: it may hold something, so the others must know it. */
export const isPeer = (context: Slots, id: string): boolean =>
  isUp(context, id) || (context.slots[id]?.state === 'leaving' && context.slots[id].name !== '')

/** The workers that are to stay, the oldest first. */
export const staffOf = (context: Slots): string[] =>
  idsOf(context, 'worker').filter((id) => context.slots[id]?.state !== 'leaving')

/** The slot that was made last: while one is being replaced, its replacement. */
export const newest = (context: Slots): string => workerId(context.born)

/** A death is charged to the slot's restart budget unless a task explains it. */
export function isUnexplained(died: Died): boolean {
  return died.role !== 'worker' || died.testament.running.length === 0
}

/** Why a supervisor gives up: processes die, and no task explains it. */
export function restartsSpent(
  { maxRestarts, restartWindow }: { readonly maxRestarts: number; readonly restartWindow: number },
  role: ProcessStat['role'],
): ReportedError {
  return {
    name: 'ProcessExitError',
    code: 'QCLUSTER_RESTARTS',
    exitCode: 5,
    message:
      `More than ${maxRestarts} processes (the last one a ${role}) died within ${restartWindow / 1000} seconds ` +
      'without a task to blame; the cluster gives up. Find out why they die, or raise maxRestarts.',
  }
}

export function withSlot(context: Slots, id: string, change: Partial<Slot>): Slots['slots'] {
  const known = context.slots[id]
  return known ? { ...context.slots, [id]: { ...known, ...change } } : context.slots
}

export function withoutSlot(context: Slots, id: string): Slots['slots'] {
  const { [id]: _gone, ...rest } = context.slots
  return rest
}

/** Who must connect to whom now that `up` is there: both ways, so that the order of starts does not matter. */
export function introductions(context: Slots, up: Up): { to: string; order: PeerListening }[] {
  const role = context.slots[up.id]?.role
  const others = Object.keys(context.slots).filter((id) => id !== up.id && isPeer(context, id))
  const toOthers = others
    .filter((id) => listensTo(context.slots[id]?.role, role))
    .map((id) => ({ to: id, from: up.id }))
  const toIt = others
    .filter((id) => listensTo(role, context.slots[id]?.role))
    .map((id) => ({ to: up.id, from: id }))
  return [...toOthers, ...toIt].flatMap(({ to, from }) => {
    const peer = context.slots[from]
    if (!peer?.socket || (peer.role !== 'pusher' && peer.role !== 'monitor')) return []
    return [{ to, order: { type: 'peer.listening', role: peer.role, socket: peer.socket } as const }]
  })
}

function listensTo(role: Role | undefined, peer: Role | undefined): boolean {
  return (
    (role === 'worker' && (peer === 'pusher' || peer === 'monitor')) ||
    (role === 'monitor' && peer === 'pusher')
  )
}

/** What the sentinel knows of each slot, completed by what was seen of its process. */
export function processStats(
  { slots }: Pick<Slots, 'slots'>,
  seen: Readonly<Record<string, Observed>>,
): ProcessStat[] {
  return Object.entries(slots).map(([id, { role, state, name, pid }]) => {
    const isAlive = state === 'up' || state === 'leaving'
    const known = { id, role, name, pid, state: isAlive ? 'running' : state }
    return processStat(known, isAlive ? seen[name] : undefined)
  })
}

/** Tasks wait in the pusher, and every worker that is up is idle: a moment of it is ordinary. */
export function isIdling(context: Slots, seen: Readonly<Record<string, Observed>>): boolean {
  const seenOf = (role: Role) =>
    idsOf(context, role)
      .filter((id) => isUp(context, id))
      .flatMap((id) => seen[context.slots[id]?.name ?? ''] ?? [])
  const workers = seenOf('worker')
  const waits = seenOf('pusher').some(({ gauges }) => (gauges?.waiting ?? 0) > 0)
  return (
    waits &&
    workers.length > 0 &&
    workers.every(({ state, tasks }) => state === 'running.idle' && tasks.length === 0)
  )
}

/** A process in a stat: what is known of it, completed by what was seen of it. */
export function processStat(
  known: Pick<ProcessStat, 'id' | 'role' | 'name' | 'pid' | 'state'>,
  seen: Partial<Observed> | undefined,
): ProcessStat {
  return {
    ...known,
    state: seen?.state ?? known.state,
    rss: seen?.rss ?? null,
    cpu: seen?.cpu ?? null,
    delay: seen?.delay ?? null,
    heardAt: seen?.at ?? null,
    blocked: seen?.blocked ?? false,
    tasks: seen?.tasks ?? [],
    counters: seen?.counters ?? {},
    gauges: seen?.gauges ?? {},
  }
}

/** Adds up what was counted under the same names. */
export function sumOf(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const counts of all)
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count
  return sums
}

/** What of the enqueuer of actions is used by {@link hire} and {@link dismiss}. */
interface Enqueue {
  spawnChild(src: 'child', options: { readonly id: string; readonly input: ChildInput }): void
  sendTo(id: string, event: { readonly type: string }): void
  assign(change: Partial<Slots>): void
}

/** Starts so many more workers, in slots of their own. */
export function hire(count: number, context: Slots, enqueue: Enqueue): void {
  const numbers = freeNumbers(count, context)
  const inputs = numbers.map((number) => slot(workerId(number)))
  for (const input of inputs) enqueue.spawnChild('child', { id: input.id, input })
  const hired = Object.fromEntries(inputs.map(({ id, role }) => [id, { role, ...STARTING }]))
  enqueue.assign({ born: numbers.at(-1) ?? context.born, slots: { ...context.slots, ...hired } })
}

/**
 * The next numbers that no slot has, in turns over twice as many as there are slots. Numbers that only grow would make a
 * sentinel grow: a machine keeps for ever what it has looked up of a type of event, and the end of a child has the child's
 * id in its type. The lowest free ones would deal out the processors unevenly: see `processorsOf`.
 */
function freeNumbers(count: number, context: Slots): number[] {
  const most = 2 * (idsOf(context, 'worker').length + count)
  const numbers: number[] = []
  for (let last = context.born; numbers.length < count; ) {
    last = (last % most) + 1
    if (!(workerId(last) in context.slots)) numbers.push(last)
  }
  return numbers
}

/** Tells slots to leave for good: they finish what they have first. */
export function dismiss(ids: readonly string[], context: Slots, enqueue: Enqueue): void {
  for (const id of ids) enqueue.sendTo(id, { type: 'child.stop' })
  const leaving = ids.reduce(
    (slots, id) => withSlot({ ...context, slots }, id, { state: 'leaving' }),
    context.slots,
  )
  enqueue.assign({ slots: leaving })
}

export const isLiving = (context: Slots, id: string): boolean =>
  id in context.slots && context.slots[id]?.state !== 'down'
