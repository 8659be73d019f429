import type { RunningRecord } from '../process/board.ts'

/** Tasks that were told to end, and the workers that have to go because theirs do not. */
export class Doomed {
  readonly #grace: number
  readonly #since = new Map<string, number>()

  /** @param grace milliseconds that a task may take to end by itself */
  constructor(grace: number) {
    this.#grace = grace
  }

  /** These tasks have been told. Whoever tells them again gives them no more time. */
  add(taskIds: readonly string[], now = performance.now()): void {
    for (const id of taskIds) if (!this.#since.has(id)) this.#since.set(id, now)
  }

  /** The workers whose boards still show one whose time is up. It looks at boards, for a blocked process says nothing. */
  workersOf(boards: ReadonlyMap<string, readonly RunningRecord[]>, now = performance.now()): string[] {
    if (this.#since.size === 0) return []
    const latest = now - this.#grace
    const isDue = ({ taskId }: RunningRecord) => (this.#since.get(taskId) ?? now) <= latest
    const workers = [...boards].filter(([, tasks]) => tasks.some(isDue)).map(([worker]) => worker)
    this.#forgetEnded(boards, latest)
    return workers
  }

  /** What no board shows when its time is up has ended, or never ran. */
  #forgetEnded(boards: ReadonlyMap<string, readonly RunningRecord[]>, latest: number): void {
    const shown = new Set([...boards.values()].flatMap((tasks) => tasks.map(({ taskId }) => taskId)))
    for (const [id, since] of this.#since) if (since <= latest && !shown.has(id)) this.#since.delete(id)
  }
}
