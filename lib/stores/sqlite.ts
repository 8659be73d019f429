/** The embedded store: what has happened is kept in `results.db` in the data folder, shared by any number of processes. */
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { OutcomeRefusedError, StoreError } from '../errors.ts'
import { type Durability, isValueAtFault, SqliteFile } from '../sqlite.ts'
import { type OutcomeRow, STATE, toOutcome } from './rows.ts'
import { CANCELLATION_TABLES, SqliteCancellations } from './sqlite-cancellations.ts'
import { type Rank, RETENTION_TABLES, SqliteRetention } from './sqlite-retention.ts'
import { SCHEDULE_TABLES, SqliteSchedules } from './sqlite-schedules.ts'
import { SqliteUniques, UNIQUE_TABLES } from './sqlite-uniques.ts'
import { type Bells, SqliteWatches, TOPIC_COLUMN } from './sqlite-watches.ts'
import type {
  Decision,
  Fate,
  GroupCounts,
  Outcome,
  OutcomeCounts,
  OutcomeFilter,
  Retention,
  SavedOutcome,
  Store,
} from './store.ts'

export interface SqliteStoreOptions {
  /** The folder that holds `results.db`; made when there is none. */
  readonly dataDir: string
  /** `normal`, the default, survives the death of every process; `full` a power cut too. */
  readonly durability?: Durability
  /** Which successes are kept; all when absent. */
  readonly retention?: Retention
}

/** Makes a store over `results.db` in the data folder; nothing is opened before `connect()`. */
export function sqliteStore({ dataDir, ...options }: SqliteStoreOptions): Store {
  return new SqliteStore({ path: join(dataDir, 'results.db'), ...options })
}

/** Where a store keeps what has happened, and how. */
export interface SqliteStoreParts extends Omit<SqliteStoreOptions, 'dataDir'> {
  readonly path: string
  /** How watchers are reached; by sockets where it is absent. */
  readonly bells?: Bells
  /** What its times go by; the machine's where it is absent. */
  readonly clock?: Pick<Clock, 'now'>
}

/** The embedded store, wherever its tables are. */
export class SqliteStore implements Store {
  readonly schedules: SqliteSchedules
  readonly uniques: SqliteUniques
  readonly cancellations: SqliteCancellations
  readonly #file: SqliteFile
  readonly #watches: SqliteWatches
  readonly #retention: SqliteRetention | undefined

