/** Below this a run counts as tiny: others may wait behind it. Milliseconds. */
export const TINY = 5
/**
 * The most runs, and the most expected milliseconds of work, that wait in one worker. A worker whose runs turn out to
 * take longer returns what waits behind them.
 */
const MOST_AHEAD = 256
const MOST_WORK = 10

/** The unfinished runs of one worker, counted by task name. */
export class Backlog {
  readonly #counts = new Map<string, number>()
  #size = 0
  #isFilling = true

  /** How many there are. */
  get size(): number {
    return this.#size
  }

  /** How many there are of each name. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts
  }

  /** False from the moment that it was full until half of it is done: what is sent ahead then travels in few frames. */
  get isFilling(): boolean {
    return this.#isFilling
  }

  add(func: string): void {
    this.#size += 1
    this.#counts.set(func, (this.#counts.get(func) ?? 0) + 1)
    if (this.#size >= MOST_AHEAD) this.#isFilling = false
  }

  remove(func: string): void {
    this.#size -= 1
    const count = (this.#counts.get(func) ?? 0) - 1
    if (count > 0) this.#counts.set(func, count)
    else this.#counts.delete(func)
    if (this.#size <= MOST_AHEAD / 2) this.#isFilling = true
  }
}

/** What the pusher learns of each task name, and what it follows from it for a worker's window. */
export class Window {
  readonly #averages = new Map<string, number>()
  #runTime: number | undefined

  /** Expected milliseconds of a run of any name: a moving average over some dozens; undefined before the first. */
  get runTime(): number | undefined {
    return this.#runTime
  }

  /** Takes in that a run of `func` took so many milliseconds: a moving average that follows within a few runs. */
  learn(func: string, took: number): void {
    this.#runTime = this.#runTime === undefined ? took : this.#runTime + (took - this.#runTime) / 32
    const average = this.#averages.get(func)
    // A slow run counts at once, a fast one gradually: it is dearer to wait behind a slow run than to send one late.
    const next = average === undefined || took > average ? took : average + (took - average) / 4
    if (average === undefined && this.#averages.size >= 10_000) this.#averages.clear()
    this.#averages.set(func, next)
  }

  /** Expected milliseconds of a run, or undefined for a name that is not known yet. */
  expected(func: string): number | undefined {
    return this.#averages.get(func)
  }

  isTiny(func: string): boolean {
    return (this.#averages.get(func) ?? Number.POSITIVE_INFINITY) <= TINY
  }

  /** Whether one more run of `func` may be sent to a worker that has these unfinished ones. */
  admits(func: string, ahead: Backlog, concurrency: number): boolean {
    if (ahead.size < concurrency) return true
    return ahead.isFilling && this.isTiny(func) && this.#workOf(ahead) <= MOST_WORK
  }

  /** Expected milliseconds until these are done; endless when one of them may take long. */
  #workOf({ counts }: Backlog): number {
    let work = 0
    for (const [func, count] of counts) {
      const expected = this.#averages.get(func)
      if (expected === undefined || expected > TINY) return Number.POSITIVE_INFINITY
      work += count * expected
    }
    return work
  }
}
