/** The cancelled tasks in the embedded store. */
import type { SqliteFile } from '../sqlite.ts'
import {
  type Cancellation,
  type Cancellations,
  keyOfTarget,
  REMEMBERED,
  targetOfKey,
} from './cancellations.ts'

/** Part of the migrations of `results.db`. */
export const CANCELLATION_TABLES = `
  create table cancellations (target text primary key, at integer not null) strict, without rowid;`

/** Keeps cancellations in the file of an embedded store. */
export class SqliteCancellations implements Cancellations {
  readonly #file: SqliteFile

  constructor(file: SqliteFile) {
    this.#file = file
  }

  async add(cancellations: readonly Cancellation[]): Promise<void> {
    await this.#file.write(() => {
      this.#file.run('delete from cancellations where at < ?', this.#file.now() - REMEMBERED)
      for (const one of cancellations) this.#file.run(UPSERT, keyOfTarget(one), one.at)
    }, cancellations.length)
  }

  list(): Promise<Cancellation[]> {
    return this.#file.read(() =>
      this.#file
        .all<{ target: string; at: number }>('select target, at from cancellations')
        .map(({ target, at }) => ({ ...targetOfKey(target), at })),
    )
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(FORGET, JSON.stringify(taskIds)))
  }
}

const UPSERT = `
  insert into cancellations (target, at) values (?, ?)
  on conflict (target) do update set at = max(at, excluded.at)`

const FORGET = 'delete from cancellations where target in (select value from json_each(?))'
