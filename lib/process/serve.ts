import { flushCompileCache } from 'node:module'
import { type AnyActorLogic, type AnyActorRef, createActor, type EventObject } from 'xstate'
import type { InspectionNote, Measures, Vitals, Watch } from '../../machines/protocol.ts'
import { toErrorRecord } from '../errors.ts'
import { recorded } from './flight.ts'
import type { Downward, Upward } from './fork.ts'
import { type Inspection, inspectionOf } from './inspection.ts'
import { Pulse } from './vitals.ts'

/** What a child knows of itself when its logic is made. */
export interface ServedProcess {
  /** `Process-` and 32 hex digits, given by the parent. */
  readonly name: string
  readonly pid: number
  /** What the parent passed as the actor's input. */
  readonly input: unknown
  /** Sends a log record to the parent, in one message a turn; dropped and counted when the channel is full. */
  readonly record: (record: unknown) => void
  /** Sends the log records now, for a logic that is about to block this process. */
  readonly flush: () => void
  /** Says what else belongs to this process's vitals. What it returns is to be called whenever that may have changed. */
  readonly measure: (measures: () => Measures) => () => void
}

/** A root actor: its logic and, where the parent's input is not it, its input. */
export interface Root {
  readonly logic: AnyActorLogic
  readonly input?: unknown
  /** Milliseconds that the machine may take to end after its parent has vanished; 3,000 by default. */
  readonly orphanGrace?: number
  /** Sees each order before the machine does. */
  readonly onOrder?: (order: EventObject) => void
  /** Takes the log records that no parent is left to take; where it is absent they are dropped. */
  readonly onOrphanRecords?: (records: readonly unknown[]) => void
  /** Milliseconds between two times that the process tells its vitals at the least; absent: never. */
  readonly vitalsCycle?: number
  /** The directory where its flight recorder writes; absent: it has none. */
  readonly flightDirectory?: string
}

const channel = {
  records: [] as unknown[],
  scheduled: false,
  full: false,
  dropped: 0,
  inspection: undefined as Inspection | undefined,
  takeOrphans: (_records: readonly unknown[]): void => {},
}

/**
 * The child's end of `fromProcess`: runs `logic` as this process's root actor. Orders arrive as its events, and what it
 * emits goes up as reports. The process ends when the actor does: 0 when it is done, 1 when it failed, or when an error was
 * caught nowhere else (it is reported first). It ignores SIGINT, SIGTERM and SIGHUP, which a terminal or an init system sends to the whole group:
 * its parent leads. When the parent vanishes the actor gets `process.orphaned`.
 *
 * @example
 * serveProcess(machine)
 */
export function serveProcess(logic: AnyActorLogic | ((served: ServedProcess) => Root | Promise<Root>)): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  // Also what a timer throws, or a promise that nobody waits for: whoever reads the log is to see it, not only stderr.
  process.on('uncaughtException', fail)
  const early: EventObject[] = []
  let begun: Begun | undefined
  let watch: Watch | null = null
  const deliver = (event: EventObject) => (begun ? begun.deliver(event) : early.push(event))

  process.on('message', (message: Downward) => {
    if (message.kind === 'event') deliver(message.event)
    else if (message.kind === 'watch') {
      watch = message.watch
      begun?.inspect(watch)
    } else
      void begin(logic, message, () => watch).then((one) => {
        begun = one
        // It may have come in the same batch as the input.
        one.inspect(watch)
        for (const event of early.splice(0)) one.deliver(event)
      }, fail)
  })
  process.on('disconnect', () => {
    channel.inspection?.close()
    deliver({ type: 'process.orphaned' })
    setTimeout(() => process.exit(1), begun?.orphanGrace ?? 3_000).unref()
  })
}

interface Begun {
  readonly deliver: (event: EventObject) => void
  readonly inspect: (watch: Watch | null) => void
  readonly orphanGrace: number | undefined
}

