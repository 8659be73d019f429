/** When a worker has had its time and is to be replaced. */
import type { Vitals } from '../../machines/protocol.ts'
import type { Settings } from '../config.ts'

export type WearLimits = Pick<Settings, 'recycle' | 'maxRss' | 'maxAge'>

/** What a worker is replaced for: it has run so many tasks, has so much memory, or is so old. */
export type Wear = 'tasks' | 'memory' | 'age'

/** What is seen of a worker. */
export interface WornWorker {
  readonly vitals: Pick<Vitals, 'counters' | 'rss'>
  /** Seconds. */
  readonly age: number
}

/**
 * What a worker is worn by, if it is. One that has run nothing yet never has too much memory: its replacement would have
 * as much.
 *
 * @see https://github.com/django-q2/django-q2/blob/master/django_q/worker.py its `rss_check`, and `recycle`
 */
export function wearOf({ vitals, age }: WornWorker, limits: WearLimits): Wear | undefined {
  const { recycle, maxRss, maxAge } = limits
  const runs = vitals.counters?.runs ?? 0
  if (recycle > 0 && runs >= recycle) return 'tasks'
  if (maxRss !== null && runs > 0 && vitals.rss >= maxRss * KILOBYTE) return 'memory'
  if (maxAge !== null && age >= maxAge) return 'age'
  return undefined
}

const KILOBYTE = 1024
/** Milliseconds until a worker that is still there is told of once more: its replacement could not start, or it finishes long work. */
const PATIENCE = 10_000

/** Tells which workers are worn, each of them once for a while. */
export class WearCheck {
  readonly #limits: WearLimits
  readonly #vitalsOf: (worker: string) => Pick<Vitals, 'counters' | 'rss'> | undefined
  readonly #bornAt = new Map<string, number>()
  readonly #toldAt = new Map<string, number>()

  constructor(
    limits: WearLimits,
    vitalsOf: (worker: string) => Pick<Vitals, 'counters' | 'rss'> | undefined,
  ) {
    this.#limits = limits
    this.#vitalsOf = vitalsOf
  }

  /** Of all workers that there are, those that are worn. @param now milliseconds of a clock that never goes back */
  look(workers: Iterable<string>, now = performance.now()): { worker: string; by: Wear }[] {
    const present = new Set(workers)
    for (const known of [this.#bornAt, this.#toldAt])
      for (const worker of known.keys()) if (!present.has(worker)) known.delete(worker)
    return [...present].flatMap((worker) => {
      const by = this.#wearOf(worker, now)
      return by === undefined ? [] : { worker, by }
    })
  }

  #wearOf(worker: string, now: number): Wear | undefined {
    const bornAt = this.#bornAt.get(worker) ?? now
    this.#bornAt.set(worker, bornAt)
    const vitals = this.#vitalsOf(worker)
    if (!vitals || now - (this.#toldAt.get(worker) ?? Number.NEGATIVE_INFINITY) < PATIENCE) return undefined
    const wear = wearOf({ vitals, age: (now - bornAt) / 1000 }, this.#limits)
    if (wear !== undefined) this.#toldAt.set(worker, now)
    return wear
  }
}
