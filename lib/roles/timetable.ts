import type { Client } from '../client.ts'
import { Lazy } from '../connection.ts'
import { BrokerError, StoreError, toErrorRecord } from '../errors.ts'
import type { Agenda, Claim, DueSchedule, ScheduledTask, ScheduleRecord } from '../stores/schedules.ts'
import { type Decision, decide, dueOf, isSpent, parsePlan } from '../tasks/plan.ts'
import { rhythmOf } from '../tasks/rhythm.ts'
import { publish, taskOfSlot } from '../tasks/slots.ts'

/** What a timetable works with. */
export interface TimetableParts {
  /** The queue whose schedules it meets. */
  readonly queue: string
  readonly client: Client
  readonly record: (event: string, fields: Record<string, unknown>) => void
  /** Somebody has changed a schedule. */
  readonly onChange: () => void
}

/** Schedules that one look takes on; the others are not forgotten, for the next look follows at once. */
const MOST = 100
/**
 * Milliseconds after which a task that was made and is not known to be with the broker is handed to it by another: who
 * made it has died, or has nothing to hand it to.
 */
const PATIENCE = 10_000
/** Milliseconds between two looks at least: for a change that nobody told of, and for a clock that was set. */
const LONGEST_WAIT = 10_000
/** Milliseconds between two looks at whether a task is over that another one waits for. */
const TURN = 200

/**
 * Meets the schedules of a queue, beside any number of others who do the same: whoever claims a slot makes its task, and
 * whoever finds a task that was left lying hands it to the broker.
 */
export class Timetable {
  readonly #parts: TimetableParts
  readonly #watch: Lazy<{ stop(): Promise<void> }>
  #made = 0
  #republished = 0

  constructor(parts: TimetableParts) {
    this.#parts = parts
    const { client, onChange } = parts
    this.#watch = new Lazy(() => client.atStore(({ schedules }) => schedules.watch(onChange)))
  }

