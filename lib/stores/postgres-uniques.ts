/** The keys of unique tasks in the store for many machines. Its own clock counts. */
import { type PostgresDatabase, toStorable } from '../postgres.ts'
import type { Holder, Reservation, Uniques } from './uniques.ts'

/** One of the migrations. A key that is held for as long as its task needs is never `free_at`. */
export const UNIQUE_TABLES = `
  create table qcluster_uniques (
    key text primary key,
    queue text not null,
    task_id text not null unique,
    name text not null,
    is_confirmed boolean not null,
    free_at double precision,
    kept_until double precision not null
  );`

/** Keeps keys in a PostgreSQL database. */
export class PostgresUniques implements Uniques {
  readonly #database: PostgresDatabase

  constructor(database: PostgresDatabase) {
    this.#database = database
  }

  async reserve(wanted: readonly Reservation[], patience: number): Promise<Holder[]> {
    const holders = new Map<string, Holder>()
    const isMissing = ({ key }: Reservation) => !holders.has(key)
    // Between the two statements somebody may release what had been in our way.
    for (let missing = firstOfEach(wanted); missing.length > 0; missing = missing.filter(isMissing))
      for (const [key, holder] of await this.#reserve(missing, patience)) holders.set(key, holder)
    return wanted.map(({ key }) => holders.get(key) as Holder)
  }

  async confirm(taskIds: readonly string[]): Promise<void> {
    await this.#database.run(CONFIRM, [taskIds])
  }

  async withdraw(taskIds: readonly string[]): Promise<void> {
    await this.#database.run(WITHDRAW, [taskIds])
  }

  async release(taskIds: readonly string[]): Promise<void> {
    await this.#database.run(RELEASE, [taskIds])
  }

  async clear(queue: string): Promise<void> {
    await this.#database.run('delete from qcluster_uniques where queue = $1', [toStorable(queue)])
  }

  async #reserve(wanted: readonly Reservation[], patience: number): Promise<[string, Holder][]> {
    await this.#database.query(RESERVE, [JSON.stringify(wanted.map(toGiven)), patience])
    const rows = await this.#database.query<Row>(SELECT, [wanted.map(({ key }) => key)])
    return rows.map(({ key, task_id, name }) => [key, { taskId: task_id, name }])
  }
}

/** One statement cannot touch a row twice. */
function firstOfEach(wanted: readonly Reservation[]): Reservation[] {
  return [...new Map(wanted.toReversed().map((one) => [one.key, one])).values()]
}

function toGiven({ key, queue, taskId, name, within }: Reservation) {
  return { key, queue: toStorable(queue), task_id: taskId, name: toStorable(name), within }
}

interface Row {
  readonly key: string
  readonly task_id: string
  readonly name: string
}

const CLOCK = 'extract(epoch from clock_timestamp())::float8 * 1000'

/** In the order of the keys, so that two who reserve the same ones wait for each other in turn. */
const RESERVE = `
  insert into qcluster_uniques as known (key, queue, task_id, name, is_confirmed, free_at, kept_until)
  select key, queue, task_id, name, false, ${CLOCK} + $2::float8, ${CLOCK} + within
  from json_to_recordset($1) as given (key text, queue text, task_id text, name text, within float8)
  order by key
  on conflict (key) do update set
    queue = excluded.queue, task_id = excluded.task_id, name = excluded.name, is_confirmed = false,
    free_at = excluded.free_at, kept_until = excluded.kept_until
  where known.free_at <= ${CLOCK}`

const SELECT = 'select key, task_id, name from qcluster_uniques where key = any($1)'

/** One that was released meanwhile has been confirmed by that. */
const CONFIRM = `
  update qcluster_uniques set is_confirmed = true, free_at = null where task_id = any($1) and not is_confirmed`

const WITHDRAW = 'delete from qcluster_uniques where task_id = any($1) and not is_confirmed'

/** What is free already is forgotten with it. */
const RELEASE = `
  with freed as (
    delete from qcluster_uniques where task_id = any($1) and kept_until <= ${CLOCK}
  )
  update qcluster_uniques set is_confirmed = true, free_at = kept_until
  where task_id = any($1) and kept_until > ${CLOCK}`
