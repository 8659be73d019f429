import { type Clock, systemClock } from '../clock.ts'
import { TaskTimeoutError } from '../errors.ts'

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1

/** The end of the time that a run has, by the clock that the sentinel reads as well. */
export class Deadline {
  /** By {@link Clock.elapsed}. */
  readonly at: bigint
  readonly #seconds: number
  readonly #clock: Clock
  #timer: unknown

  constructor(seconds: number, began: bigint, clock = systemClock) {
    this.#seconds = seconds
    this.#clock = clock
    this.at = began + BigInt(Math.round(seconds * 1e9))
  }

  /** Also where the timer had no chance to fire, for the code blocked its process. */
  get isOver(): boolean {
    return this.#clock.elapsed() >= this.at
  }

  /** What the run ends with once it is over. */
  get error(): TaskTimeoutError {
    return new TaskTimeoutError({ seconds: this.#seconds })
  }

  /** Calls back when it is over, unless it is let go before. */
  watch(onOver: () => void): void {
    const left = Math.ceil(Number(this.at - this.#clock.elapsed()) / 1e6)
    // A timer counts from the start of the loop's turn, so that it may fire as much too early as that turn took.
    const look = () => (this.isOver ? onOver() : this.watch(onOver))
    this.#timer = this.#clock.setTimeout(look, Math.min(Math.max(1, left), LONGEST_TIMER))
  }

  letGo(): void {
    this.#clock.clearTimeout(this.#timer)
  }
}
