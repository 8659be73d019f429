import { readFileSync } from 'node:fs'
import type { StateValue } from 'xstate'
import type { Measures, Vitals } from '../../machines/protocol.ts'

/** Milliseconds between two times that a process without news tells its vitals: each wakes two processes. */
export const RESTING = 10_000

/** The machine whose state is told, as it is now. */
interface Snapshot {
  readonly status: string
  readonly value?: StateValue
}

export interface PulseOptions {
  /** Milliseconds between two times at the least. */
  readonly cycle: number
  readonly snapshot: () => Snapshot
  readonly measures: () => Measures
  readonly tell: (vitals: Vitals) => void
}

/**
 * Tells the vitals of this process: once a cycle while they change, seldom while they do not. An idle process that
 * wakes twice a second for it costs 0.2 % of a processor, which is a fifth of what a whole idle cluster may take.
 */
export class Pulse {
  readonly #options: PulseOptions
  #timer: NodeJS.Timeout | undefined
  #isRaised = false
  #news = ''
  #due = performance.now()
  #toldAt = performance.now()
  #cpu = process.cpuUsage()

  constructor(options: PulseOptions) {
    this.#options = options
  }

  /** Says that there may be news. Cheap enough to be said for every frame. */
  readonly stir = (): void => {
    if (this.#isRaised) return
    this.#isRaised = true
    this.#beatIn(Math.max(0, this.#toldAt + this.#options.cycle - performance.now()))
  }

  /** Tells the vitals now, and then as often as they change. */
  beat(): void {
    const { cycle, tell } = this.#options
    const vitals = this.#take()
    const { state, counters, gauges } = vitals
    const news = JSON.stringify([state, counters, gauges])
    this.#isRaised = news !== this.#news
    this.#news = news
    tell(vitals)
    this.#beatIn(this.#isRaised ? cycle : Math.max(cycle, RESTING))
  }

  #beatIn(delay: number): void {
    clearTimeout(this.#timer)
    this.#due = performance.now() + delay
    this.#timer = setTimeout(() => this.beat(), delay).unref()
  }

  #take(): Vitals {
    const now = performance.now()
    const { user, system } = process.cpuUsage(this.#cpu)
    const { status, value = status } = this.#options.snapshot()
    const vitals: Vitals = {
      ...this.#options.measures(),
      at: Date.now(),
      pid: process.pid,
      state: stateText(value),
      rss: process.memoryUsage.rss(),
      cpu: rounded((user + system) / 1000 / Math.max(1, now - this.#toldAt)),
      delay: rounded(Math.max(0, now - this.#due)),
    }
    this.#toldAt = now
    this.#cpu = process.cpuUsage()
    return vitals
  }
}

/** A machine's state as one text: `running.idle`; parallel regions stand side by side: `stopping.(stage.closing, …)`. */
export function stateText(value: StateValue): string {
  if (typeof value === 'string') return value
  const paths = Object.entries(value).flatMap(([key, inner]) => {
    const rest = stateText(inner as StateValue)
    return rest === '' ? key : `${key}.${rest}`
  })
  return paths.length > 1 ? `(${paths.join(', ')})` : (paths[0] ?? '')
}

/** The resident memory of any process in bytes; undefined where there is no /proc, or no such process. */
export function residentSize(pid: number): number | undefined {
  try {
    const kilobytes = readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+)/m)?.[1]
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
  } catch {
    return undefined
  }
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000