  constructor({ path, durability = 'normal', retention, bells, clock }: SqliteStoreParts) {
    this.#file = new SqliteFile({
      ...{ path, durability, migrations: MIGRATIONS, Failure: StoreError },
      ...(clock && { clock }),
    })
    if (retention) this.#retention = new SqliteRetention(this.#file, retention)
    this.#watches = new SqliteWatches(this.#file, bells)
    this.schedules = new SqliteSchedules(this.#file, this.#watches)
    this.uniques = new SqliteUniques(this.#file)
    this.cancellations = new SqliteCancellations(this.#file)
  }

  async connect(): Promise<void> {
    await this.#file.connect()
    await this.#retention?.adopt()
    await this.#watches.listAll()
  }

  async close(): Promise<void> {
    this.#file.hurry()
    await this.#watches.close()
    await this.#file.close()
  }

  async ping(): Promise<void> {
    await this.#file.read(() => this.#file.get('select 1 from tasks limit 1'))
  }

  async info(): Promise<string> {
    return `SQLite ${await this.#file.version()}`
  }

  async save(outcomes: readonly Outcome[]): Promise<void> {
    const watchers = await this.#keep(outcomes)
    if (watchers.length > 0) this.#watches.ring(watchers, announce(outcomes))
  }

  fetch(taskIds: readonly string[]): Promise<SavedOutcome[]> {
    return this.#file.read(() =>
      this.#file
        .all<OutcomeRow>(`${SELECT} ${AMONG} and ${IS_KEPT}`, JSON.stringify(taskIds), this.#file.now())
        .map(toOutcome),
    )
  }

  async fetchByName(name: string): Promise<SavedOutcome | undefined> {
    const row = await this.#file.read(() =>
      this.#file.get<OutcomeRow>(SELECT_BY_NAME, name, this.#file.now()),
    )
    return row && toOutcome(row)
  }

  decisions(taskIds: readonly string[]): Promise<Decision[]> {
    return this.#file.read(() =>
      this.#file
        .all<OutcomeRow>(`select task_id, run, success, fate from tasks ${AMONG}`, JSON.stringify(taskIds))
        .map(({ task_id, run, success, fate }) => ({ taskId: task_id, run, success: success === 1, fate })),
    )
  }

  watch(onSaved: (taskIds: readonly string[]) => void): Promise<{ stop(): Promise<void> }> {
    return this.#watches.begin('outcomes', (notes) => onSaved(notes.flatMap(toTaskIds)))
  }

  async list(filter: OutcomeFilter): Promise<SavedOutcome[]> {
    const conditions = conditionsOf(filter)
    const where = conditions.map(({ sql }) => sql).join(' and ') || 'true'
    const values = conditions.map(({ value }) => value)
    const rows = await this.#file.read(() =>
      this.#file.all<OutcomeRow>(
        `${SELECT} where ${where} and ${IS_KEPT} ${NEWEST}`,
        ...values,
        this.#file.now(),
        filter.limit ?? ALL,
      ),
    )
    return rows.map(toOutcome)
  }

  async counts(): Promise<OutcomeCounts> {
    const rows = await this.#file.read(() => this.#file.all<Tally>(COUNT, this.#file.now()))
    return { successes: sum(rows, isSuccess), failures: sum(rows, isFailure) }
  }

  async countGroup(group: string): Promise<GroupCounts> {
    const rows = await this.#file.read(() => this.#file.all<Tally>(COUNT_GROUP, group, this.#file.now()))
    return {
      successes: sum(rows, isSuccess),
      failures: sum(rows, isFailure),
      retrying: sum(rows, (row) => isFailure(row) && row.fate === 'retry'),
    }
  }

  delete(taskIds: readonly string[]): Promise<number> {
    return this.#file.write(() => this.#file.run(`delete from tasks ${AMONG}`, JSON.stringify(taskIds)))
  }

  deleteGroup(group: string, withTasks: boolean): Promise<number> {
    return this.#file.write(() => this.#file.run(withTasks ? DELETE_GROUP : UNLABEL_GROUP, group))
  }

  async #keep(outcomes: readonly Outcome[]): Promise<string[]> {
    try {
      return await this.#file.write(() => {
        this.#saveAll(outcomes)
        return this.#watches.listed('outcomes')
      }, outcomes.length)
    } catch (error) {
      throw isValueAtFault(error as StoreError) ? refusal(error as StoreError) : error
    }
  }

  #saveAll(outcomes: readonly Outcome[]): void {
    const ranks = this.#retention?.ranks()
    for (const outcome of outcomes) {
      const rank = outcome.success && outcome.expiresAt === undefined ? ranks?.next(outcome) : undefined
      if (this.#upsert(outcome, rank) && rank) ranks?.take(rank)
    }
    ranks?.prune()
    this.#file.run(DELETE_EXPIRED, this.#file.now())
  }

  /** Whether it was better than what was known. */
  #upsert(outcome: Outcome, rank: Rank | undefined): boolean {
    const changed = this.#file.run(
      UPSERT,
      outcome.taskId,
      outcome.run,
      outcome.attempt,
      outcome.name,
      outcome.func,
      outcome.args,
      outcome.group ?? null,
      outcome.cluster,
      outcome.enqueuedAt,
      outcome.startedAt,
      outcome.stoppedAt,
      outcome.success ? 1 : 0,
      outcome.result,
      outcome.fate,
      rank?.bucket ?? null,
      rank?.nth ?? null,
      outcome.expiresAt ?? null,
    )
    return changed > 0
  }
}

/** Task ids in one note: its line stays far below what a doorbell takes. */
const IDS_PER_NOTE = 500

function announce(outcomes: readonly Outcome[]): string[] {
  const notes: string[] = []
  for (let i = 0; i < outcomes.length; i += IDS_PER_NOTE)
    notes.push(JSON.stringify(outcomes.slice(i, i + IDS_PER_NOTE).map(({ taskId }) => taskId)))
  return notes
}

const toTaskIds = (note: string) => JSON.parse(note) as string[]

function refusal({ cause }: StoreError): OutcomeRefusedError {
  const { message } = cause as Error
  return new OutcomeRefusedError(
    `SQLite refuses it (${message}): return less, or a reference to where it is.`,
    { cause },
  )
}

/** How many rows share a success and a fate. */
interface Tally {
  readonly success: number
  readonly fate: Fate
  readonly count: number
}

const isSuccess = ({ success }: Tally): boolean => success === 1
const isFailure = ({ success }: Tally): boolean => success === 0

function sum(rows: readonly Tally[], counts: (row: Tally) => boolean): number {
  return rows.filter(counts).reduce((total, { count }) => total + count, 0)
}

