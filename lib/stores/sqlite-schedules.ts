/** The schedules of the embedded store, in `results.db`: there the end of a task is seen in the same transaction. */
import type { SqliteFile } from '../sqlite.ts'
import {
  type DueRow,
  type ScheduledTaskRow,
  type ScheduleRow,
  toDue,
  toSchedule,
  toScheduledTask,
} from './rows.ts'
import type { Agenda, AwaitedTask, Claim, ScheduledTask, ScheduleRecord, Schedules } from './schedules.ts'
import type { SqliteWatches } from './sqlite-watches.ts'

/** Part of the migrations of `results.db`. */
export const SCHEDULE_TABLES = `
  create table schedules (
    id text primary key,
    queue text not null,
    name text not null,
    plan text not null,
    due integer,
    last_task text,
    error text,
    version integer not null,
    unique (queue, name)
  ) strict, without rowid;
  create index schedules_by_due on schedules (queue, due) where due is not null;
  create index schedules_by_task on schedules (last_task) where last_task is not null;
  create table scheduled_tasks (
    seq integer primary key,
    task_id text not null unique,
    queue text not null,
    schedule_id text not null,
    header text not null,
    args text not null,
    after_task text,
    claimed_at integer not null
  ) strict;
  create index scheduled_tasks_by_after on scheduled_tasks (after_task) where after_task is not null;`

/** Makes true of a row of `tasks` that a schedule has to know its outcome. */
export const IS_AWAITED = `(exists (select 1 from schedules where last_task = tasks.task_id)
  or exists (select 1 from scheduled_tasks where after_task = tasks.task_id))`

/** Keeps schedules in the file of an embedded store. */
export class SqliteSchedules implements Schedules {
  readonly #file: SqliteFile
  readonly #watches: SqliteWatches

  constructor(file: SqliteFile, watches: SqliteWatches) {
    this.#file = file
    this.#watches = watches
  }

  create(record: ScheduleRecord): Promise<boolean> {
    return this.#change(() => this.#file.run(INSERT, ...valuesOf(record)) > 0)
  }

  async find(queue: string, idOrName: string): Promise<ScheduleRecord | undefined> {
    const row = await this.#file.read(() => this.#file.get<ScheduleRow>(FIND, idOrName, queue, idOrName))
    return row && toSchedule(row)
  }

  list(queue: string): Promise<ScheduleRecord[]> {
    return this.#file.read(() => this.#file.all<ScheduleRow>(LIST, queue).map(toSchedule))
  }

  remove(id: string): Promise<boolean> {
    return this.#change(() => {
      this.#file.run(DELETE_WAITING, id)
      return this.#file.run('delete from schedules where id = ?', id) > 0
    })
  }

  agenda(queue: string, most: number): Promise<Agenda> {
    return this.#file.read(() => {
      const now = this.#file.now()
      const found = this.#file.all<DueRow>(SELECT_DUE, queue, most + 1)
      const due = found.filter((row) => (row.due as number) <= now).slice(0, most)
      const tasks = this.#file.get<Counts>(COUNT_TASKS, queue) as Counts
      return { now, due: due.map(toDue), next: found[due.length]?.due ?? null, ...tasks }
    })
  }

  claim(claim: Claim): Promise<boolean> {
    return this.#change(() => {
      if (!this.#exchange(claim)) return false
      for (const { taskId, queue, scheduleId, header, args, after } of claim.tasks)
        this.#file.run(ADD_TASK, taskId, queue, scheduleId, header, args, after, after ? 0 : this.#file.now())
      return true
    }, claim.tasks.length + 1)
  }

  takeOver(queue: string, patience: number): Promise<ScheduledTask[]> {
    const now = this.#file.now()
    return this.#file.write(() =>
      this.#file.all<ScheduledTaskRow>(TAKE_OVER, now, queue, now - patience).map(toScheduledTask),
    )
  }

  async settle(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(SETTLE, JSON.stringify(taskIds)))
  }

  async release(taskIds: readonly string[]): Promise<void> {
    await this.#file.write(() => this.#file.run(RELEASE, JSON.stringify(taskIds)))
  }

  awaited(queue: string): Promise<AwaitedTask[]> {
    return this.#file.read(() => this.#file.all<AwaitedTask>(SELECT_AWAITED, queue, queue))
  }

  watch(onChange: () => void): Promise<{ stop(): Promise<void> }> {
    return this.#watches.begin('schedules', onChange)
  }

  #exchange({ former, record }: Claim): boolean {
    const { id, version } = former
    if (record === null) return this.#file.run(DELETE_VERSION, id, version) > 0
    const { name, plan, due, lastTask, error } = record
    return this.#file.run(UPDATE, name, plan, due, lastTask, error, id, version) > 0
  }

  /** Does what may change a schedule; who watches is told when it has. */
  async #change(work: () => boolean, rows = 1): Promise<boolean> {
    const listeners = await this.#file.write(() => work() && this.#watches.listed('schedules'), rows)
    if (listeners) this.#watches.ring(listeners, [''])
    return listeners !== false
  }
}

