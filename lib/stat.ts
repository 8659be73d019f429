/** What a cluster shows of itself, and where to look at it. */
import { freemem, totalmem } from 'node:os'
import type { ProcessStat } from '../machines/protocol.ts'
import { type Client, defaultClient } from './client.ts'
import { openEnvelope, readUnchecked, sealEnvelope } from './envelope.ts'
import type { Signer } from './signing.ts'

export type { CurrentTask, ProcessStat } from '../machines/protocol.ts'

/** The reference's words, and Paused. Working: a worker is busy, or something waits for one, or to be saved. */
export type ClusterStatus = 'Starting' | 'Idle' | 'Working' | 'Paused' | 'Stopping' | 'Stopped'

/**
 * A cluster as it was at `at`: plain data, fresh each guard cycle.
 * @see https://django-q2.readthedocs.io/en/master/monitor.html#django_q.status.Stat
 */
export interface Stat {
  readonly clusterId: string
  /** The same in four words. */
  readonly name: string
  /** The queue that it serves. */
  readonly queue: string
  readonly host: string
  /** The cluster's own process. */
  readonly pid: number
  readonly status: ClusterStatus
  /** When it was started: milliseconds since the epoch. */
  readonly startedAt: number
  /** When this was so: milliseconds since the epoch. */
  readonly at: number
  /** Seconds since the start. */
  readonly uptime: number
  /** Processes that died and were replaced. */
  readonly reincarnations: number
  /** Deliveries in memory that no worker has started. */
  readonly taskQueueSize: number
  /** Outcomes that are not saved yet. */
  readonly doneQueueSize: number
  /** True while the broker takes nothing from it, being low on memory or disk: retries wait, running tasks do not. */
  readonly blocked: boolean
  readonly sentinel: number | null
  readonly pusher: number | null
  readonly monitor: number | null
  readonly scheduler: number | null
  /** Pids of the workers that are up. */
  readonly workers: readonly number[]
  /** How many workers there should be. */
  readonly workerCount: number
  /** The most deliveries that it holds in memory. */
  readonly queueLimit: number
  /** The host's memory in bytes: what there is, and what could be had now. */
  readonly memory: { readonly total: number; readonly available: number }
  /**
   * What its processes have counted since the start: always `succeeded`, `failed`, `retried`, `deadLettered` and
   * `interrupted`; others, such as `expired` and `cancelled`, as soon as there is a process that counts them.
   */
  readonly counters: Readonly<Record<string, number>>
  /** Every process, the sentinel first. */
  readonly processes: readonly ProcessStat[]
}

/** What a stat is made of. */
export interface StatParts
  extends Pick<Stat, 'clusterId' | 'name' | 'queue' | 'host' | 'pid' | 'startedAt' | 'reincarnations'> {
  /** Where the cluster's machine is. */
  readonly life: 'starting' | 'running' | 'paused' | 'stopping' | 'stopped'
  readonly workerCount: number
  readonly queueLimit: number
  readonly counters: Stat['counters']
  readonly processes: readonly ProcessStat[]
}

/** Makes a stat of what a cluster knows now. */
export function composeStat({ life, ...parts }: StatParts): Stat {
  const { processes, startedAt, counters } = parts
  const at = Date.now()
  const pidOf = (role: ProcessStat['role']) => processes.find((one) => one.role === role)?.pid ?? null
  const workers = processes.filter(({ role }) => role === 'worker')
  const sizes = {
    taskQueueSize: gauge(processes, 'pusher', 'waiting') + gauge(processes, 'worker', 'waiting'),
    doneQueueSize: gauge(processes, 'monitor', 'unsaved'),
  }
  return {
    ...parts,
    ...sizes,
    status: statusOf(life, isBusy(workers) || sizes.taskQueueSize + sizes.doneQueueSize > 0),
    blocked: gauge(processes, 'pusher', 'blocked') > 0,
    memory: { total: totalmem(), available: freemem() },
    at,
    uptime: Math.max(0, at - startedAt) / 1000,
    sentinel: pidOf('sentinel'),
    pusher: pidOf('pusher'),
    monitor: pidOf('monitor'),
    scheduler: pidOf('scheduler'),
    workers: workers.flatMap(({ pid }) => pid ?? []),
    counters: { ...NO_TASKS, ...counters },
  }
}

/** Signs a stat for the bus. */
export function sealStat(stat: Stat, signer: Signer): string {
  return sealEnvelope('stat', stat, signer)
}

/** Opens the stats that are ours; others are left out: whoever lists clusters need not hear of them. */
export function openStats(bodies: readonly string[], signer: Signer): Stat[] {
  return newestOfEach(bodies.flatMap((body) => readStat(body, signer)))
}

/**
 * How many clusters say that they serve our queue and are not known to our key: each side refuses what is enqueued for the
 * other. Their word decides nothing; it is only counted.
 */
export function countStrangers(bodies: readonly string[], queue: string, signer: Signer): number {
  return bodies.filter((body) => readStat(body, signer).length === 0 && claimedQueue(body) === queue).length
}

/** Where to look; the default client where it is absent. */
export interface StatOptions {
  readonly client?: Client
}

/** Looks at clusters from anywhere that reaches their broker. */
export const Stat = {
  /**
   * A cluster's stat, by its id.
   * @returns undefined when no such cluster runs, or its stat is not signed with our key
   */
  async get(clusterId: string, options: StatOptions = {}): Promise<Stat | undefined> {
    return (await Stat.getAll(options)).find((stat) => stat.clusterId === clusterId)
  },

  /** The stats of all clusters at our broker, whatever queue they serve, in the order of their start. */
  async getAll({ client = defaultClient() }: StatOptions = {}): Promise<Stat[]> {
    return client.atBroker(async (broker, { signer }) => {
      const stats = openStats(await broker.stats(), signer)
      return stats.sort((one, other) => one.startedAt - other.startedAt)
    })
  },
}

const NO_TASKS = { succeeded: 0, failed: 0, retried: 0, deadLettered: 0, interrupted: 0 }

function statusOf(life: StatParts['life'], busy: boolean): ClusterStatus {
  switch (life) {
    case 'starting':
      return 'Starting'
    case 'running':
      return busy ? 'Working' : 'Idle'
    case 'paused':
      return 'Paused'
    case 'stopping':
      return 'Stopping'
    case 'stopped':
      return 'Stopped'
  }
}

function isBusy(workers: readonly ProcessStat[]): boolean {
  return workers.some(
    ({ tasks, state, gauges: { kept = 0 } }) => tasks.length > 0 || state === 'running.working' || kept > 0,
  )
}

function gauge(processes: readonly ProcessStat[], role: ProcessStat['role'], name: string): number {
  return processes
    .filter((one) => one.role === role)
    .reduce((sum, { gauges }) => sum + (gauges[name] ?? 0), 0)
}

/** None where it is not signed by us, or was kept back and shown again. */
function readStat(body: string, signer: Signer): Stat[] {
  try {
    return [openEnvelope<Stat>('stat', body, signer)]
  } catch {
    return []
  }
}

function claimedQueue(body: string): unknown {
  try {
    return readUnchecked<Stat>(body).queue
  } catch {
    return undefined
  }
}

function newestOfEach(stats: readonly Stat[]): Stat[] {
  const byAge = stats.toSorted((one, other) => one.at - other.at)
  return [...new Map(byAge.map((stat) => [stat.clusterId, stat])).values()]
}
