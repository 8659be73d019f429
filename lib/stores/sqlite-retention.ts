/**
 * Which successes the embedded store keeps. A success knows its number among those that share its limit, so what is
 * beyond the limit is the beginning of an index: nobody counts rows, and a count kept in a row of its own would have to
 * be right after every deletion.
 */
import type { SqliteFile } from '../sqlite.ts'
import { IS_AWAITED } from './sqlite-schedules.ts'
import { bucketOf, type Outcome, type Retention } from './store.ts'

/** Part of the migrations of `results.db`. */
export const RETENTION_TABLES = `
  alter table tasks add column bucket text;
  alter table tasks add column nth integer;
  create index tasks_by_bucket on tasks (bucket, nth, stopped_at) where bucket is not null;
  create table rules (queue text primary key, rule text not null) strict, without rowid;`

/** A success's number among those that share its limit. */
export interface Rank {
  readonly bucket: string
  readonly nth: number
}

/** Numbers successes as one retention wants it. */
export class SqliteRetention {
  readonly #file: SqliteFile
  readonly #retention: Retention

  constructor(file: SqliteFile, retention: Retention) {
    this.#file = file
    this.#retention = retention
  }

  /** Numbers the successes of the queue anew when they were numbered by another rule. */
  async adopt(): Promise<void> {
    const { queue, per } = this.#retention
    const rule = per ?? 'queue'
    const known = await this.#file.read(() => this.#file.get<{ rule: string }>(SELECT_RULE, queue))
    if (known?.rule === rule) return
    await this.#file.write(() => {
      this.#file.run(RANK_BY[rule], queue)
      this.#file.run('insert or replace into rules (queue, rule) values (?, ?)', queue, rule)
    })
  }

  /** The ranks of one transaction. */
  ranks(): Ranks {
    return new Ranks(this.#file, this.#retention)
  }
}

/** Gives out the ranks of one transaction, and forgets what has become too much by it. */
export class Ranks {
  readonly #file: SqliteFile
  readonly #retention: Retention
  readonly #buckets = new Map<string, Bucket>()

  constructor(file: SqliteFile, retention: Retention) {
    this.#file = file
    this.#retention = retention
  }

  /** The rank of a success that is about to be saved. */
  next(outcome: Outcome): Rank {
    const bucket = bucketOf(outcome, this.#retention)
    return { bucket, nth: this.#bucket(bucket).newest + 1 }
  }

  /** The success was saved and has its rank; without this the next one gets it. */
  take({ bucket }: Rank): void {
    const known = this.#bucket(bucket)
    known.newest += 1
    known.added += 1
  }

  /** Looks at twice as many as were added, and some: so what is too much grows less, whatever came before. */
  prune(): void {
    const { limit, atLeast } = this.#retention
    if (limit <= 0) return
    const stoppedBy = this.#file.now() - atLeast
    for (const [name, { newest, added }] of this.#buckets)
      if (added > 0) this.#file.run(PRUNE, name, newest - limit, 2 * added + 20, stoppedBy)
  }

  #bucket(name: string): Bucket {
    const known = this.#buckets.get(name)
    if (known) return known
    const newest = this.#file.get<{ nth: number | null }>(SELECT_NEWEST, name)?.nth ?? 0
    const bucket = { newest, added: 0 }
    this.#buckets.set(name, bucket)
    return bucket
  }
}

/** Successes that share a limit. */
interface Bucket {
  newest: number
  added: number
}

const SELECT_RULE = 'select rule from rules where queue = ?'

const SELECT_NEWEST = 'select max(nth) as nth from tasks where bucket = ?'

/** What is too young is told from the index alone. */
const PRUNE = `
  delete from tasks where seq in (
    select seq from (
      select seq, stopped_at from tasks where bucket = ? and nth <= ? order by nth limit ?
    ) where stopped_at <= ?
  ) and not ${IS_AWAITED}`

const RANK_BY = {
  queue: rankBy("''"),
  group: rankBy("coalesce(task_group, '')"),
  name: rankBy('name'),
  func: rankBy('func'),
}

/** Must name buckets as {@link bucketOf} does. */
function rankBy(owner: string): string {
  return `
  update tasks set bucket = ranked.bucket, nth = ranked.nth from (
    select seq, cluster || char(10) || ${owner} as bucket,
           row_number() over (partition by ${owner} order by seq) as nth
    from tasks where cluster = ? and success = 1 and expires_at is null
  ) as ranked
  where tasks.seq = ranked.seq`
}
