import type { TaskHeader } from '../package.ts'
import type { Cancellation } from '../stores/cancellations.ts'

/** What was cancelled, for whoever is about to run a task or does. */
export class Cancelled {
  readonly list: readonly Cancellation[]
  readonly #tasks = new Set<string>()
  /** Group → when it was cancelled: what is enqueued later is meant to run. */
  readonly #groups = new Map<string, number>()

  constructor(list: readonly Cancellation[] = []) {
    this.list = list
    for (const one of list) {
      if ('taskId' in one) this.#tasks.add(one.taskId)
      else this.#groups.set(one.group, one.at)
    }
  }

  /** Whether this very task was named, not only its group. */
  names(taskId: string): boolean {
    return this.#tasks.has(taskId)
  }

  covers({ id, group, enqueuedAt }: Pick<TaskHeader, 'id' | 'group' | 'enqueuedAt'>): boolean {
    if (this.list.length === 0) return false
    return this.#tasks.has(id) || (group !== undefined && enqueuedAt <= (this.#groups.get(group) ?? -1))
  }
}
