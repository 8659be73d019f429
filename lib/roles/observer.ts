import type { CurrentTask, Observed, Vitals } from '../../machines/protocol.ts'
import type { ProcessesObserved } from '../../machines/sentinel.ts'
import { sumOf } from '../../machines/slots.ts'
import type { RunningRecord } from '../process/board.ts'
import { RESTING as LONGEST_REST, residentSize } from '../process/vitals.ts'

type Counts = Readonly<Record<string, number>>

/** Milliseconds between two reports when nothing has changed: memory is looked at again, and the cluster hears from us. */
const RESTING = 2_000
/** Milliseconds by which a process may be late to speak, on a busy machine. */
const LATE = 1_000

/** What a sentinel sees of its processes: what they say, and, where they cannot speak, their timer boards and /proc. */
export class Observer {
  readonly #boardOf: (worker: string) => readonly RunningRecord[]
  readonly #cycle: number
  readonly #vitals = new Map<string, Vitals>()
  /** When each process spoke, by the clock that timer boards are kept by. */
  readonly #heardNs = new Map<string, bigint>()
  /** What processes had counted that are gone. */
  #past: Counts = {}
  #news = ''
  #reportedAt = 0

  /** @param cycle milliseconds between two reports at the least */
  constructor(boardOf: (worker: string) => readonly RunningRecord[], cycle: number) {
    this.#boardOf = boardOf
    this.#cycle = cycle
  }

  /** Notes what a process says of itself. */
  hear(name: string, vitals: Vitals, now = process.hrtime.bigint()): void {
    this.#vitals.set(name, vitals)
    this.#heardNs.set(name, now)
  }

  /** What a process said last, with the memory that it has now. */
  vitalsOf(name: string): Vitals | undefined {
    const vitals = this.#vitals.get(name)
    return vitals && { ...vitals, rss: residentSize(vitals.pid) ?? vitals.rss }
  }

  /** A process is gone: what it had counted stays in the sums. */
  bury(name: string): void {
    this.#past = sumOf([this.#past, this.#vitals.get(name)?.counters ?? {}])
    this.#vitals.delete(name)
    this.#heardNs.delete(name)
  }

  /** Looks at every process that has spoken and is not gone. Undefined when there is nothing to report. */
  look(now = process.hrtime.bigint()): ProcessesObserved | undefined {
    if (performance.now() - this.#reportedAt < this.#cycle) return undefined
    const processes = [...this.#vitals].map(
      ([name, vitals]) => [name, this.#observe(name, vitals, now)] as const,
    )
    const news = JSON.stringify(processes.map(newsOf))
    if (news === this.#news && performance.now() - this.#reportedAt < RESTING) return undefined
    this.#news = news
    this.#reportedAt = performance.now()
    const counted = [...this.#vitals.values()].map(({ counters = {} }) => counters)
    return {
      type: 'processes.observed',
      processes: Object.fromEntries(processes.map(([name, one]) => [name, withMemory(one)])),
      counters: sumOf([this.#past, ...counted]),
    }
  }

  /** A worker that blocks had no time to say that it works; its machine knew before its task began. */
  #observe(name: string, vitals: Vitals, now: bigint): Observed {
    const board = this.#boardOf(name)
    const state = board.length > 0 && vitals.state === 'running.idle' ? 'running.working' : vitals.state
    return { ...vitals, state, blocked: this.#isBlocked(name, board, now), tasks: board.map(toCurrentTask) }
  }

  /** Each run that begins is news, which is told within a cycle; without any news a process speaks seldom. */
  #isBlocked(name: string, board: readonly RunningRecord[], now: bigint): boolean {
    const heard = this.#heardNs.get(name) ?? now
    const begun = board.map(({ startedNs }) => startedNs).filter((startedNs) => startedNs > heard)
    const longest = begun.length > 0 ? this.#cycle : Math.max(this.#cycle, LONGEST_REST)
    const silence = Math.min(...[heard, ...begun].map((since) => Number(now - since) / 1e6))
    return silence > longest + LATE
  }
}

/** What is worth a report; memory and processor time change all the time. */
function newsOf([name, { state, blocked, counters, gauges, tasks }]: readonly [string, Observed]): unknown {
  return [name, state, blocked, counters, gauges, tasks]
}

function withMemory(one: Observed): Observed {
  return { ...one, rss: residentSize(one.pid) ?? one.rss }
}

function toCurrentTask(record: RunningRecord): CurrentTask {
  const { taskId, run, attempt, name, func, startedAt, progress, message = '' } = record
  return { taskId, run, attempt, name, func, startedAt, ...(progress !== undefined && { progress, message }) }
}
