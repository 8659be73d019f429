/** The store for many machines: what has happened is kept in a PostgreSQL database, shared by any number of clusters. */
import { OutcomeRefusedError, type StoreError } from '../errors.ts'
import { isValueAtFault, PostgresDatabase, toStorable } from '../postgres.ts'
import { CANCELLATION_TABLES, PostgresCancellations } from './postgres-cancellations.ts'
import { isAwaited, PostgresSchedules, SCHEDULE_TABLES } from './postgres-schedules.ts'
import { PostgresUniques, UNIQUE_TABLES } from './postgres-uniques.ts'
import { type OutcomeRow, STATE, toOutcome } from './rows.ts'
import {
  bucketOf,
  type Decision,
  type GroupCounts,
  type Outcome,
  type OutcomeCounts,
  type OutcomeFilter,
  type Retention,
  type SavedOutcome,
  type Store,
} from './store.ts'

export interface PostgresStoreOptions {
  /** `postgres://user:password@host:port/database`. */
  readonly store: string
  /** Which successes are kept; all when absent. */
  readonly retention?: Retention
  /** Whether saving wakes those who watch; true when absent. Each commit that does waits for those of all databases. */
  readonly tells?: boolean
}

/** Makes a store over a PostgreSQL database; nothing is reached before `connect()`. */
export function postgresStore(options: PostgresStoreOptions): Store {
  return new PostgresStore(options)
}

class PostgresStore implements Store {
  readonly schedules: PostgresSchedules
  readonly uniques: PostgresUniques
  readonly cancellations: PostgresCancellations
  readonly #database: PostgresDatabase
  readonly #retention: Retention | undefined
  readonly #tells: boolean

