/** What may be wrong with a configuration as a whole, although each of its options is right by itself. */
import { availableParallelism, totalmem } from 'node:os'
import type { ResolvedConfig, Settings } from '../config.ts'
import { EXIT } from '../errors.ts'
import type { OptionName } from '../options.ts'
import type { TaskDefinition } from '../tasks/define.ts'

/** Something that a user should know before starting. */
export interface Finding {
  /** An error keeps a cluster from its work; a warning says what will surprise; a note is good to know. */
  readonly severity: 'error' | 'warning' | 'note'
  /** Stable, for scripts. */
  readonly code: string
  /** What it means. */
  readonly message: string
  /** What to do. */
  readonly remedy: string
  /** Of an error: how the command line ends. */
  readonly exitCode?: number
}

/** What the rules look at. */
export interface Subject {
  readonly settings: Settings
  readonly given: ResolvedConfig['given']
  /** The definitions of the tasks, when they could be loaded. */
  readonly tasks: readonly TaskDefinition[]
}

/** What all rules together find. */
export function findingsOf(subject: Subject): Finding[] {
  return RULES.flatMap((rule) => rule(subject) ?? [])
}

type Rule = (subject: Subject) => Finding | Finding[] | undefined

/** One worker, its Node included. Bytes. */
const WORKER_MEMORY = 60 * 1024 ** 2
/** Beyond this many times the processors, more workers of one task each only wait for each other. */
const MOST_WORKERS_A_PROCESSOR = 8
/** A secret with fewer characters can be found by trying. */
const SHORTEST_SECRET = 16
/** What RabbitMQ gives a consumer to settle a delivery, where nobody has configured it. It tells no client. Seconds. */
const CONSUMER_TIMEOUT = 1_800

const RULES: readonly Rule[] = [
  noTimeout,
  graceUnderTimeout,
  tasksOverGrace,
  consumerTimeout,
  endlessAtOnce,
  retryUnderTimeout,
  milliseconds,
  raisedQueueLimit,
  manyWorkers,
  fewDeliveries,
  shortSecret,
  separateClusters,
]

function noTimeout({ settings }: Subject): Finding | undefined {
  if (settings.timeout !== null) return
  return {
    severity: 'note',
    code: 'no-timeout',
    message: 'timeout is not set: a task that never ends keeps its worker for ever.',
    remedy: 'Set timeout to more seconds than your longest task needs, or give each task its own.',
  }
}

function graceUnderTimeout({ settings: { timeout, grace } }: Subject): Finding | undefined {
  if (timeout === null || timeout <= grace) return
  return {
    severity: 'warning',
    code: 'grace-under-timeout',
    message: `A run may take ${timeout} s (timeout) and a stop gives it ${grace} s (grace): a longer one is cut short by every deployment and begins anew.`,
    remedy: `Set grace to ${timeout} or more, and let your service manager wait longer than that (TimeoutStopSec, terminationGracePeriodSeconds).`,
  }
}

function tasksOverGrace({ settings: { grace }, tasks }: Subject): Finding[] {
  const longer = tasks.filter(({ timeout }) => timeout !== undefined && timeout > grace)
  return longer.map(({ name, timeout }) => ({
    severity: 'warning',
    code: 'grace-under-task-timeout',
    message: `A run of the task "${name}" may take ${timeout} s and a stop gives it ${grace} s (grace): a longer one is cut short and begins anew.`,
    remedy: `Set grace to ${timeout} or more, or let the task be safe to repeat.`,
  }))
}

/** A delivery is held while it waits for the run before it, and while it runs. */
function consumerTimeout({ settings: { broker, timeout }, tasks }: Subject): Finding | undefined {
  const longest = Math.max(timeout ?? 0, ...tasks.map((task) => task.timeout ?? 0))
  if (broker === null || longest * 2 < CONSUMER_TIMEOUT) return
  return {
    severity: 'warning',
    code: 'consumer-timeout',
    message: `A run may take ${longest} s (timeout), and the delivery behind it waits as long again: RabbitMQ gives a consumer ${CONSUMER_TIMEOUT} s (consumer_timeout, where nobody has set it), then it takes back all that the cluster holds. What runs goes on, and other clusters on the queue may run it as well.`,
    remedy: `Set consumer_timeout = ${longest * 2_000 + 60_000} or more (milliseconds) in rabbitmq.conf, if that is not done, or split the work into shorter tasks.`,
  }
}

