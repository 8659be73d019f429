import type { RunProgress } from '../../machines/worker.ts'
import type { RunKey } from './frames.ts'

/** Milliseconds between two times that it is told. */
const CYCLE = 100

/**
 * How far the runs of a worker say they are: the last of each, told ten times a second at the most. By real time also where
 * a test moves the clock: it spares a channel, and decides nothing.
 */
export class Progresses {
  readonly #runs = new Map<RunKey, RunProgress>()
  readonly #tell: (runs: readonly RunProgress[]) => void
  #timer: NodeJS.Timeout | undefined
  #toldAt = Number.NEGATIVE_INFINITY

  /** @param tell is given all runs that have said something and are not over */
  constructor(tell: (runs: readonly RunProgress[]) => void) {
    this.#tell = tell
  }

  say(key: RunKey, run: RunProgress): void {
    this.#runs.set(key, run)
    this.#tellSoon()
  }

  end(key: RunKey): void {
    if (this.#runs.delete(key)) this.#tellSoon()
  }

  #tellSoon(): void {
    const wait = this.#toldAt + CYCLE - performance.now()
    if (wait > 0) this.#timer ??= setTimeout(() => this.#tellNow(), wait).unref()
    else this.#tellNow()
  }

  #tellNow(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#toldAt = performance.now()
    this.#tell([...this.#runs.values()])
  }
}
