/** Milliseconds of work that the cluster holds, about: enough to bridge a round trip to the broker, little to hoard. */
const WORK_AHEAD = 100
/** Few, so that a broker which must make a new consumer for a change does not do so all the time. */
const STEPS = [10, 100, 1_000] as const
/** Milliseconds between two changes at the least. */
const REST = 1_000

/** How many deliveries the pusher may hold unsettled. It follows the time that runs take, by steps. */
export class Prefetch {
  readonly #most: number
  #current: number
  #changedAt = Number.NEGATIVE_INFINITY

  /** @param most the setting `queueLimit`, never under the slots and one */
  constructor(most: number) {
    this.#most = most
    // The middle: the first runs of a process tell too much time, and a change waits for a second.
    this.#current = Math.min(STEPS[1], most)
  }

  get current(): number {
    return this.#current
  }

  /**
   * Follows what was measured, and returns true when {@link current} has changed.
   *
   * @param runTime expected milliseconds of a run, undefined as long as none has ended
   * @param slots how many may run at the same time: there is always one delivery more
   * @param now milliseconds of a clock that never goes back
   */
  follow(runTime: number | undefined, slots: number, now: number): boolean {
    if (now - this.#changedAt < REST) return false
    const next = this.#fitting(runTime, slots)
    if (next === this.#current) return false
    this.#current = next
    this.#changedAt = now
    return true
  }

  #fitting(runTime: number | undefined, slots: number): number {
    const enough = runTime === undefined ? this.#current : (slots * WORK_AHEAD) / runTime
    const step = STEPS.find((one) => one >= enough) ?? STEPS.at(-1)
    return Math.min(Math.max(step as number, slots + 1), this.#most)
  }
}