function endlessAtOnce({ settings: { maxAttempts, retry } }: Subject): Finding | undefined {
  if (maxAttempts !== 0 || retry > 0) return
  return {
    severity: 'warning',
    code: 'endless-retries',
    message:
      'maxAttempts is 0 (endless) and retry is 0: a task that always fails is run again and again without a pause.',
    remedy: 'Set retry to some seconds, or maxAttempts to a number.',
  }
}

function retryUnderTimeout({ settings: { timeout, retry, maxAttempts } }: Subject): Finding | undefined {
  if (timeout === null || maxAttempts === 1 || retry >= timeout) return
  return {
    severity: 'note',
    code: 'retry-under-timeout',
    message: `A failed run is tried again after ${retry} s (retry), sooner than it may take (timeout ${timeout} s): what made it time out may still be so.`,
    remedy: 'Nothing, when your tasks fail for other reasons; else set retry to timeout or more.',
  }
}

function milliseconds({ given }: Subject): Finding[] {
  const times: readonly OptionName[] = ['timeout', 'retry', 'grace', 'restartWindow', 'poll']
  const suspects = times.filter((name) => Number(given[name]) >= 10_000 && Number(given[name]) % 1000 === 0)
  return suspects.map((name) => ({
    severity: 'warning',
    code: 'milliseconds',
    message: `${name} is ${given[name]} seconds, which is ${hours(Number(given[name]))} hours: it looks like milliseconds.`,
    remedy: `Set ${name} to ${Number(given[name]) / 1000}, if that is what you meant.`,
  }))
}

function raisedQueueLimit({ settings, given }: Subject): Finding | undefined {
  const { queueLimit, workers, concurrency } = settings
  if (given.queueLimit === undefined || given.queueLimit >= queueLimit) return
  return {
    severity: 'warning',
    code: 'queue-limit-raised',
    message: `queueLimit ${given.queueLimit} would leave workers idle: ${workers} workers × ${concurrency} tasks and one to spare need ${queueLimit}, and that is what counts.`,
    remedy: `Set queueLimit to ${queueLimit} or more, or leave it out.`,
  }
}

function manyWorkers({ settings: { workers } }: Subject): Finding | undefined {
  const processors = availableParallelism()
  const memory = workers * WORKER_MEMORY
  if (workers <= processors * MOST_WORKERS_A_PROCESSOR && memory <= totalmem() / 2) return
  return {
    severity: 'warning',
    code: 'many-workers',
    message: `${workers} workers take about ${Math.round(memory / 1024 ** 2)} MB before they have done anything, and this machine has ${processors} processors and ${Math.round(totalmem() / 1024 ** 2)} MB.`,
    remedy:
      'Set workers to about the number of processors; for tasks that only wait, raise concurrency instead.',
  }
}

function fewDeliveries({ settings: { maxDeliveries, maxAttempts } }: Subject): Finding | undefined {
  if (maxAttempts === 0 || maxDeliveries >= maxAttempts) return
  return {
    severity: 'warning',
    code: 'few-deliveries',
    message: `maxDeliveries ${maxDeliveries} is under maxAttempts ${maxAttempts}: restarts of the cluster may use a task up before its attempts are.`,
    remedy: 'Leave maxDeliveries at its default of 50.',
  }
}

function shortSecret({ settings: { secretKey } }: Subject): Finding | undefined {
  if (secretKey.every((secret) => secret.length >= SHORTEST_SECRET)) return
  return {
    severity: 'warning',
    code: 'short-secret',
    message: `A secretKey has fewer than ${SHORTEST_SECRET} characters: who guesses it can have anything run.`,
    remedy: 'Make one with: node -p "crypto.randomBytes(32).toString(\'base64url\')"',
  }
}

/** `asyncTask(…, { cluster })` goes by the files and the key of its own client. */
function separateClusters({ given: { altClusters = {} } }: Subject): Finding[] {
  const apart = Object.entries(altClusters).filter(([, own]) => own.dataDir ?? own.secretKey)
  return apart.map(([name]) => ({
    severity: 'note',
    code: 'separate-cluster',
    message: `altClusters.${name} has its own dataDir or secretKey: asyncTask(…, { cluster: '${name}' }) of another client does not reach it.`,
    remedy: `Enqueue to it with a client of its own: new Client({ name: '${name}' }).`,
  }))
}

function hours(seconds: number): string {
  return (seconds / 3600).toFixed(1)
}

/** How a check ends: what keeps a cluster from starting, in the order in which a start would meet it. */
export function exitCodeOf(findings: readonly Finding[]): number {
  const codes = findings.flatMap(({ exitCode }) => exitCode ?? [])
  return [EXIT.usage, EXIT.unreachable, EXIT.tasks].find((code) => codes.includes(code)) ?? EXIT.clean
}