  constructor({ store, retention, tells = true }: PostgresStoreOptions) {
    this.#database = new PostgresDatabase({ url: store, migrations: MIGRATIONS })
    this.schedules = new PostgresSchedules(this.#database)
    this.uniques = new PostgresUniques(this.#database)
    this.cancellations = new PostgresCancellations(this.#database)
    this.#retention = retention
    this.#tells = tells
  }

  async connect(): Promise<void> {
    await this.#database.connect()
    if (this.#retention) await this.#adopt(this.#retention)
  }

  close(): Promise<void> {
    return this.#database.close()
  }

  async ping(): Promise<void> {
    await this.#database.query('select 1 from qcluster_tasks limit 1')
  }

  async info(): Promise<string> {
    const [row] = await this.#database.query<{ version: string }>(
      `select current_setting('server_version') as version`,
    )
    return `PostgreSQL ${row?.version}, tables of version ${MIGRATIONS.length}`
  }

  async save(outcomes: readonly Outcome[]): Promise<void> {
    const { limit, atLeast } = this.#retention ?? { limit: 0, atLeast: 0 }
    const given = bestOf(outcomes).map((outcome, ord) => toGiven(outcome, ord, this.#retention))
    const values = [JSON.stringify(given), limit, Date.now() - atLeast, this.#tells ? notesOf(outcomes) : []]
    try {
      await this.#patiently(() => this.#database.query(SAVE, values))
    } catch (error) {
      throw isValueAtFault(error as StoreError) ? refusal(error as StoreError) : error
    }
  }

  async fetch(taskIds: readonly string[]): Promise<SavedOutcome[]> {
    const rows = await this.#database.query<OutcomeRow>(`${SELECT} where task_id = any($1) and ${IS_KEPT}`, [
      taskIds,
    ])
    return rows.map(toOutcome)
  }

  async fetchByName(name: string): Promise<SavedOutcome | undefined> {
    const [row] = await this.#database.query<OutcomeRow>(SELECT_BY_NAME, [toStorable(name)])
    return row && toOutcome(row)
  }

  async list(filter: OutcomeFilter): Promise<SavedOutcome[]> {
    const { group = null, func = null, success = null, state = null, limit = null } = filter
    const rows = await this.#database.query<OutcomeRow>(LIST, [group, func, success, state, limit])
    return rows.map(toOutcome)
  }

  async decisions(taskIds: readonly string[]): Promise<Decision[]> {
    const rows = await this.#database.query<DecisionRow>(SELECT_DECISIONS, [taskIds])
    return rows.map(({ task_id, run, success, fate }) => ({ taskId: task_id, run, success, fate }))
  }

  watch(onSaved: (taskIds: readonly string[]) => void): Promise<{ stop(): Promise<void> }> {
    return this.#database.listen(CHANNEL, (note) => onSaved(JSON.parse(note) as string[]))
  }

  async counts(): Promise<OutcomeCounts> {
    const [row] = await this.#database.query<OutcomeCounts>(COUNT)
    return row as OutcomeCounts
  }

  async countGroup(group: string): Promise<GroupCounts> {
    const [row] = await this.#database.query<GroupCounts>(COUNT_GROUP, [toStorable(group)])
    return row as GroupCounts
  }

  delete(taskIds: readonly string[]): Promise<number> {
    return this.#database.run('delete from qcluster_tasks where task_id = any($1)', [taskIds])
  }

  deleteGroup(group: string, withTasks: boolean): Promise<number> {
    return this.#database.run(withTasks ? DELETE_GROUP : UNLABEL_GROUP, [toStorable(group)])
  }

  /** Two who save the same tasks at once may stand in each other's way; one of them is told, and tries again. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (((error as Error).cause as { code?: string } | undefined)?.code !== DEADLOCK) throw error
      return work()
    }
  }

  /** Numbers the successes of the queue anew when they were numbered by another rule. */
  async #adopt({ queue, per }: Retention): Promise<void> {
    const rule = per ?? 'queue'
    if (await this.#follows(queue, rule)) return
    await this.#database.alone(async (ask) => {
      await ask(FORGET_BUCKETS, [`${queue}\n`])
      await ask(rankBy(OWNERS[rule]), [queue])
      await ask(COUNT_BUCKETS, [queue])
      await ask(SET_RULE, [queue, rule])
    })
  }

  async #follows(queue: string, rule: string): Promise<boolean> {
    const [known] = await this.#database.query<{ rule: string }>(SELECT_RULE, [queue])
    return known?.rule === rule
  }
}

type DecisionRow = Pick<OutcomeRow, 'task_id' | 'run' | 'fate'> & { readonly success: boolean }

const CHANNEL = 'qcluster_outcomes'
/** A notification carries less than 8,000 bytes; an id has 32. */
const IDS_PER_NOTE = 200
/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const DEADLOCK = '40P01'

/** One statement cannot touch a row twice, so of several outcomes of one task only the best is given to it. */
function bestOf(outcomes: readonly Outcome[]): Outcome[] {
  const best = new Map<string, Outcome>()
  for (const outcome of outcomes) {
    const known = best.get(outcome.taskId)
    if (!known || isBetter(outcome, known)) best.set(outcome.taskId, outcome)
  }
  return [...best.values()]
}

function isBetter(outcome: Outcome, known: Outcome): boolean {
  return outcome.success === known.success ? outcome.run > known.run : outcome.success
}

/** An outcome as {@link SAVE} reads it. */
function toGiven(outcome: Outcome, ord: number, retention: Retention | undefined) {
  const { taskId: task_id, run, attempt, success, fate, enqueuedAt, startedAt, stoppedAt } = outcome
  return {
    ...{ ord, task_id, run, attempt, success, fate },
    ...{ enqueued_at: enqueuedAt, started_at: startedAt, stopped_at: stoppedAt },
    ...{ name: stored(outcome.name), func: stored(outcome.func), cluster: stored(outcome.cluster) },
    ...{ args: stored(outcome.args), result: stored(outcome.result), task_group: stored(outcome.group) },
    expires_at: outcome.expiresAt ?? null,
    bucket:
      success && retention && outcome.expiresAt === undefined ? stored(bucketOf(outcome, retention)) : null,
  }
}

const stored = (text: string | undefined): string | null => (text == null ? null : toStorable(text))

function notesOf(outcomes: readonly Outcome[]): string[] {
  const ids = outcomes.map(({ taskId }) => taskId)
  const count = Math.ceil(ids.length / IDS_PER_NOTE)
  return Array.from({ length: count }, (_, i) =>
    JSON.stringify(ids.slice(i * IDS_PER_NOTE, (i + 1) * IDS_PER_NOTE)),
  )
}

function refusal({ cause }: StoreError): OutcomeRefusedError {
  const { message } = cause as Error
  return new OutcomeRefusedError(
    `PostgreSQL refuses it (${message}): return less, or a reference to where it is.`,
    { cause },
  )
}

/** Times are milliseconds in a double, which the driver reads as numbers; a bigint would come as text. */
const MIGRATIONS = [
  `
  create table qcluster_tasks (
    seq bigint generated always as identity primary key,
    task_id text not null unique,
    run integer not null,
    attempt integer not null,
    name text not null,
    func text not null,
    args text not null,
    task_group text,
    cluster text not null,
    enqueued_at double precision not null,
    started_at double precision not null,
    stopped_at double precision not null,
    success boolean not null,
    result text not null,
    fate text not null,
    bucket text,
    nth bigint
  );
  create index qcluster_tasks_by_name on qcluster_tasks (name, stopped_at);
  create index qcluster_tasks_by_func on qcluster_tasks (func, seq);
  create index qcluster_tasks_by_group on qcluster_tasks (task_group, success, fate) where task_group is not null;
  create index qcluster_tasks_by_success on qcluster_tasks (success);
  create index qcluster_tasks_by_bucket on qcluster_tasks (bucket, nth, stopped_at) where bucket is not null;
  create table qcluster_buckets (bucket text primary key, newest bigint not null);
  create table qcluster_rules (queue text primary key, rule text not null);
  `,
  SCHEDULE_TABLES,
  `${UNIQUE_TABLES} ${CANCELLATION_TABLES}`,
  `
  alter table qcluster_tasks add column expires_at double precision;
  create index qcluster_tasks_by_expiry on qcluster_tasks (expires_at) where expires_at is not null;
  `,
]

const COLUMNS = `task_id, run, attempt, name, func, args, task_group, cluster,
         enqueued_at, started_at, stopped_at, success, result, fate, expires_at`

/** Its time has not come, or it has none. */
const IS_KEPT = '(expires_at is null or expires_at > extract(epoch from now()) * 1000)'

const SELECT = `
  select ${COLUMNS} from qcluster_tasks`

const SELECT_BY_NAME = `${SELECT} where name = $1 and ${IS_KEPT} order by stopped_at desc, seq desc limit 1`

const SELECT_DECISIONS = 'select task_id, run, success, fate from qcluster_tasks where task_id = any($1)'

const LIST = `${SELECT}
  where ($1::text is null or task_group = $1) and ($2::text is null or func = $2)
    and ($3::boolean is null or success = $3) and ($4::text is null or ${STATE} = $4) and ${IS_KEPT}
  order by seq desc limit $5`

const COUNT = `
  select count(*) filter (where success)::float8 as successes,
         count(*) filter (where not success)::float8 as failures
  from qcluster_tasks where ${IS_KEPT}`

const COUNT_GROUP = `
  select count(*) filter (where success)::float8 as successes,
         count(*) filter (where not success)::float8 as failures,
         count(*) filter (where not success and fate = 'retry')::float8 as retrying
  from qcluster_tasks where task_group = $1 and ${IS_KEPT}`

const DELETE_GROUP = 'delete from qcluster_tasks where task_group = $1'

const UNLABEL_GROUP = 'update qcluster_tasks set task_group = null where task_group = $1'

/**
 * Saves a batch ($1), forgets what that makes too much (beyond $2 of a bucket, unless it stopped after $3), and wakes
 * whoever waits ($4): one statement, for a round trip costs more than all that it does. A row's lock on its bucket makes
 * the numbers right whoever saves at the same time, and buckets are locked in one order. What a statement writes it
 * does not see, so what is too much within the batch itself is not even written.
 */
const SAVE = `
  with given as (
    select * from json_to_recordset($1) as given (
      ord integer, task_id text, run integer, attempt integer, name text, func text, args text, task_group text,
      cluster text, enqueued_at double precision, started_at double precision, stopped_at double precision,
      success boolean, result text, fate text, bucket text, expires_at double precision)
  ), better as (
    select given.*, known.task_id is not null as is_known
    from given left join qcluster_tasks as known using (task_id)
    where known.task_id is null or (given.success, given.run) > (known.success, known.run)
  ), counted as (
    insert into qcluster_buckets as known (bucket, newest)
    select bucket, count(*) from better where bucket is not null group by bucket order by bucket
    on conflict (bucket) do update set newest = known.newest + excluded.newest
    returning bucket, newest
  ), ranked as (
    select better.*, newest, newest + 1 - row_number() over (partition by better.bucket order by ord desc) as nth
    from better left join counted on counted.bucket = better.bucket
  ), saved as (
    insert into qcluster_tasks as known (${COLUMNS}, bucket, nth)
    select ${COLUMNS}, bucket, nth from ranked
    where nth is null or $2 <= 0 or nth > newest - $2 or stopped_at > $3 or is_known or ${isAwaited('ranked.task_id')}
    order by ord
    on conflict (task_id) do update set
      run = excluded.run, attempt = excluded.attempt, name = excluded.name, func = excluded.func,
      args = excluded.args, task_group = excluded.task_group, cluster = excluded.cluster,
      enqueued_at = excluded.enqueued_at, started_at = excluded.started_at, stopped_at = excluded.stopped_at,
      success = excluded.success, result = excluded.result, fate = excluded.fate,
      bucket = excluded.bucket, nth = excluded.nth, expires_at = excluded.expires_at
    where (excluded.success, excluded.run) > (known.success, known.run)
  ), expired as (
    delete from qcluster_tasks where expires_at <= extract(epoch from now()) * 1000
      and task_id not in (select task_id from better)
  ), forgotten as (
    delete from qcluster_tasks where $2 > 0 and seq in (
      select seq from counted cross join lateral (
        select seq, task_id, stopped_at from qcluster_tasks
        where bucket = counted.bucket and nth <= counted.newest - $2
        order by nth limit 20 + 2 * (select count(*) from better)
      ) as oldest
      where stopped_at <= $3 and task_id not in (select task_id from better) and not ${isAwaited('oldest.task_id')}
    )
  )
  select pg_notify('${CHANNEL}', note) from unnest($4::text[]) as note`

const SELECT_RULE = 'select rule from qcluster_rules where queue = $1'

const SET_RULE = `
  insert into qcluster_rules (queue, rule) values ($1, $2) on conflict (queue) do update set rule = excluded.rule`

const FORGET_BUCKETS = 'delete from qcluster_buckets where starts_with(bucket, $1)'

const COUNT_BUCKETS = `
  insert into qcluster_buckets (bucket, newest)
  select bucket, max(nth) from qcluster_tasks where cluster = $1 and bucket is not null group by bucket`

const OWNERS = { queue: `''`, group: `coalesce(task_group, '')`, name: 'name', func: 'func' }

/** Must name buckets as {@link bucketOf} does. */
function rankBy(owner: string): string {
  return `
  update qcluster_tasks as task set bucket = ranked.bucket, nth = ranked.nth from (
    select seq, cluster || chr(10) || ${owner} as bucket,
           row_number() over (partition by ${owner} order by seq) as nth
    from qcluster_tasks where cluster = $1 and success and expires_at is null
  ) as ranked
  where task.seq = ranked.seq`
}