/**
 * Names are four random words. An index on the name alone dirties another page with almost every row, which made a save
 * cost three times as much; within blocks of 2,048 rows all new names land in the same few pages, and a search by name
 * looks into each block, the newest first.
 */
const MIGRATIONS = [
  `
  create table tasks (
    seq integer primary key,
    task_id text not null unique,
    run integer not null,
    attempt integer not null,
    name text not null,
    func text not null,
    args text not null,
    task_group text,
    cluster text not null,
    enqueued_at integer not null,
    started_at integer not null,
    stopped_at integer not null,
    success integer not null,
    result text not null,
    fate text not null
  ) strict;
  create index tasks_by_name on tasks (seq >> 11, name);
  create index tasks_by_group on tasks (task_group) where task_group is not null;
  create index tasks_by_success on tasks (success, stopped_at);
  create table watchers (doorbell text primary key) strict, without rowid;
  `,
  `
  ${RETENTION_TABLES}
  drop index tasks_by_group;
  create index tasks_by_group on tasks (task_group, success, fate) where task_group is not null;
  drop index tasks_by_success;
  create index tasks_by_success on tasks (success);
  `,
  `${TOPIC_COLUMN} ${SCHEDULE_TABLES}`,
  `${UNIQUE_TABLES} ${CANCELLATION_TABLES}`,
  `
  alter table tasks add column expires_at integer;
  create index tasks_by_expiry on tasks (expires_at) where expires_at is not null;
  drop index tasks_by_group;
  create index tasks_by_group on tasks (task_group, success, fate, expires_at) where task_group is not null;
  `,
]

const SELECT = `
  select task_id, run, attempt, name, func, args, task_group, cluster,
         enqueued_at, started_at, stopped_at, success, result, fate, expires_at
  from tasks`

const AMONG = 'where task_id in (select value from json_each(?))'

/** Its time has not come, or it has none. */
const IS_KEPT = `(expires_at is null or expires_at > ?)`

const DELETE_EXPIRED = `delete from tasks where expires_at <= ?`

const NEWEST = 'order by seq desc limit ?'

/** SQLite's word for no limit. */
const ALL = -1

function conditionsOf({
  group,
  func,
  success,
  state,
}: OutcomeFilter): { sql: string; value: string | number }[] {
  return [
    ...(group === undefined ? [] : [{ sql: 'task_group = ?', value: group }]),
    ...(func === undefined ? [] : [{ sql: 'func = ?', value: func }]),
    // The sign keeps the search in a group from going over all successes.
    ...(success === undefined
      ? []
      : [{ sql: `${group === undefined ? '' : '+'}success = ?`, value: Number(success) }]),
    ...(state === undefined ? [] : [{ sql: `${STATE} = ?`, value: state }]),
  ]
}

/** The few that have expired are taken off all, for which an index is enough. */
const COUNT = `
  select success, '' as fate, count(*) - (
    select count(*) from tasks as gone where gone.expires_at <= ? and gone.success = tasks.success
  ) as count from tasks group by success`

const COUNT_GROUP = `
  select success, fate, count(*) as count from tasks
  where task_group = ? and ${IS_KEPT} group by success, fate`

const DELETE_GROUP = 'delete from tasks where task_group = ?'

const UNLABEL_GROUP = 'update tasks set task_group = null where task_group = ?'

const SELECT_BY_NAME = `
  with recursive blocks (block) as (
    select max(seq) >> 11 from tasks
    union all
    select (select max(seq) >> 11 from tasks where seq < block << 11) from blocks where block is not null
  )
  select tasks.* from blocks cross join tasks on tasks.seq >> 11 = block and tasks.name = ?
  where ${IS_KEPT}
  order by stopped_at desc, seq desc limit 1`

const UPSERT = `
  insert into tasks (task_id, run, attempt, name, func, args, task_group, cluster,
                     enqueued_at, started_at, stopped_at, success, result, fate, bucket, nth, expires_at)
  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  on conflict (task_id) do update set
    run = excluded.run, attempt = excluded.attempt, name = excluded.name, func = excluded.func, args = excluded.args,
    task_group = excluded.task_group, cluster = excluded.cluster, enqueued_at = excluded.enqueued_at,
    started_at = excluded.started_at, stopped_at = excluded.stopped_at, success = excluded.success,
    result = excluded.result, fate = excluded.fate, bucket = excluded.bucket, nth = excluded.nth,
    expires_at = excluded.expires_at
  where excluded.success > success or (excluded.success = success and excluded.run > run)`
