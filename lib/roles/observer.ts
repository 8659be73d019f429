import type { CurrentTask, Observed, Vitals } from '../../machines/protocol.ts'
import type { ProcessesObserved } from '../../machines/sentinel.ts'
import { sumOf } from '../../machines/slots.ts'
import type { RunningRecord } from '../process/board.ts'
import { residentSize } from '../process/vitals.ts'

type Counts = Readonly<Record<string, number>>

/** Milliseconds between two reports when nothing has changed: memory is looked at again, and the cluster hears from us. */
const RESTING = 2_000

/** What a sentinel sees of its processes: what they say, and, where they cannot speak, their timer boards and /proc. */
export class Observer {
  readonly #boardOf: (worker: string) => readonly RunningRecord[]
  readonly #cycle: number
  readonly #vitals = new Map<string, Vitals>()
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
  hear(name: string, vitals: Vitals): void {
    this.#vitals.set(name, vitals)
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
  }

  /** Looks at every process that has spoken and is not gone. Undefined when there is nothing to report. */
  look(): ProcessesObserved | undefined {
    if (performance.now() - this.#reportedAt < this.#cycle) return undefined
    const processes = [...this.#vitals].map(([name, vitals]) => [name, this.#observe(name, vitals)] as const)
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
  #observe(name: string, vitals: Vitals): Observed {
    const tasks = this.#boardOf(name).map(toCurrentTask)
    const state = tasks.length > 0 && vitals.state === 'running.idle' ? 'running.working' : vitals.state
    return { ...vitals, state, tasks }
  }
}

/** What is worth a report; memory and processor time change all the time. */
function newsOf([name, { state, counters, gauges, tasks }]: readonly [string, Observed]): unknown {
  return [name, state, counters, gauges, tasks]
}

function withMemory(one: Observed): Observed {
  return { ...one, rss: residentSize(one.pid) ?? one.rss }
}

function toCurrentTask(record: RunningRecord): CurrentTask {
  const { taskId, run, attempt, name, func, startedAt, progress, message = '' } = record
  return { taskId, run, attempt, name, func, startedAt, ...(progress !== undefined && { progress, message }) }
}
