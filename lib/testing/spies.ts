import type { Enqueued, Priority } from '../brokers/broker.ts'
import type { ErrorRecord } from '../errors.ts'
import type { OpenedPackage } from '../package.ts'
import type { Ended } from '../roles/frames.ts'
import { decode } from '../tasks/codec.ts'
import { definitionOf, type TaskFunction } from '../tasks/define.ts'
import type { TaskRecord } from '../tasks/results.ts'

/** A task that was enqueued. */
export interface EnqueuedTask<TArgs extends unknown[] = unknown[]> {
  readonly id: string
  readonly name: string
  readonly func: string
  readonly args: TArgs
  readonly group?: string
  readonly priority?: Priority
  readonly queue: string
  /** Seconds before it may start. */
  readonly delay: number
  /** The id of the task that it follows from, as its hook or as the next link of its chain. */
  readonly follows?: string
}

/** One run of a task. */
export interface TestRun<TArgs extends unknown[] = unknown[], TResult = unknown> {
  readonly id: string
  readonly name: string
  readonly func: string
  readonly args: TArgs
  /** Which attempt it was: 1, 2, … */
  readonly attempt: number
  readonly success: boolean
  readonly result?: TResult
  readonly error?: ErrorRecord
}

/** A hook that was enqueued. */
export interface HookCall<TResult = unknown> {
  /** The name of the task that is the hook. */
  readonly hook: string
  /** What it is told. */
  readonly record: TaskRecord<TResult>
}

export function seenEnqueued({ queue, delay = 0 }: Enqueued, { header, args }: OpenedPackage): EnqueuedTask {
  const { id, name, func, group, priority, follows, chain } = header
  return {
    ...{ id, name, func, args: decode(args) as unknown[], queue, delay: delay / 1000 },
    ...(group !== undefined && { group }),
    ...(priority !== undefined && { priority }),
    ...(follows !== undefined && { follows }),
    ...(chain !== undefined && { [LINK]: true }),
  }
}

/** Marks the links of a chain, which follow one another and are no hooks. */
const LINK = Symbol('link')

export function seenRun({ header, args, success, result }: Ended): TestRun {
  const { id, name, func, attempt } = header
  const value = decode(result)
  return {
    ...{ id, name, func, args: decode(args) as unknown[], attempt, success },
    ...(success ? { result: value } : { error: value as ErrorRecord }),
  }
}

/** What a hook is told, where a task is one. */
export function hookIn(task: EnqueuedTask): HookCall[] {
  if (task.follows === undefined || LINK in task) return []
  return [{ hook: task.func, record: task.args[0] as TaskRecord }]
}

/** Whether something is of a task; without one everything is. */
export function isOf(task: TaskFunction | undefined): (one: { readonly func: string }) => boolean {
  const func = task && definitionOf(task)?.name
  return (one) => func === undefined || one.func === func
}