async function begin(
  logic: Parameters<typeof serveProcess>[0],
  { name, input }: Extract<Downward, { kind: 'init' }>,
  watch: () => Watch | null,
): Promise<Begun> {
  let measures: () => Measures = () => ({})
  let pulse: Pulse | undefined
  const measure = (given: () => Measures) => {
    measures = given
    return () => pulse?.stir()
  }
  const root: Root =
    typeof logic === 'function'
      ? await logic({ name, pid: process.pid, input, record, flush: flushRecords, measure })
      : { logic, input }
  const { flightDirectory } = root
  const top = flightDirectory === undefined ? root.logic : recorded(root.logic, flightDirectory, name)
  const actor = createActor(top, { input: 'input' in root ? root.input : input, id: name })
  actor.on('*', (event) => report({ kind: 'event', event }))
  // Otherwise compiled code is kept at the exit only, and a process that is killed has none.
  actor.on('process.ready', () => setImmediate(flushCompileCache))
  actor.subscribe({ next: () => pulse?.stir(), error: fail, complete: () => void leave(0) })
  channel.inspection = inspectionOf(actor.system)
  let watched: Watch | null = null
  const inspect = (wanted: Watch | null) => {
    if (wanted === watched) return
    watched = wanted
    inspectFor(wanted, actor, name)
  }
  inspect(watch())
  actor.start()
  pulse = pulseOf(root, actor, () => measures())
  channel.takeOrphans = root.onOrphanRecords ?? channel.takeOrphans
  const deliver = (event: EventObject) => {
    root.onOrder?.(event)
    actor.send(event)
  }
  return { deliver, inspect, orphanGrace: root.orphanGrace }
}

function inspectFor(watch: Watch | null, root: AnyActorRef, name: string): void {
  const inspection = inspectionOf(root.system)
  if (watch)
    inspection.open({ root, name, parent: watch.parent, payloads: () => watch.payloads, tell: tellNotes })
  else inspection.close()
}

/** One message is on its way at a time, so that the log, which uses the same channel, has room. */
function tellNotes(notes: readonly InspectionNote[], done: () => void): void {
  if (process.connected) process.send?.({ kind: 'notes', notes } satisfies Upward, () => done())
}

/** Its first beat is now, so that a process which blocks while it loads is known too. */
function pulseOf(
  { vitalsCycle: cycle }: Root,
  actor: AnyActorRef,
  measures: () => Measures,
): Pulse | undefined {
  if (cycle === undefined) return undefined
  const pulse = new Pulse({ cycle, snapshot: () => actor.getSnapshot(), measures, tell: tellVitals })
  pulse.beat()
  return pulse
}

function fail(error: unknown): void {
  channel.inspection?.noteFailure()
  if (!process.connected) console.error(error)
  report({ kind: 'error', error: toErrorRecord(error) })
  void leave(1)
}

/** What was recorded before a report arrives before it, so that the log tells things in their order. */
function report(message: Upward): void {
  flushRecords()
  // A parent that is gone, though nobody was told yet, must not count as an error of ours: `disconnect` comes next.
  if (process.connected) process.send?.(message, () => {})
}

/** Vitals that find the channel full are left out: the next ones say more. */
function tellVitals(vitals: Vitals): void {
  if (channel.full || !process.connected) return
  const room = process.send?.({ kind: 'vitals', vitals } satisfies Upward, () => reopen())
  if (room === false) channel.full = true
}

function record(entry: unknown): void {
  if (channel.full && process.connected) {
    channel.dropped += 1
    return
  }
  channel.records.push(entry)
  if (channel.scheduled) return
  channel.scheduled = true
  setImmediate(flushRecords)
}

function flushRecords(): void {
  channel.scheduled = false
  const records = channel.records.splice(0)
  if (records.length === 0) return
  if (!process.connected) {
    channel.takeOrphans(records)
    return
  }
  const sent = (error: Error | null) => {
    if (error) channel.takeOrphans(records)
    else reopen()
  }
  const room = process.send?.({ kind: 'records', records } satisfies Upward, sent)
  if (room === false) channel.full = true
}

function reopen(): void {
  if (!channel.full) return
  channel.full = false
  if (channel.dropped === 0) return
  record({ at: Date.now(), level: 'warn', event: 'records.dropped', count: channel.dropped })
  channel.dropped = 0
}

/** Waits until the last message has left: one sent right before `exit` may otherwise never arrive. */
async function leave(code: number): Promise<void> {
  let isBehind: boolean | undefined
  do {
    flushRecords()
    await allSent()
    // Its last change is seen only after it has ended.
    isBehind = channel.inspection?.flush()
    // What was sent may have made room for the count of records that were dropped before.
  } while (process.connected && (channel.records.length > 0 || isBehind))
  process.exit(code)
}

async function allSent(): Promise<void> {
  if (process.connected)
    await new Promise((resolve) => process.send?.({ kind: 'records', records: [] } satisfies Upward, resolve))
}
