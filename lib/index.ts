/** qcluster: a supervised task cluster. Importing it loads no package but xstate. */
export type {
  Broker,
  ConsumeOptions,
  Consumer,
  ControlRequest,
  DeadLetter,
  DeadLetterFate,
  Delivery,
  Enqueued,
  Listener,
  ListenOptions,
  Package,
  Priority,
  Receipt,
  Settlement,
} from './brokers/broker.ts'
export { Client, close, configure, defaultClient } from './client.ts'
export { Cluster, type ClusterOptions } from './cluster.ts'
export { defineConfig, type LogLevel, type Options, type Settings } from './config.ts'
export { type Answer, type ControlOptions, control } from './control.ts'
export * from './errors.ts'
export { type InspectionObserver, type InspectOptions, inspect } from './inspection/hub.ts'
export { fromProcess } from './process/fork.ts'
export { serveProcess } from './process/serve.ts'
export { type ClusterStatus, type CurrentTask, type ProcessStat, Stat, type StatOptions } from './stat.ts'
export type {
  Agenda,
  Claim,
  DueSchedule,
  ScheduledTask,
  ScheduleRecord,
  Schedules,
} from './stores/schedules.ts'
export type {
  Decision,
  Fate,
  GroupCounts,
  Outcome,
  OutcomeCounts,
  OutcomeFilter,
  OutcomeState,
  Retention,
  SavedOutcome,
  Store,
} from './stores/store.ts'
export { AsyncTask } from './tasks/async-task.ts'
export { type CancelOptions, cancelGroup, cancelTask } from './tasks/cancel.ts'
export { asyncChain, Chain, type ChainOptions, type Fitting, type ResultsOf } from './tasks/chain.ts'
export { currentTask, type TaskContext, type TaskSignal } from './tasks/current.ts'
export {
  defineTask,
  type FailedAttempt,
  type RunLimits,
  type TaskDefinition,
  type TaskFunction,
} from './tasks/define.ts'
export {
  asyncTask,
  asyncTasks,
  type BulkOptions,
  type EnqueueOptions,
  type Hook,
  queueSize,
} from './tasks/enqueue.ts'
export type { FailureRecord } from './tasks/failure.ts'
export { countGroup, deleteGroup, fetchGroup, type GroupOptions, resultGroup } from './tasks/groups.ts'
export { asyncIter, type Item, Iter, type IterOptions } from './tasks/iter.ts'
export { type ChainLink, type LinkOptions, type LinkParameters, link, pipe } from './tasks/link.ts'
export { type Progress, type ProgressOptions, progress } from './tasks/progress.ts'
export { purgeQueue } from './tasks/purge.ts'
export { retryTask } from './tasks/rerun.ts'
export {
  deleteCached,
  deleteTask,
  fetch,
  type LookupOptions,
  locate,
  result,
  type Sighting,
  Task,
  type TaskRecord,
  type TaskState,
  type WaitOptions,
} from './tasks/results.ts'
export type { CurrentRun } from './tasks/runs.ts'
export {
  type Misfire,
  type Overlap,
  Schedule,
  type ScheduleLookup,
  type ScheduleOptions,
  type ScheduleParameters,
  type ScheduleSettings,
  type ScheduleState,
  type ScheduleType,
  schedule,
  type TaskOptions,
} from './tasks/schedule.ts'
export {
  type ExecutedTask,
  onError,
  postExecute,
  postExecuteInWorker,
  postSpawn,
  preEnqueue,
  preExecute,
  type SignalListener,
  type SignalledTask,
  type WorkerOutcome,
} from './tasks/signals.ts'
export type { UniqueRule } from './tasks/unique.ts'
