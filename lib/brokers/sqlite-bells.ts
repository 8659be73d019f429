import { Ringer } from '../doorbell.ts'
import type { SqliteFile } from '../sqlite.ts'
import type { QueueTables } from './sqlite-tables.ts'

/** Wakes the consumers of queues, in whatever process. A ring that gets lost is made up for by their next round. */
export class Bells {
  readonly #file: SqliteFile
  readonly #tables: QueueTables
  readonly #ringer: Ringer
  readonly #queues = new Set<string>()

  constructor(file: SqliteFile, tables: QueueTables) {
    this.#file = file
    this.#tables = tables
    this.#ringer = new Ringer((doorbell) => void this.#unlist(doorbell))
  }

  /** Rings for a queue once, however many messages came in this turn. */
  ring(queue: string): void {
    if (this.#queues.size === 0) queueMicrotask(() => this.#ringAll())
    this.#queues.add(queue)
  }

  close(): void {
    this.#ringAll()
    this.#ringer.close()
  }

  #ringAll(): void {
    for (const queue of this.#queues) this.#ringQueue(queue)
    this.#queues.clear()
  }

  #ringQueue(queue: string): void {
    try {
      for (const doorbell of this.#tables.doorbells(queue)) this.#ringer.ring(doorbell)
    } catch {
      // The file is closed or cannot be read. What was written is safe, and whoever polls will find it.
    }
  }

  async #unlist(doorbell: string): Promise<void> {
    try {
      await this.#file.write(() => this.#tables.unlistDoorbell(doorbell))
    } catch {
      // It stays listed; whoever rings next tries again.
    }
  }
}
