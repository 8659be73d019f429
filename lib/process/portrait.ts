/** What is shown of snapshots and events: where a machine is and what was said to it; what it is about only where asked for. */
import type { AnyEventObject } from 'xstate'
import type { EventSeen, SeenSnapshot } from '../../machines/protocol.ts'

/** The parts of any actor's snapshot. */
export interface AnySnapshot {
  readonly status: string
  readonly value?: unknown
  readonly tags?: unknown
  readonly context?: unknown
  readonly input?: unknown
  readonly output?: unknown
  readonly error?: unknown
}

/** The most values that are shown of one payload, of one text's characters, and of its depth. */
const MOST = { values: 1_000, characters: 1_000, depth: 8 } as const

/** @param payloads whether what the actor is about may be seen, too */
export function showSnapshot(snapshot: AnySnapshot, payloads: boolean): SeenSnapshot {
  const { status, value, tags, error } = snapshot
  return {
    status,
    ...(value !== undefined && { value }),
    ...(tags instanceof Set && { tags: [...tags] as string[] }),
    ...(error !== undefined && { error: showError(error, payloads) }),
    ...(payloads ? payloadsOf(snapshot) : contextShownOf(snapshot)),
  }
}

/** An event's type, and its fields where payloads may be seen. */
export function showEvent(event: AnyEventObject, payloads: boolean): EventSeen {
  return payloads ? { ...(showPayload(event) as object), type: event.type } : { type: event.type }
}

/** Anything as plain data of a bounded size. Never throws. */
export function showPayload(value: unknown): unknown {
  let left: number = MOST.values
  const show = (one: unknown, depth: number): unknown => {
    left -= 1
    if (left < 0 || depth > MOST.depth) return '…'
    if (typeof one === 'string') return shortened(one)
    if (typeof one === 'bigint' || typeof one === 'symbol') return String(one)
    if (typeof one === 'function') return `[function ${one.name}]`
    if (typeof one !== 'object' || one === null) return one
    return showObject(one, (part) => show(part, depth + 1), left)
  }
  return show(value, 0)
}

function showObject(one: object, show: (part: unknown) => unknown, most: number): unknown {
  try {
    if (one instanceof Error) return { name: one.name, message: shortened(one.message) }
    if (one instanceof Date) return one.toJSON()
    if (isActor(one)) return `[actor ${one.id}]`
    if (one instanceof Map || one instanceof Set) return [...one].slice(0, most).map(show)
    if (ArrayBuffer.isView(one)) return `[${one.byteLength} bytes]`
    if (Array.isArray(one)) return one.slice(0, most).map(show)
    return Object.fromEntries(
      Object.entries(one)
        .slice(0, most)
        .map(([key, part]) => [key, show(part)]),
    )
  } catch {
    // A getter of somebody else's threw.
    return '[unreadable]'
  }
}

/** An actor would bring its whole system along. */
function isActor(one: object): one is { readonly id: string } {
  return 'sessionId' in one && 'send' in one
}

function showError(error: unknown, payloads: boolean): unknown {
  const { name = 'Error', code, message } = (error ?? {}) as Partial<Error> & { code?: unknown }
  const shown = { name: String(name), ...(typeof code === 'string' && { code }) }
  return payloads ? { ...shown, message: shortened(String(message ?? error)) } : shown
}

/** Of our own machines everybody is told how far the runs of a worker are, without their words, and which processes are blocked. */
function contextShownOf({ context }: AnySnapshot): Pick<SeenSnapshot, 'context'> {
  const { progress, report } = (context ?? {}) as { progress?: unknown; report?: { processes?: unknown } }
  const runs = listOf(progress)
    .filter(isRunProgress)
    .map((run) => ({ taskId: run.taskId, progress: run.progress }))
  const processes = listOf(report?.processes).flatMap(blockedOf)
  if (runs.length + processes.length === 0) return {}
  return {
    context: {
      ...(runs.length > 0 && { progress: runs }),
      ...(processes.length > 0 && { report: { processes } }),
    },
  }
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/** A process in a cluster's report that is blocked itself, or by its broker. */
function blockedOf(process: unknown): object[] {
  const { name, blocked, gauges } = (process ?? {}) as {
    readonly name?: unknown
    readonly blocked?: unknown
    readonly gauges?: { readonly blocked?: unknown }
  }
  if (typeof name !== 'string' || !OUR_NAMES.test(name)) return []
  const isByBroker = Number(gauges?.blocked) > 0
  if (blocked !== true && !isByBroker) return []
  return [{ name, blocked: blocked === true, ...(isByBroker && { gauges: { blocked: 1 } }) }]
}

function isRunProgress(run: unknown): run is { taskId: string; progress: number } {
  const { taskId, progress } = (run ?? {}) as Partial<{ taskId: string; progress: number }>
  return typeof taskId === 'string' && OUR_NAMES.test(taskId) && typeof progress === 'number'
}

function payloadsOf(snapshot: AnySnapshot): object {
  const kinds = (['context', 'input', 'output'] as const).filter((kind) => snapshot[kind] !== undefined)
  return Object.fromEntries(kinds.map((kind) => [kind, showPayload(snapshot[kind])]))
}

function shortened(text: string): string {
  return text.length > MOST.characters ? `${text.slice(0, MOST.characters)}…` : text
}

/** Keys whose texts are words of our own machines and never a user's. */
const OUR_WORDS: ReadonlySet<string> = new Set([
  ...['type', 'id', 'actorId', 'role', 'state', 'cause', 'signal', 'src', 'due'],
])
/** What we have named ourselves: processes and tasks by their ids. */
const OUR_NAMES = /^(Process-)?[0-9a-f]{32}$/

/**
 * What a machine decides by, of an event or a context: numbers, words of ours, and what we have named. All other texts are
 * left out, so that no secret, argument, result or message of an error comes along; that there was one is still seen.
 */
export function decisive<T>(value: T): T {
  return onlyDecisive(value, '') as T
}

function onlyDecisive(value: unknown, key: string): unknown {
  if (typeof value === 'string') return OUR_WORDS.has(key) || OUR_NAMES.test(value) ? value : ''
  if (Array.isArray(value)) return value.map((one) => onlyDecisive(one, key))
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? undefined : value
  if (value instanceof Error || key === 'error') return named(value)
  if (isActor(value)) return undefined
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, onlyDecisive(one, name)]))
}

function named({
  name = 'Error',
  exitCode,
}: {
  readonly name?: unknown
  readonly exitCode?: unknown
}): object {
  return { name: String(name), ...(typeof exitCode === 'number' && { exitCode }) }
}
