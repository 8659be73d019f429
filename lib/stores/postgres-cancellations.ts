/** The cancelled tasks in the store for many machines. */
import { type PostgresDatabase, toStorable } from '../postgres.ts'
import {
  type Cancellation,
  type Cancellations,
  keyOfTarget,
  REMEMBERED,
  targetOfKey,
} from './cancellations.ts'

/** One of the migrations. */
export const CANCELLATION_TABLES = `
  create table qcluster_cancellations (target text primary key, at double precision not null);`

/** Keeps cancellations in a PostgreSQL database. */
export class PostgresCancellations implements Cancellations {
  readonly #database: PostgresDatabase

  constructor(database: PostgresDatabase) {
    this.#database = database
  }

  async add(cancellations: readonly Cancellation[]): Promise<void> {
    // One statement cannot touch a row twice: of several the last one counts.
    const inOrder = cancellations.toSorted((a, b) => a.at - b.at)
    const latest = new Map(inOrder.map((one) => [toStorable(keyOfTarget(one)), one.at]))
    const [targets, times] = [[...latest.keys()], [...latest.values()]]
    await this.#database.query(ADD, [targets, times, Date.now() - REMEMBERED])
  }

  async list(): Promise<Cancellation[]> {
    const rows = await this.#database.query<{ target: string; at: number }>(
      'select target, at from qcluster_cancellations',
    )
    return rows.map(({ target, at }) => ({ ...targetOfKey(target), at }))
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    await this.#database.run('delete from qcluster_cancellations where target = any($1)', [taskIds])
  }
}

const ADD = `
  with old as (delete from qcluster_cancellations where at < $3)
  insert into qcluster_cancellations as known (target, at)
  select target, at from unnest($1::text[], $2::float8[]) as given (target, at) order by target
  on conflict (target) do update set at = greatest(known.at, excluded.at)`
