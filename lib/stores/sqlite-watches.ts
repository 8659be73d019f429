/** Who wants to hear of what is written to `results.db`: doorbells that are listed in the file, by topic. */
import { tmpdir } from 'node:os'
import { makeRuntimeDirectory } from '../directory.ts'
import { type Doorbell, hangDoorbell, Ringer } from '../doorbell.ts'
import { StoreError } from '../errors.ts'
import type { SqliteFile } from '../sqlite.ts'

/** What one can hear of. */
export type Topic = 'outcomes' | 'schedules'

/** Part of the migrations of `results.db`. */
export const TOPIC_COLUMN = `alter table watchers add column topic text not null default 'outcomes';`

/** The doorbells of one process, and what rings those of the others. */
export class SqliteWatches {
  readonly #file: SqliteFile
  readonly #bells: Bells
  readonly #watches = new Set<Watch>()

  constructor(file: SqliteFile, bells?: Bells) {
    this.#file = file
    // The next ring tries again.
    this.#bells = bells ?? new Doorbells((path) => void this.#unlist(path).catch(() => {}))
  }

  /** After a loss the file may be another one, which does not list them. */
  async listAll(): Promise<void> {
    for (const watch of this.#watches) await this.#list(watch)
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) await this.#end(watch)
    this.#bells.close()
  }

  async begin(topic: Topic, onRing: (notes: readonly string[]) => void): Promise<{ stop(): Promise<void> }> {
    const watch = { topic, doorbell: await this.#bells.hang(topic, onRing) }
    this.#watches.add(watch)
    try {
      await this.#list(watch)
    } catch (error) {
      await this.#end(watch)
      throw error
    }
    return { stop: () => this.#end(watch) }
  }

  /** Who is to be rung. To be read in the transaction that writes what they want to hear of. */
  listed(topic: Topic): string[] {
    return this.#file
      .all<{ doorbell: string }>('select doorbell from watchers where topic = ?', topic)
      .map(({ doorbell }) => doorbell)
  }

  ring(doorbells: readonly string[], notes: readonly string[]): void {
    for (const doorbell of doorbells) for (const note of notes) this.#bells.ring(doorbell, note)
  }

  async #end(watch: Watch): Promise<void> {
    if (!this.#watches.delete(watch)) return
    await watch.doorbell.close()
    // When it cannot be unlisted, the next write finds nobody there and does it.
    await this.#unlist(watch.doorbell.path).catch(() => {})
  }

  async #list({ topic, doorbell }: Watch): Promise<void> {
    await this.#file.write(() =>
      this.#file.run('insert or ignore into watchers (doorbell, topic) values (?, ?)', doorbell.path, topic),
    )
  }

  async #unlist(doorbell: string): Promise<void> {
    await this.#file.write(() => this.#file.run('delete from watchers where doorbell = ?', doorbell))
  }
}

interface Watch {
  readonly topic: Topic
  readonly doorbell: Doorbell
}

/** How those who want to hear of something are reached. */
export interface Bells {
  hang(topic: Topic, onRing: (notes: readonly string[]) => void): Promise<Doorbell>
  ring(path: string, note: string): void
  close(): void
}

/** Sockets, each in a directory of its own, for other processes to ring. */
class Doorbells implements Bells {
  readonly #ringer: Ringer

  /** `onDead` is told the path of a doorbell at which nobody listens any more. */
  constructor(onDead: (path: string) => void) {
    this.#ringer = new Ringer(onDead)
  }

  async hang(topic: Topic, onRing: (notes: readonly string[]) => void): Promise<Doorbell> {
    try {
      const directory = makeRuntimeDirectory()
      const { path, close } = await hangDoorbell(directory.path, topic, onRing)
      return { path, close: () => close().then(() => directory.remove()) }
    } catch (error) {
      throw new StoreError(
        `No socket could be made under ${tmpdir()} (${(error as Error).message}): set TMPDIR to a folder that this user can write.`,
        { cause: error },
      )
    }
  }

  ring(path: string, note: string): void {
    this.#ringer.ring(path, note)
  }

  close(): void {
    this.#ringer.close()
  }
}
