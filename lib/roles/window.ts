/** Below this a run counts as tiny: others may wait behind it. Milliseconds. */
const TINY = 5
/** The most runs, and the most expected milliseconds of work, that wait in one worker. */
const MOST_AHEAD = 64
const MOST_WORK = 10

/** What the pusher learns of each task name, and what it follows from it for a worker's window. */
export class Window {
  readonly #averages = new Map<string, number>()

  /** Takes in that a run of `func` took so many milliseconds: a moving average that follows within a few runs. */
  learn(func: string, took: number): void {
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
  admits(func: string, ahead: readonly string[], concurrency: number): boolean {
    if (ahead.length < concurrency) return true
    if (ahead.length >= MOST_AHEAD || !this.isTiny(func)) return false
    let work = 0
    for (const name of ahead) {
      if (!this.isTiny(name)) return false
      work += this.#averages.get(name) as number
    }
    return work <= MOST_WORK
  }
}
