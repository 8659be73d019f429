import type { ProcessesObserved } from '../../machines/sentinel.ts'
import type { RunningRecord } from '../process/board.ts'
import { Doomed } from './doomed.ts'
import type { Wear } from './wear.ts'

type Running = ReadonlyMap<string, readonly RunningRecord[]>

/** How often the timer boards are read at the least. Milliseconds. */
const LONGEST_CYCLE = 250
/**
 * The same while nothing runs, when each look would wake an idle machine for nothing. A run that starts right after a
 * look may overrun a timeout that is shorter than this unseen for as long.
 */
const RESTING_CYCLE = 1_000

/** What the sentinel's watch reports. */
export type Sight =
  | ProcessesObserved
  | { readonly type: 'worker.overran'; readonly worker: string }
  | { readonly type: 'worker.worn'; readonly worker: string; readonly by: Wear }

export interface WatchOptions {
  readonly boards: { look(): Running }
  readonly observer: { look(): ProcessesObserved | undefined }
  readonly wear: { look(workers: Iterable<string>): readonly { worker: string; by: Wear }[] }
  /** Milliseconds between two looks at the most, while something runs. */
  readonly cycle: number
  /** Seconds from a run's own deadline to the end of its worker: for code that heeds its abort signal. */
  readonly timeoutGrace: number
  readonly tell: (sight: Sight) => void
}

/** The sentinel's eyes: it looks at timer boards and processes, once a cycle and at the moment when somebody's time is up. */
export class Watch {
  readonly #options: WatchOptions
  readonly #grace: bigint
  readonly #doomed: Doomed
  #timer: NodeJS.Timeout

  constructor(options: WatchOptions) {
    this.#options = options
    this.#doomed = new Doomed(options.timeoutGrace * 1000)
    this.#grace = BigInt(Math.round(options.timeoutGrace * 1e9))
    this.#timer = this.#lookIn(this.#cycle)
  }

  /** These tasks were told to end, and have as long for it as those whose deadline is over. */
  doom(taskIds: readonly string[]): void {
    this.#doomed.add(taskIds)
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  get #cycle(): number {
    return Math.min(this.#options.cycle, LONGEST_CYCLE)
  }

  #lookIn(delay: number): NodeJS.Timeout {
    return setTimeout(() => this.#look(), delay)
  }

  #look(): void {
    const { boards, observer, wear, tell } = this.#options
    const running = boards.look()
    const latest = process.hrtime.bigint() - this.#grace
    const workers = new Set([...overdueWorkers(running, latest), ...this.#doomed.workersOf(running)])
    for (const worker of workers) tell({ type: 'worker.overran', worker })
    for (const worn of wear.look(running.keys())) tell({ type: 'worker.worn', ...worn })
    const observed = observer.look()
    if (observed) tell(observed)
    const cycle = isBusy(running) ? this.#cycle : RESTING_CYCLE
    this.#timer = this.#lookIn(Math.min(cycle, untilNext(running, latest)))
  }
}

/** Whether a run was past its deadline then; 0n is none. */
export function isOverdue({ deadline }: RunningRecord, at = process.hrtime.bigint()): boolean {
  return deadline !== 0n && at >= deadline
}

function overdueWorkers(running: Running, latest: bigint): string[] {
  return [...running]
    .filter(([, runs]) => runs.some((run) => isOverdue(run, latest)))
    .map(([worker]) => worker)
}

/** Milliseconds until the next run is overdue, whatever the cycle is. */
function untilNext(running: Running, latest: bigint): number {
  const ahead = [...running.values()]
    .flat()
    .map(({ deadline }) => deadline)
    .filter((deadline) => deadline > latest)
  return Math.min(...ahead.map((deadline) => Math.ceil(Number(deadline - latest) / 1e6)))
}

function isBusy(running: Running): boolean {
  return [...running.values()].some((runs) => runs.length > 0)
}
