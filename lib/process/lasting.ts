/** Which changes of a machine must be seen by whoever looks, however many there are. Both ends of an inspection go by it. */

/** The parts of a snapshot that tell. */
export interface Standing {
  readonly status: string
  readonly value?: unknown
  /** A set in the process itself, a list wherever it was sent to. */
  readonly tags?: unknown
}

/**
 * A change that is never swallowed: another top-level state, an end, or any change outside a state with the tag `running`.
 * So every stage of a stop is seen, and every state of a child slot, while a busy worker is seen as it is in the end.
 */
export function isLasting(before: Standing | undefined, after: Standing): boolean {
  if (before === undefined || before.status !== after.status) return true
  if (isSameState(before.value, after.value)) return false
  return !isRunning(after) || topOf(before.value) !== topOf(after.value)
}

function isRunning({ tags }: Standing): boolean {
  if (tags instanceof Set) return tags.has('running')
  return Array.isArray(tags) && tags.includes('running')
}

function isSameState(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other)
}

/** A parallel machine has no single top-level state, and is nowhere else either. */
function topOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.keys(value).join(' ')
}
