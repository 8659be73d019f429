import type { Clock } from '../clock.ts'

interface Timer {
  readonly due: number
  readonly callback: () => void
  /** Whether a test is to stop there when it lets time pass. */
  readonly counts: boolean
}

/** A clock that stands still until it is moved. */
export class TestClock implements Clock {
  readonly #start: number
  readonly #timers = new Set<Timer>()
  #now: number

  /** @param start milliseconds since the epoch */
  constructor(start: number) {
    this.#start = start
    this.#now = start
  }

  /** The same clock for those whose timers only look after something now and then. */
  readonly background: Clock = {
    now: () => this.now(),
    elapsed: () => this.elapsed(),
    setTimeout: (callback, milliseconds) => this.#add(callback, milliseconds, false),
    clearTimeout: (timer) => this.clearTimeout(timer),
  }

  now(): number {
    return this.#now
  }

  elapsed(): bigint {
    return BigInt(Math.round((this.#now - this.#start) * 1e6))
  }

  setTimeout(callback: () => void, milliseconds: number): unknown {
    return this.#add(callback, milliseconds, true)
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer)
  }

  /** When the next timer that counts is due; Infinity where there is none. */
  get next(): number {
    return Math.min(...[...this.#timers].filter(({ counts }) => counts).map(({ due }) => due))
  }

  /** It is that late now: whose time has come is called, in that order, and each once. */
  moveTo(time: number): void {
    this.#now = Math.max(this.#now, time)
    const due = [...this.#timers].filter((timer) => timer.due <= this.#now)
    for (const timer of due.toSorted((a, b) => a.due - b.due))
      if (this.#timers.delete(timer)) timer.callback()
  }

  #add(callback: () => void, milliseconds: number, counts: boolean): Timer {
    const timer = { callback, due: this.#now + milliseconds, counts }
    this.#timers.add(timer)
    return timer
  }
}
