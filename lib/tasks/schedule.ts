/**
 * Schedules: tasks that are enqueued when their time comes.
 * @see https://django-q2.readthedocs.io/en/master/schedules.html
 */
import { type Client, defaultClient } from '../client.ts'
import { ScheduleError } from '../errors.ts'
import { loadIds, taskName } from '../names.ts'
import type { ScheduleRecord } from '../stores/schedules.ts'
import type { SavedOutcome } from '../stores/store.ts'
import { checkName, type TaskFunction } from './define.ts'
import { dueOf, type Misfire, type Overlap, type Plan, parsePlan, resumed } from './plan.ts'
import { changedPlan, newPlan, type ScheduleSettings } from './planning.ts'
import { fetch, Task, type TaskRecord, toRecord } from './results.ts'
import { preview, rhythmOf, type ScheduleType } from './rhythm.ts'
import { publish, taskOfSlot } from './slots.ts'

export type { Misfire, Overlap } from './plan.ts'
export type { ScheduleSettings, TaskOptions } from './planning.ts'
export type { ScheduleType } from './rhythm.ts'

/** Where a schedule is kept. */
export interface ScheduleLookup {
  /** The queue of the clusters that meet it; the client's own when absent. */
  readonly cluster?: string
  /** Instead of the default client. */
  readonly client?: Client
}

/** What a new schedule is told. */
export interface ScheduleOptions extends ScheduleSettings, ScheduleLookup {}

/** Arguments that fit a task, and options; both may be left out when the task can be called with nothing. */
export type ScheduleParameters<TArgs extends unknown[]> = [] extends TArgs
  ? [args?: Readonly<TArgs>, options?: ScheduleOptions]
  : [args: Readonly<TArgs>, options?: ScheduleOptions]

/**
 * `active`: it waits for its next time. `failing`: so it does, but its last task failed or could not be made. `paused`: until
 * `resume()`. `ended`: it has no more repeats. `failed`: it cannot go on until it is changed. `error` tells why.
 */
export type ScheduleState = 'active' | 'failing' | 'paused' | 'ended' | 'failed'

/**
 * Makes a schedule: any cluster that serves its queue enqueues the task when its time comes, one of them each time.
 *
 * @param task what `defineTask` made, or the name of a task
 * @param args a list of arguments, when the task takes any
 * @throws {ScheduleError} when an option is wrong, or the queue has a schedule of this name
 * @throws {ConfigError} when the task or an option of its tasks is wrong
 * @throws {SerializationError} when the arguments cannot be encoded, or are too large
 * @throws {StoreError} when the store cannot be reached
 *
 * @example
 * await schedule(report, ['sales'], { name: 'report', cron: '30 9 * * 1-5', timeZone: 'Europe/Amsterdam' })
 */
export function schedule(
  task: string,
  args?: readonly unknown[],
  options?: ScheduleOptions,
): Promise<Schedule>
export function schedule<TArgs extends unknown[], TResult>(
  task: TaskFunction<TArgs, TResult>,
  ...parameters: ScheduleParameters<TArgs>
): Promise<Schedule>
export async function schedule(
  task: unknown,
  args: unknown = [],
  { cluster, client = defaultClient(), ...given }: ScheduleOptions = {},
): Promise<Schedule> {
  const planning = newPlan(task, args, given, client)
  const [plan, queue, newId] = await Promise.all([planning, queueOf(cluster, client), loadIds()])
  const id = newId()
  const name = given.name ?? taskName(id)
  const record = recordOf({ id, queue, name, lastTask: null, version: 1 }, plan)
  if (await client.atStore(({ schedules }) => schedules.create(record))) return new Schedule(client, record)
  throw nameTaken(name, queue)
}

/** A schedule as it was when it was looked at. What changes it gives it back as it is then. */
export class Schedule {
  /** 32 hex digits. */
  readonly id: string
  readonly name: string
  /** The queue of the clusters that meet it. */
  readonly cluster: string
  /** What runs: the name that the task was defined by. */
  readonly func: string
  readonly type: ScheduleType
  readonly minutes?: number
  readonly cron?: string
  readonly timeZone: string
  /** How many more times; -1: without end. */
  readonly repeats: number
  /** Its next time, also while it is paused; null when there is none, or it has no more repeats. */
  readonly nextRun: Date | null
  readonly intendedDateKwarg?: string
  readonly overlap: Overlap
  readonly misfire: Misfire
  readonly misfireLimit: number
  readonly state: ScheduleState
  /** Why it does not do what it should. */
  readonly error: string | null
  /** The id of the task that it made last. */
  readonly lastTask: string | null
  readonly #client: Client
  readonly #record: ScheduleRecord

