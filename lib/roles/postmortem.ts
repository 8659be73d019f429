/** The outcomes of runs that nobody told: their worker died, or no worker ever finished them. */
import type { RunningTask, Testament } from '../../machines/protocol.ts'
import { type OutcomeRefusedError, TaskCancelledError, TaskTimeoutError, WorkerDiedError } from '../errors.ts'
import type { TaskHeader } from '../package.ts'
import { encodeError, type FailureRecord } from '../tasks/failure.ts'
import type { Ended, Job } from './frames.ts'

/**
 * What a dead worker was running has failed, unless a stop cut it short or it only ran beside one that took too long.
 * @param job the run as the pusher knows it; a pusher that is new may not
 */
export function outcomeOfDead(testament: Testament, task: RunningTask, job: Job | undefined): Ended {
  const header = { ...limitsOf(task), ...(job?.header ?? headerOf(task)) }
  const told = failure({ header, args: job?.args ?? '[]' }, causeOf(testament, task))
  return {
    ...told,
    startedAt: task.startedAt,
    // The clock may have been set back meanwhile.
    stoppedAt: Math.max(task.startedAt, told.stoppedAt),
    interrupted: testament.cause === 'shutdown' || (testament.cause === 'timedOut' && !task.overran),
  }
}

/** A run that was handed out time and again and never had an outcome. */
export function outcomeOfUnfinished(job: Pick<Job, 'header' | 'args'>): Ended {
  return failure(job, { name: 'Error', message: 'Task never finished: it was handed out too often' })
}

/** A run that was cancelled before it started, or whose process was ended because of it. */
export function outcomeOfCancelled(job: Pick<Job, 'header' | 'args'>): Ended {
  const { name, message, code } = new TaskCancelledError()
  return { ...failure(job, { name, message, code }), withdrawn: 'cancelled' }
}

/** The same run as a failure: what it returned, and what it was given, may be what the store will not keep. */
export function outcomeOfRefused(ended: Ended, { name, code, message }: OutcomeRefusedError): Ended {
  return {
    ...ended,
    args: '[]',
    success: false,
    result: encodeError({ name, code, message: `result could not be saved: ${message}` }),
  }
}

function failure({ header, args }: Pick<Job, 'header' | 'args'>, error: FailureRecord): Ended {
  const now = Date.now()
  return {
    ...{ header, args, startedAt: now, stoppedAt: now },
    ...{ success: false, result: encodeError(error) },
  }
}

function headerOf({ taskId, run, attempt, name, func, startedAt }: RunningTask): TaskHeader {
  return { id: taskId, run, attempt, name, func, enqueuedAt: startedAt }
}

/** What the worker knew of the task's own limits; whoever enqueues by name does not. */
function limitsOf({ maxAttempts, retry }: RunningTask): Pick<TaskHeader, 'maxAttempts' | 'retry'> {
  return { ...(maxAttempts !== undefined && { maxAttempts }), ...(retry !== undefined && { retry }) }
}

/** Without a stack: it would be the monitor's. */
function causeOf({ cause, code: exitCode, signal }: Testament, task: RunningTask): FailureRecord {
  const isOverdue = cause === 'timedOut' && task.overran
  const { name, message, code } = isOverdue
    ? new TaskTimeoutError({ seconds: task.timeout ?? 0, isKilled: true })
    : new WorkerDiedError({ signal, code: exitCode })
  return { name, message, code }
}
