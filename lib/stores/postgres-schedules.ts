/** The schedules of the store for many machines. Its own clock counts, for those of the machines may differ by seconds. */
import { type PostgresDatabase, toStorable } from '../postgres.ts'
import {
  type DueRow,
  type ScheduledTaskRow,
  type ScheduleRow,
  toDue,
  toSchedule,
  toScheduledTask,
} from './rows.ts'
import type { Agenda, AwaitedTask, Claim, ScheduledTask, ScheduleRecord, Schedules } from './schedules.ts'

/** One of the migrations. Names compare by their bytes, so that their order depends on no locale. */
export const SCHEDULE_TABLES = `
  create table qcluster_schedules (
    id text primary key,
    queue text not null,
    name text collate "C" not null,
    plan text not null,
    due double precision,
    last_task text,
    error text,
    version integer not null,
    unique (queue, name)
  );
  create index qcluster_schedules_by_due on qcluster_schedules (queue, due) where due is not null;
  create index qcluster_schedules_by_task on qcluster_schedules (last_task) where last_task is not null;
  create table qcluster_scheduled_tasks (
    seq bigint generated always as identity primary key,
    task_id text not null unique,
    queue text not null,
    schedule_id text not null,
    header text not null,
    args text not null,
    after_task text,
    claimed_at double precision not null
  );
  create index qcluster_scheduled_tasks_by_after on qcluster_scheduled_tasks (after_task)
    where after_task is not null;
  `

/** Makes true of the task with this id that a schedule has to know its outcome. */
export const isAwaited = (taskId: string): string => `
  (exists (select 1 from qcluster_schedules where last_task = ${taskId})
    or exists (select 1 from qcluster_scheduled_tasks where after_task = ${taskId}))`

/** Keeps schedules in a PostgreSQL database. */
export class PostgresSchedules implements Schedules {
  readonly #database: PostgresDatabase

  constructor(database: PostgresDatabase) {
    this.#database = database
  }

