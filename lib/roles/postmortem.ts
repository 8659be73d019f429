/** The outcomes of runs that nobody told: their worker died, or no worker ever finished them. */
import type { RunningTask, Testament } from '../../machines/protocol.ts'
import type { TaskHeader } from '../package.ts'
import type { Ended, Job } from './frames.ts'

/** What an outcome says of where it was made. */
export interface Scene {
  /** Encodes a failure that no worker could encode. */
  readonly encodeFailure: (message: string) => string
}

/**
 * What a dead worker was running has failed, unless a stop cut it short or it only ran beside one that took too long.
 * @param job the run as the pusher knows it; a pusher that is new may not
 */
export function outcomeOfDead(
  testament: Testament,
  task: RunningTask,
  job: Job | undefined,
  scene: Scene,
): Ended {
  const header = { ...limitsOf(task), ...(job?.header ?? headerOf(task)) }
  const told = failure({ header, args: job?.args ?? '[]' }, lastWords(testament, task), scene)
  return {
    ...told,
    startedAt: task.startedAt,
    // The clock may have been set back meanwhile.
    stoppedAt: Math.max(task.startedAt, told.stoppedAt),
    interrupted: testament.cause === 'shutdown' || (testament.cause === 'timedOut' && !task.overran),
  }
}

/** A run that was handed out time and again and never had an outcome. */
export function outcomeOfUnfinished(job: Pick<Job, 'header' | 'args'>, scene: Scene): Ended {
  return failure(job, 'Task never finished: it was handed out too often', scene)
}

/** The same run as a failure: what it returned, and what it was given, may be what the store will not keep. */
export function outcomeOfRefused(ended: Ended, reason: string, { encodeFailure }: Scene): Ended {
  return {
    ...ended,
    args: '[]',
    success: false,
    result: encodeFailure(`result could not be saved: ${reason}`),
  }
}

function failure({ header, args }: Pick<Job, 'header' | 'args'>, message: string, scene: Scene): Ended {
  const now = Date.now()
  return {
    ...{ header, args, startedAt: now, stoppedAt: now },
    ...{ success: false, result: scene.encodeFailure(message) },
  }
}

function headerOf({ taskId, run, attempt, name, func, startedAt }: RunningTask): TaskHeader {
  return { id: taskId, run, attempt, name, func, enqueuedAt: startedAt }
}

/** What the worker knew of the task's own limits; whoever enqueues by name does not. */
function limitsOf({ maxAttempts, retry }: RunningTask): Pick<TaskHeader, 'maxAttempts' | 'retry'> {
  return { ...(maxAttempts !== undefined && { maxAttempts }), ...(retry !== undefined && { retry }) }
}

function lastWords({ cause, code, signal }: Testament, task: RunningTask): string {
  if (cause === 'timedOut' && task.overran)
    return 'Task exceeded maximum timeout value; its worker process was killed'
  return `Worker process died while running the task (${signal ? `signal ${signal}` : `exit code ${code}`})`
}
