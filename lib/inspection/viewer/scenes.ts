/**
 * What a diagram shows of a machine, one state after the other. A state that is gone again before anybody could have seen it
 * stays for a moment all the same, where it is one that must not be missed; the more are waiting, the shorter.
 */
import { isLasting, type Standing } from '../../process/lasting.ts'
import { arrowKey, type Chart, type Transition } from './chart.ts'
import type { Phase } from './phase.ts'

export interface Scene extends Standing {
  /** The paths of all active states. */
  readonly active: ReadonlySet<string>
  readonly leaves: readonly string[]
  readonly phase: Phase
  /** What led to it. */
  readonly event: string
  readonly at: number
}

/** Milliseconds that each of a few is shown, and all that wait together. */
const TIMES = { one: 260, all: 1_500 } as const
const MOST_WAITING = 200

export class Scenes {
  readonly #chart: Chart | undefined
  readonly #waiting: Scene[] = []
  #shownAt = Number.NEGATIVE_INFINITY
  /** What is shown. */
  shown: Scene | undefined
  /** What was shown before it. */
  before: Scene | undefined
  /** The arrows that were followed to it. */
  followed: ReadonlySet<string> = new Set()
  /** How many have been shown. */
  count = 0

  constructor(chart: Chart | undefined) {
    this.#chart = chart
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  add(scene: Scene): void {
    const last = this.#waiting.at(-1)
    if (last && !isLasting(this.#waiting.at(-2) ?? this.shown, last)) this.#waiting.pop()
    this.#waiting.push(scene)
    if (this.#waiting.length > MOST_WAITING) this.#waiting.shift()
  }

  /** Shows the next one if its time has come. True if it has. */
  play(now: number): boolean {
    const time = Math.min(TIMES.one, TIMES.all / this.#waiting.length)
    if (this.#waiting.length === 0 || now - this.#shownAt < time) return false
    const next = this.#waiting.shift() as Scene
    this.followed = this.shown && this.#chart ? followedBetween(this.#chart, this.shown, next) : new Set()
    this.before = this.shown
    this.shown = next
    this.#shownAt = now
    this.count += 1
    return true
  }
}

/** The arrows that lead from one state to the next, as far as it can be told: several changes may have been told as one. */
function followedBetween({ transitions }: Chart, before: Scene, after: Scene): Set<string> {
  const isEntered = (path: string) => after.active.has(path) && !before.active.has(path)
  const drawn = transitions.filter((one): one is Transition & { to: string } => one.to !== undefined)
  const heard = drawn.filter((one) => before.active.has(one.from) && isCause(one, after.event))
  // Of those that hear the same the innermost is followed, where it leads to what is active now.
  const [first] = heard
    .filter(({ to }) => isEntered(to))
    .toSorted((one, other) => depthOf(other) - depthOf(one))
  const start = first ?? heard.toSorted((one, other) => depthOf(other) - depthOf(one))[0]
  const next = drawn.filter(
    ({ kind, from, to }) =>
      kind === 'always' && isEntered(to) && (!after.active.has(from) || from === start?.to),
  )
  return new Set([...(start ? [start] : []), ...next].map(({ from, to }) => arrowKey(from, to)))
}

function depthOf({ from }: Transition): number {
  return from === '' ? 0 : from.split('.').length
}

/** Whether a transition is one that such an event begins. */
function isCause({ kind, event }: Transition, type: string): boolean {
  if (kind === 'always') return false
  if (kind === 'after') return type.startsWith(`xstate.after.${event}.`)
  if (kind === 'done') return type.startsWith('xstate.done.')
  if (kind === 'error') return type.startsWith('xstate.error.')
  return event === type || event === '*' || (event.endsWith('.*') && type.startsWith(event.slice(0, -1)))
}