  async create({ id, queue, name, plan, due, lastTask, error, version }: ScheduleRecord): Promise<boolean> {
    const values = [id, queue, toStorable(name), toStorable(plan), due, lastTask, stored(error), version]
    return (await this.#database.query(INSERT, [...values, NOTE])).length > 0
  }

  async find(queue: string, idOrName: string): Promise<ScheduleRecord | undefined> {
    const [row] = await this.#database.query<ScheduleRow>(FIND, [queue, toStorable(idOrName)])
    return row && toSchedule(row)
  }

  async list(queue: string): Promise<ScheduleRecord[]> {
    return (await this.#database.query<ScheduleRow>(LIST, [queue])).map(toSchedule)
  }

  async remove(id: string): Promise<boolean> {
    return (await this.#database.query(REMOVE, [id, NOTE])).length > 0
  }

  async agenda(queue: string, most: number): Promise<Agenda> {
    const [found, [counts]] = await Promise.all([
      this.#database.query<DueRow>(SELECT_DUE, [queue, most + 1]),
      this.#database.query<Counts>(COUNT_TASKS, [queue]),
    ])
    const { now, waiting, unpublished } = counts as Counts
    const due = found.filter((row) => (row.due as number) <= now).slice(0, most)
    return { now, due: due.map(toDue), next: found[due.length]?.due ?? null, waiting, unpublished }
  }

  async claim({ former: { id, version }, record, tasks }: Claim): Promise<boolean> {
    const given = JSON.stringify(tasks.map(toGiven))
    if (record === null)
      return (await this.#database.query(CLAIM_LAST, [id, version, given, NOTE])).length > 0
    const { name, plan, due, lastTask, error } = record
    const values = [toStorable(name), toStorable(plan), due, lastTask, stored(error)]
    return (await this.#database.query(CLAIM, [id, version, given, NOTE, ...values])).length > 0
  }

  async takeOver(queue: string, patience: number): Promise<ScheduledTask[]> {
    return (await this.#database.query<ScheduledTaskRow>(TAKE_OVER, [queue, patience])).map(toScheduledTask)
  }

  async settle(taskIds: readonly string[]): Promise<void> {
    await this.#database.run('delete from qcluster_scheduled_tasks where task_id = any($1)', [taskIds])
  }

  async release(taskIds: readonly string[]): Promise<void> {
    await this.#database.run(RELEASE, [taskIds])
  }

  awaited(queue: string): Promise<AwaitedTask[]> {
    return this.#database.query<AwaitedTask>(SELECT_AWAITED, [queue])
  }

  watch(onChange: () => void): Promise<{ stop(): Promise<void> }> {
    return this.#database.listen(NOTE, onChange)
  }
}

/** The channel of notifications. */
const NOTE = 'qcluster_schedules'

const stored = (text: string | null): string | null => (text === null ? null : toStorable(text))

type Counts = Pick<Agenda, 'now' | 'waiting' | 'unpublished'>

function toGiven({ taskId, queue, scheduleId, header, args, after }: ScheduledTask): ScheduledTaskRow {
  const texts = { header: toStorable(header), args: toStorable(args) }
  return { task_id: taskId, queue, schedule_id: scheduleId, ...texts, after_task: after }
}

const CLOCK = 'extract(epoch from clock_timestamp())::float8 * 1000'

const COLUMNS = 'id, queue, name, plan, due, last_task, error, version'

const INSERT = `
  with made as (
    insert into qcluster_schedules (${COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict do nothing returning id
  )
  select pg_notify($9, '') from made`

const FIND = `
  select ${COLUMNS} from qcluster_schedules where id = $2 or (queue = $1 and name = $2) limit 1`

const LIST = `
  select ${COLUMNS} from qcluster_schedules where queue = $1 order by due nulls last, name`

const REMOVE = `
  with removed as (delete from qcluster_schedules where id = $1 returning id),
    waiting as (delete from qcluster_scheduled_tasks where schedule_id = $1 and after_task is not null)
  select pg_notify($2, '') from removed`

const SELECT_DUE = `
  select ${COLUMNS},
    last_task is not null and not exists (
      select 1 from qcluster_tasks where task_id = last_task and fate <> 'retry') as is_busy,
    (select count(*)::integer from qcluster_scheduled_tasks
      where schedule_id = qcluster_schedules.id and after_task is not null) as waiting
  from qcluster_schedules where queue = $1 and due is not null order by due limit $2`

const COUNT_TASKS = `
  select ${CLOCK} as now,
         count(*) filter (where after_task is not null)::integer as waiting,
         count(*) filter (where after_task is null)::integer as unpublished
  from qcluster_scheduled_tasks where queue = $1`

/** What a claim adds to its exchange of the schedule, which is one statement: a round trip is what it costs. */
const ADD_TASKS = `
  added as (
    insert into qcluster_scheduled_tasks (task_id, queue, schedule_id, header, args, after_task, claimed_at)
    select task_id, queue, schedule_id, header, args, after_task,
           case when after_task is null then ${CLOCK} else 0 end
    from json_to_recordset($3) as given (
      task_id text, queue text, schedule_id text, header text, args text, after_task text)
    where exists (select 1 from exchanged)
    on conflict do nothing
  )
  select pg_notify($4, '') from exchanged`

const CLAIM = `
  with exchanged as (
    update qcluster_schedules
    set name = $5, plan = $6, due = $7, last_task = $8, error = $9, version = version + 1
    where id = $1 and version = $2 and not exists (
      select 1 from qcluster_schedules as other
      where other.queue = qcluster_schedules.queue and other.name = $5 and other.id <> $1)
    returning id
  ), ${ADD_TASKS}`

const CLAIM_LAST = `
  with exchanged as (
    delete from qcluster_schedules where id = $1 and version = $2 returning id
  ), ${ADD_TASKS}`

const TAKE_OVER = `
  update qcluster_scheduled_tasks set claimed_at = ${CLOCK}
  where seq in (
    select seq from qcluster_scheduled_tasks
    where queue = $1 and claimed_at <= ${CLOCK} - $2 and (after_task is null
      or exists (select 1 from qcluster_tasks where task_id = after_task and fate <> 'retry'))
    order by seq for update skip locked)
  returning task_id, queue, schedule_id, header, args, after_task`

const RELEASE = 'update qcluster_scheduled_tasks set claimed_at = 0 where task_id = any($1)'

const SELECT_AWAITED = `
  select task_id as "taskId", schedule_id as "scheduleId" from (
    select last_task as task_id, id as schedule_id from qcluster_schedules
    where queue = $1 and last_task is not null
    union
    select after_task, schedule_id from qcluster_scheduled_tasks where queue = $1 and after_task is not null
  ) as wanted
  where not exists (select 1 from qcluster_scheduled_tasks as made where made.task_id = wanted.task_id)
    and not exists (
      select 1 from qcluster_tasks as known where known.task_id = wanted.task_id and fate <> 'retry')`
