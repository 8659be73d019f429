/** What the tables of both stores have in common: their rows, and what those are outside of SQL. */
import type { DueSchedule, ScheduledTask, ScheduleRecord } from './schedules.ts'
import { type Fate, type SavedOutcome, WITHDRAWN } from './store.ts'

/** SQLite has no truth values. */
type Truth = boolean | 0 | 1

/** An outcome. */
export interface OutcomeRow {
  readonly task_id: string
  readonly run: number
  readonly attempt: number
  readonly name: string
  readonly func: string
  readonly args: string
  readonly task_group: string | null
  readonly cluster: string
  readonly enqueued_at: number
  readonly started_at: number
  readonly stopped_at: number
  readonly success: Truth
  readonly result: string
  readonly fate: Fate
  readonly expires_at: number | null
}

export function toOutcome(row: OutcomeRow): SavedOutcome {
  return {
    taskId: row.task_id,
    run: row.run,
    attempt: row.attempt,
    name: row.name,
    func: row.func,
    args: row.args,
    ...(row.task_group !== null && { group: row.task_group }),
    cluster: row.cluster,
    enqueuedAt: row.enqueued_at,
    startedAt: row.started_at,
    stoppedAt: row.stopped_at,
    success: Boolean(row.success),
    result: row.result,
    fate: row.fate,
    final: row.fate !== 'retry',
    ...(row.expires_at !== null && { expiresAt: row.expires_at }),
  }
}

/**
 * What state an outcome is in, as both dialects say it. A failure is JSON that has its code before its cause; within a text a
 * quote is escaped, so that this is a key. To read it as JSON would fail at what PostgreSQL has no characters for.
 */
export const STATE = `case when success then 'success' ${Object.entries(WITHDRAWN)
  .map(([code, state]) => [`%,"code":"${code}"%`, `%"cause":{%"code":"${code}"%`, state])
  .map(([own, cause, state]) => `when result like '${own}' and result not like '${cause}' then '${state}'`)
  .join(' ')} else 'failure' end`

export interface ScheduleRow {
  readonly id: string
  readonly queue: string
  readonly name: string
  readonly plan: string
  readonly due: number | null
  readonly last_task: string | null
  readonly error: string | null
  readonly version: number
}

export function toSchedule({ last_task: lastTask, ...row }: ScheduleRow): ScheduleRecord {
  const { id, queue, name, plan, due, error, version } = row
  return { id, queue, name, plan, due, lastTask, error, version }
}

/** A schedule, and what an agenda says of it. */
export interface DueRow extends ScheduleRow {
  readonly is_busy: Truth
  readonly waiting: number
}

export function toDue(row: DueRow): DueSchedule {
  return { ...toSchedule(row), isBusy: Boolean(row.is_busy), waiting: row.waiting }
}

/** A task of a schedule that is not published yet. */
export interface ScheduledTaskRow {
  readonly task_id: string
  readonly queue: string
  readonly schedule_id: string
  readonly header: string
  readonly args: string
  readonly after_task: string | null
}

export function toScheduledTask(row: ScheduledTaskRow): ScheduledTask {
  const { task_id: taskId, queue, schedule_id: scheduleId, header, args, after_task: after } = row
  return { taskId, queue, scheduleId, header, args, after }
}
