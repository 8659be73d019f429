/** The keys of unique tasks in the embedded store. Its machine has one clock. */
import type { SqliteFile } from '../sqlite.ts'
import type { Holder, Reservation, Uniques } from './uniques.ts'

/** Part of the migrations of `results.db`. A key that is held for as long as its task needs is never `free_at`. */
export const UNIQUE_TABLES = `
  create table uniques (
    key text primary key,
    queue text not null,
    task_id text not null unique,
    name text not null,
    is_confirmed integer not null,
    free_at integer,
    kept_until integer not null
  ) strict, without rowid;
  create index uniques_by_end on uniques (free_at) where free_at is not null;`

/** Keeps keys in the file of an embedded store. */
export class SqliteUniques implements Uniques {
  readonly #file: SqliteFile

  constructor(file: SqliteFile) {
    this.#file = file
  }

  reserve(wanted: readonly Reservation[], patience: number): Promise<Holder[]> {
    return this.#file.write(() => {
      const now = this.#file.now()
      this.#file.run(FORGET_FREE, now)
      return wanted.map((one) => this.#reserve(one, now, patience))
    }, wanted.length)
  }

  async confirm(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(CONFIRM, JSON.stringify(taskIds)))
  }

  async withdraw(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(WITHDRAW, JSON.stringify(taskIds)))
  }

  async release(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(RELEASE, JSON.stringify(taskIds)))
  }

  async clear(queue: string): Promise<void> {
    await this.#file.write(() => this.#file.run('delete from uniques where queue = ?', queue))
  }

  #reserve({ key, queue, taskId, name, within }: Reservation, now: number, patience: number): Holder {
    this.#file.run(INSERT, key, queue, taskId, name, now + patience, now + within)
    return this.#file.get<Holder>('select task_id as taskId, name from uniques where key = ?', key) as Holder
  }
}

const FORGET_FREE = 'delete from uniques where free_at is not null and free_at <= ?'

const INSERT = `
  insert or ignore into uniques (key, queue, task_id, name, is_confirmed, free_at, kept_until)
  values (?, ?, ?, ?, 0, ?, ?)`

/** One that was released meanwhile has been confirmed by that. */
const CONFIRM = `
  update uniques set is_confirmed = 1, free_at = null
  where is_confirmed = 0 and task_id in (select value from json_each(?))`

const WITHDRAW = `
  delete from uniques where is_confirmed = 0 and task_id in (select value from json_each(?))`

const RELEASE = `
  update uniques set is_confirmed = 1, free_at = kept_until where task_id in (select value from json_each(?))`