  /** Made by {@link schedule}, {@link Schedule.find} and {@link Schedule.list}. */
  constructor(client: Client, record: ScheduleRecord, lastOutcome?: SavedOutcome) {
    const plan = planIn(record)
    this.#client = client
    this.#record = record
    this.id = record.id
    this.name = record.name
    this.cluster = record.queue
    this.func = plan.header.func
    this.type = plan.type
    if (plan.minutes !== undefined) this.minutes = plan.minutes
    if (plan.cron !== undefined) this.cron = plan.cron
    this.timeZone = plan.timeZone
    this.repeats = plan.repeats
    this.nextRun = plan.next && plan.repeats !== 0 ? new Date(plan.next.at) : null
    if (plan.intendedDateKwarg !== undefined) this.intendedDateKwarg = plan.intendedDateKwarg
    this.overlap = plan.overlap
    this.misfire = plan.misfire
    this.misfireLimit = plan.misfireLimit
    this.lastTask = record.lastTask
    this.error = record.error ?? failureOf(lastOutcome)
    this.state = stateOf(record, plan, this.error)
  }

  /**
   * Looks for a schedule.
   * @param idOrName its id, or its name in the queue
   * @throws {StoreError} when the store cannot be reached
   */
  static async find(idOrName: string, lookup: ScheduleLookup = {}): Promise<Schedule | undefined> {
    checkName('The id or name of a schedule', idOrName)
    const { client = defaultClient() } = lookup
    const queue = await queueOf(lookup.cluster, client)
    const record = await client.atStore(({ schedules }) => schedules.find(queue, idOrName))
    return record && (await seen(client, [record]))[0]
  }

  /**
   * The schedules of a queue by their next time, those without one last.
   * @throws {StoreError} when the store cannot be reached
   */
  static async list({ cluster, client = defaultClient() }: ScheduleLookup = {}): Promise<Schedule[]> {
    const queue = await queueOf(cluster, client)
    return seen(client, await client.atStore(({ schedules }) => schedules.list(queue)))
  }

  /**
   * Changes it. What is not given stays; an error that it had is forgotten.
   * @throws {ScheduleError} when an option is wrong, the name is taken, or the schedule is gone
   */
  update(changes: ScheduleSettings): Promise<Schedule> {
    return this.#change(async (plan) => changedPlan(plan, changes, this.#client.now()), changes.name)
  }

  /** Makes no more tasks until {@link resume}. */
  pause(): Promise<Schedule> {
    return this.#change(async (plan) => ({ ...plan, isPaused: true }))
  }

  /** Goes on after a pause, or after a failure whose cause is gone. Times that passed meanwhile are not made up for. */
  resume(): Promise<Schedule> {
    return this.#change(async (plan) => resumed(plan, await rhythmOf(plan), this.#client.now()))
  }