  /** Tasks that were made of schedules, and those that were handed to a broker which may have had them. */
  get counters(): Readonly<Record<string, number>> {
    return { scheduled: this.#made, republished: this.#republished }
  }

  /**
   * Does all that is due.
   * @returns the milliseconds until it should look again
   * @throws {StoreError} or {@link BrokerError} when that could not be done; what was not done is still to do
   */
  async look(): Promise<number> {
    const { client, queue } = this.#parts
    // Before it looks: what changes in between is then seen twice rather than never.
    await this.#watch.get()
    const agenda = await client.atStore(({ schedules }) => schedules.agenda(queue, MOST))
    await allOf(agenda.due.map((due) => this.#meet(due, agenda.now)))
    if (agenda.unpublished + agenda.waiting > 0) await this.#takeOver()
    return waitAfter(agenda)
  }

  /** One that cannot be met is no reason not to meet the others. */
  async #meet(due: DueSchedule, now: number): Promise<void> {
    const { claim, dropped } = await this.#intent(due, now)
    if (!(await this.#parts.client.atStore(({ schedules }) => schedules.claim(claim)))) return
    const { name: schedule } = due
    if (dropped > 0) this.#parts.record('schedule.skipped', { schedule, slots: dropped })
    if (claim.record?.error) this.#parts.record('schedule.failed', { schedule, reason: claim.record.error })
    const unhindered = claim.tasks.filter(({ after }) => after === null)
    await allOf(unhindered.map((task) => this.#publish(task, schedule)))
  }

  async #intent(due: DueSchedule, now: number): Promise<Intent> {
    const { isBusy: _isBusy, waiting: _waiting, ...former } = due
    try {
      const plan = parsePlan(due.plan)
      const decision = decide(plan, await rhythmOf(plan), now, due)
      return { claim: await this.#claimAs(former, due, decision), dropped: decision.dropped }
    } catch (error) {
      return {
        claim: { former, record: { ...former, due: null, error: messageOf(error) }, tasks: [] },
        dropped: 0,
      }
    }
  }

  /** Where a task cannot be made its slot is lost, and the next one may do better. */
  async #claimAs(former: ScheduleRecord, due: DueSchedule, decision: Decision): Promise<Claim> {
    const { plan } = decision
    const later = { ...former, plan: JSON.stringify(plan), due: dueOf(plan) }
    try {
      const tasks = await this.#tasksOf(due, decision)
      const lastTask = tasks.at(-1)?.taskId ?? former.lastTask
      return { former, record: isSpent(plan) ? null : { ...later, lastTask, error: null }, tasks }
    } catch (error) {
      return { former, record: { ...later, error: messageOf(error) }, tasks: [] }
    }
  }

  async #tasksOf(due: DueSchedule, { slots, isInTurn, plan }: Decision): Promise<ScheduledTask[]> {
    const { client } = this.#parts
    const [settings, now] = [await client.settings(), client.now()]
    const tasks: ScheduledTask[] = []
    let before = due.isBusy ? due.lastTask : null
    for (const at of slots) {
      const task = taskOfSlot(due, plan, { at, now }, settings, isInTurn ? before : null)
      tasks.push(task)
      before = task.taskId
    }
    return tasks
  }

  async #takeOver(): Promise<void> {
    const { client, queue } = this.#parts
    const tasks = await client.atStore(({ schedules }) => schedules.takeOver(queue, PATIENCE))
    await allOf(tasks.map((task) => this.#publishLate(task)))
  }

  async #publishLate(task: ScheduledTask): Promise<void> {
    const { taskId, after } = task
    const schedule = await this.#nameOf(task)
    // One that has waited for its turn was never handed over before.
    if (after === null) this.#parts.record('schedule.republished', { schedule, taskId })
    if (after === null) this.#republished += 1
    await this.#publish(task, schedule)
  }

  /** A schedule that was for one time is gone by now, with its name. */
  async #nameOf({ queue, scheduleId }: ScheduledTask): Promise<string> {
    const found = await this.#parts.client.atStore(({ schedules }) => schedules.find(queue, scheduleId))
    return found?.name ?? scheduleId
  }

  /** Throws only what ails the others too. What a broker refuses is tried again with what was left lying. */
  async #publish(task: ScheduledTask, schedule: string): Promise<void> {
    const { client, record } = this.#parts
    try {
      const { id: taskId, name, func } = await publish(client, task)
      this.#made += 1
      record('schedule.met', { schedule, taskId, task: name, func })
    } catch (error) {
      if (error instanceof StoreError) throw error
      if (!(error instanceof BrokerError))
        await client.atStore(({ schedules }) => schedules.settle([task.taskId]))
      else if (error.isTransient) await this.#giveBack(task, error)
      await this.#note(task, messageOf(error))
      record('schedule.failed', { schedule, reason: messageOf(error) })
    }
  }

  async #giveBack({ taskId }: ScheduledTask, error: BrokerError): Promise<never> {
    await this.#parts.client.atStore(({ schedules }) => schedules.release([taskId]))
    throw error
  }

  /** Shows at the schedule what is wrong with its task. Whoever changes it meanwhile may have mended it. */
  async #note({ queue, scheduleId }: ScheduledTask, error: string): Promise<void> {
    await this.#parts.client.atStore(async ({ schedules }) => {
      const former = await schedules.find(queue, scheduleId)
      if (former) await schedules.claim({ former, record: { ...former, error }, tasks: [] })
    })
  }
}

/** What is to be claimed, and how many slots are let go of by it. */
interface Intent {
  readonly claim: Claim
  readonly dropped: number
}

function waitAfter({ now, due, next, waiting }: Agenda): number {
  if (due.length > 0) return 0
  const untilNext = next === null ? LONGEST_WAIT : Math.ceil(next - now)
  return Math.max(0, Math.min(untilNext, waiting > 0 ? TURN : LONGEST_WAIT, LONGEST_WAIT))
}

/** Waits for all of them, also where one fails. */
async function allOf(works: readonly Promise<void>[]): Promise<void> {
  const settled = await Promise.allSettled(works)
  const failed = settled.find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
}

function messageOf(error: unknown): string {
  return toErrorRecord(error).message
}
