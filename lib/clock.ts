/** What time it is, and timers that go by it. Whoever is given one does not mind whether a test moves it. */
export interface Clock {
  /** Milliseconds since the epoch. May be set back. */
  now(): number
  /** Nanoseconds that only ever grow, the same for all processes of a machine. */
  elapsed(): bigint
  /** Calls back once, when so many milliseconds have passed. */
  setTimeout(callback: () => void, milliseconds: number): unknown
  clearTimeout(timer: unknown): void
}

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => process.hrtime.bigint(),
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
}
