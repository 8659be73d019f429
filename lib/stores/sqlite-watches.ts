/** Who wants to hear of what is written to `results.db`: doorbells that are listed in the file, by topic. */
import { tmpdir } from 'node:os'
import { makeRuntimeDirectory, type RuntimeDirectory } from '../directory.ts'
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
  readonly #watches = new Set<Watch>()
  readonly #ringer: Ringer

  constructor(file: SqliteFile) {
    this.#file = file
    this.#ringer = new Ringer((doorbell) => void this.#unlist(doorbell).catch(() => {})) // The next ring tries again.
  }

  /** After a loss the file may be another one, which does not list them. */
  async listAll(): Promise<void> {
    for (const watch of this.#watches) await this.#list(watch)
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) await this.#end(watch)
    this.#ringer.close()
  }

  async begin(topic: Topic, onRing: (notes: readonly string[]) => void): Promise<{ stop(): Promise<void> }> {
    const watch = await hangUp(topic, onRing)
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
    for (const doorbell of doorbells) for (const note of notes) this.#ringer.ring(doorbell, note)
  }

  async #end(watch: Watch): Promise<void> {
    if (!this.#watches.delete(watch)) return
    await watch.doorbell.close()
    watch.directory.remove()
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

/** A doorbell in a directory of its own. */
interface Watch {
  readonly topic: Topic
  readonly directory: RuntimeDirectory
  readonly doorbell: Doorbell
}

async function hangUp(topic: Topic, onRing: (notes: readonly string[]) => void): Promise<Watch> {
  try {
    const directory = makeRuntimeDirectory()
    return { topic, directory, doorbell: await hangDoorbell(directory.path, topic, onRing) }
  } catch (error) {
    throw new StoreError(
      `No socket could be made under ${tmpdir()} (${(error as Error).message}): set TMPDIR to a folder that this user can write.`,
      { cause: error },
    )
  }
}
