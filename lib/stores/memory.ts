/** A store for tests: the code of the embedded one, over tables that have no file. */
import { randomUUID } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { Doorbell } from '../doorbell.ts'
import { inMemory } from '../sqlite.ts'
import { SqliteStore } from './sqlite.ts'
import type { Bells, Topic } from './sqlite-watches.ts'
import type { Retention, Store } from './store.ts'

/** Tables in this process, for any number of stores, from {@link connect} to {@link close}. */
export class MemoryTables {
  readonly #parts: ConstructorParameters<typeof SqliteStore>[0]
  /** The tables last as long as one store is connected. */
  readonly #first: Store

  /** @param clock what times go by; the machine's where it is absent */
  constructor(clock?: Pick<Clock, 'now'>) {
    this.#parts = { path: inMemory(randomUUID()), bells: new MemoryBells(), ...(clock && { clock }) }
    this.#first = this.store()
  }

  /** One more store over these tables. */
  store(retention?: Retention): Store {
    return new SqliteStore({ ...this.#parts, ...(retention && { retention }) })
  }

  connect(): Promise<void> {
    return this.#first.connect()
  }

  close(): Promise<void> {
    return this.#first.close()
  }
}

/** Rings those who watch in this process, a turn later, as a socket would. */
class MemoryBells implements Bells {
  readonly #listeners = new Map<string, (notes: readonly string[]) => void>()

  async hang(_topic: Topic, onRing: (notes: readonly string[]) => void): Promise<Doorbell> {
    const path = randomUUID()
    this.#listeners.set(path, onRing)
    return { path, close: async () => void this.#listeners.delete(path) }
  }

  ring(path: string, note: string): void {
    setImmediate(() => this.#listeners.get(path)?.([note]))
  }

  /** Each listener ends by itself. */
  close(): void {}
}
