/** Of so many that are taken while both lanes wait, one is of those that are not urgent: nobody waits for ever. */
const TURN = 10

/** What waits, in order: the urgent before the others, except that these have their turn. */
export class Lanes<T extends { readonly isUrgent: boolean }> {
  #urgent: T[] = []
  #normal: T[] = []
  /** Urgent ones that were taken since one of the others was. */
  #inRow = 0

  get size(): number {
    return this.#urgent.length + this.#normal.length
  }

  /** Puts one behind those of its lane. */
  push(item: T): void {
    this.#laneOf(item).push(item)
  }

  /** Puts these before those of their lanes. */
  unshift(items: readonly T[]): void {
    for (const item of items.toReversed()) this.#laneOf(item).unshift(item)
  }

  /** The next one, which stays. */
  peek(): T | undefined {
    return this.#next()[0]
  }

  /** Takes the next one. */
  shift(): T | undefined {
    const lane = this.#next()
    this.#inRow = lane === this.#urgent ? this.#inRow + 1 : 0
    return lane.shift()
  }

  /** Takes those that are meant. */
  remove(isMeant: (item: T) => boolean): T[] {
    const all = this.clear()
    for (const item of all) if (!isMeant(item)) this.push(item)
    return all.filter(isMeant)
  }

  /** Takes all. */
  clear(): T[] {
    const all = [...this.#urgent, ...this.#normal]
    this.#urgent = []
    this.#normal = []
    return all
  }

  #next(): T[] {
    if (this.#urgent.length === 0) return this.#normal
    return this.#normal.length > 0 && this.#inRow >= TURN - 1 ? this.#normal : this.#urgent
  }

  #laneOf({ isUrgent }: T): T[] {
    return isUrgent ? this.#urgent : this.#normal
  }
}