type Counts = Pick<Agenda, 'waiting' | 'unpublished'>

function valuesOf({ id, queue, name, plan, due, lastTask, error, version }: ScheduleRecord) {
  return [id, queue, name, plan, due, lastTask, error, version]
}

const SELECT = 'select id, queue, name, plan, due, last_task, error, version'

const INSERT = `
  insert or ignore into schedules (id, queue, name, plan, due, last_task, error, version)
  values (?, ?, ?, ?, ?, ?, ?, ?)`

const FIND = `${SELECT} from schedules where id = ? or (queue = ? and name = ?) limit 1`

const LIST = `${SELECT} from schedules where queue = ? order by due is null, due, name`

const SELECT_DUE = `
  ${SELECT},
    last_task is not null
      and not exists (select 1 from tasks where task_id = last_task and fate <> 'retry') as is_busy,
    (select count(*) from scheduled_tasks where schedule_id = schedules.id and after_task is not null) as waiting
  from schedules where queue = ? and due is not null order by due limit ?`

const COUNT_TASKS = `
  select count(*) filter (where after_task is not null) as waiting,
         count(*) filter (where after_task is null) as unpublished
  from scheduled_tasks where queue = ?`

const DELETE_WAITING = 'delete from scheduled_tasks where schedule_id = ? and after_task is not null'

const UPDATE = `
  update or ignore schedules set name = ?, plan = ?, due = ?, last_task = ?, error = ?, version = version + 1
  where id = ? and version = ?`

const DELETE_VERSION = 'delete from schedules where id = ? and version = ?'

const ADD_TASK = `
  insert or ignore into scheduled_tasks (task_id, queue, schedule_id, header, args, after_task, claimed_at)
  values (?, ?, ?, ?, ?, ?, ?)`

const TAKE_OVER = `
  update scheduled_tasks set claimed_at = ?
  where queue = ? and claimed_at <= ? and (after_task is null
    or exists (select 1 from tasks where task_id = after_task and fate <> 'retry'))
  returning task_id, queue, schedule_id, header, args, after_task`

const SETTLE = 'delete from scheduled_tasks where task_id in (select value from json_each(?))'

const RELEASE = 'update scheduled_tasks set claimed_at = 0 where task_id in (select value from json_each(?))'

const SELECT_AWAITED = `
  select task_id as taskId, schedule_id as scheduleId from (
    select last_task as task_id, id as schedule_id from schedules where queue = ? and last_task is not null
    union
    select after_task, schedule_id from scheduled_tasks where queue = ? and after_task is not null
  ) as wanted
  where not exists (select 1 from scheduled_tasks as made where made.task_id = wanted.task_id)
    and not exists (select 1 from tasks where tasks.task_id = wanted.task_id and fate <> 'retry')`