  /**
   * Makes a task of it now, beside its times, whatever its overlap policy says and though it be paused.
   * @returns the task, once the broker has confirmed that it keeps it
   */
  async run(): Promise<Task> {
    const settings = await this.#client.settings()
    for (;;) {
      const former = await this.#current()
      const now = this.#client.now()
      const task = taskOfSlot(former, parsePlan(former.plan), { at: now, now }, settings)
      const record = { ...former, lastTask: task.taskId }
      const claim = { former, record, tasks: [task] }
      if (await this.#client.atStore(({ schedules }) => schedules.claim(claim)))
        return new Task(this.#client, await publish(this.#client, task))
    }
  }

  /**
   * Forgets it, with the slots that wait for their turn. Tasks that it has enqueued stay.
   * @returns false when it was gone already
   */
  delete(): Promise<boolean> {
    return this.#client.atStore(({ schedules }) => schedules.remove(this.id))
  }

  /** Its next times, at most so many, were it neither paused nor changed. */
  async preview(count = 5): Promise<Date[]> {
    const plan = planIn(this.#record)
    const most = plan.repeats < 0 ? count : Math.min(count, plan.repeats)
    return preview(await rhythmOf(plan), plan.next, most).map((at) => new Date(at))
  }

  /**
   * The record of the task that it made last.
   * @returns undefined while that has no outcome
   */
  async lastRun(): Promise<TaskRecord | undefined> {
    return this.lastTask === null ? undefined : fetch(this.lastTask, { client: this.#client })
  }

  /** Whether the task that it made last succeeded; undefined while that is not known. */
  async success(): Promise<boolean | undefined> {
    return (await this.lastRun())?.success
  }

  /** Changes it as it is now, not as it was: nobody's change is undone by it. */
  async #change(work: (plan: Plan) => Promise<Plan>, name?: string): Promise<Schedule> {
    for (;;) {
      const former = await this.#current()
      const plan = await work(parsePlan(former.plan))
      const record = recordOf({ ...former, name: name ?? former.name }, plan)
      const claim = { former, record, tasks: [] }
      if (await this.#client.atStore(({ schedules }) => schedules.claim(claim)))
        return new Schedule(this.#client, { ...record, version: former.version + 1 })
      await this.#refuseTaken(record)
    }
  }

  async #current(): Promise<ScheduleRecord> {
    const record = await this.#client.atStore(({ schedules }) => schedules.find(this.cluster, this.id))
    if (record) return record
    throw new ScheduleError(`The schedule "${this.name}" is gone: somebody has deleted it. Make it anew.`)
  }

  async #refuseTaken({ id, queue, name }: ScheduleRecord): Promise<void> {
    const other = await this.#client.atStore(({ schedules }) => schedules.find(queue, name))
    if (other && other.id !== id) throw nameTaken(name, queue)
  }
}

/** With the outcomes of their last tasks, which tell of a task that no worker knows. */
async function seen(client: Client, records: readonly ScheduleRecord[]): Promise<Schedule[]> {
  const ids = records.flatMap(({ lastTask }) => lastTask ?? [])
  const outcomes = ids.length > 0 ? await client.atStore((store) => store.fetch(ids)) : []
  const byTask = new Map(outcomes.map((outcome) => [outcome.taskId, outcome]))
  return records.map((record) => new Schedule(client, record, byTask.get(record.lastTask ?? '')))
}

function recordOf(
  kept: Pick<ScheduleRecord, 'id' | 'queue' | 'name' | 'lastTask' | 'version'>,
  plan: Plan,
): ScheduleRecord {
  const { id, queue, name, lastTask, version } = kept
  return { id, queue, name, lastTask, version, plan: JSON.stringify(plan), due: dueOf(plan), error: null }
}

async function queueOf(cluster: string | undefined, client: Client): Promise<string> {
  return cluster === undefined
    ? (await client.settings()).name
    : checkName('The cluster of a schedule', cluster)
}

/** What stands for a plan that cannot be read, so that it can be seen and deleted. */
const UNREADABLE: Plan = {
  ...{ type: 'once', timeZone: 'UTC', args: '[]', header: { run: 1, attempt: 1, func: '?' } },
  ...{ next: null, repeats: 0, isPaused: false, revision: 0 },
  ...{ overlap: 'allow', misfire: 'all', misfireLimit: 1 },
}

function planIn({ plan }: ScheduleRecord): Plan {
  try {
    return parsePlan(plan)
  } catch {
    // The scheduler, or who changes it, is told.
    return UNREADABLE
  }
}

function stateOf(record: ScheduleRecord, { isPaused }: Plan, error: string | null): ScheduleState {
  if (isPaused) return 'paused'
  if (record.due !== null) return error === null ? 'active' : 'failing'
  return record.error === null ? 'ended' : 'failed'
}

function failureOf(outcome: SavedOutcome | undefined): string | null {
  if (outcome === undefined) return null
  const { state, error } = toRecord(outcome)
  return state === 'failure' ? `Its last task failed: ${error?.message}` : null
}

function nameTaken(name: string, queue: string): ScheduleError {
  return new ScheduleError(
    `The queue "${queue}" has a schedule "${name}" already: choose another name, or change that one with update().`,
  )
}
