import type { RunningTask } from '../../machines/protocol.ts'
import type { Clock } from '../clock.ts'
import type { BoardWriter, StartedRun } from '../process/board.ts'

export interface TestBoardOptions {
  readonly clock: Clock
  /** Seconds from the end of a run's time to the end of its worker. */
  readonly timeoutGrace: number
  /** A run is still shown when that is over. */
  readonly onOverrun: () => void
}

/** What a worker runs, and the sentinel's eye on it. */
export class TestBoard implements BoardWriter {
  readonly #options: TestBoardOptions
  readonly #runs = new Map<number, StartedRun>()
  readonly #timers = new Map<number, unknown>()
  readonly #doomed = new Set<number>()

  constructor(options: TestBoardOptions) {
    this.#options = options
  }

  start(slot: number, run: StartedRun): void {
    this.finish(slot)
    this.#runs.set(slot, run)
    const { clock } = this.#options
    if (run.deadline !== 0n) this.#watch(slot, Number(run.deadline - clock.elapsed()) / 1e6)
  }

  finish(slot: number): void {
    this.#runs.delete(slot)
    this.#options.clock.clearTimeout(this.#timers.get(slot))
    this.#timers.delete(slot)
    this.#doomed.delete(slot)
  }

  close(): void {
    for (const slot of [...this.#runs.keys()]) this.finish(slot)
  }

  /** These were told to end: whoever does not has its worker ended. Telling them again gives them no more time. */
  doom(taskIds: readonly string[]): void {
    for (const [slot, { taskId }] of this.#runs) {
      if (!taskIds.includes(taskId) || this.#doomed.has(slot)) continue
      this.#doomed.add(slot)
      this.#watch(slot, 0)
    }
  }

  /** What runs, as it is told of a worker that has died. */
  get running(): RunningTask[] {
    const now = this.#options.clock.elapsed()
    return [...this.#runs.values()].map(({ startedNs, deadline, ...run }) => ({
      ...run,
      ...(deadline !== 0n && { timeout: Number(deadline - startedNs) / 1e9 }),
      overran: deadline !== 0n && now >= deadline,
    }))
  }

  #watch(slot: number, milliseconds: number): void {
    const { clock, timeoutGrace, onOverrun } = this.#options
    clock.clearTimeout(this.#timers.get(slot))
    this.#timers.set(slot, clock.setTimeout(onOverrun, milliseconds + timeoutGrace * 1000))
  }
}
