/** From what a user says of a schedule to its plan. */
import type { Client } from '../client.ts'
import { ScheduleError } from '../errors.ts'
import { nearestName } from '../names.ts'
import { ownZone } from './calendar.ts'
import { encode, pack } from './codec.ts'
import { checkName, show } from './define.ts'
import { calledTask, checkArgs, choicesOf, type EnqueueOptions, refuseForeign, ruleOf } from './enqueue.ts'
import type { Misfire, Overlap, Plan } from './plan.ts'
import { type Rhythm, rhythmOf, SCHEDULE_TYPES, type ScheduleType, type Slot, type Timing } from './rhythm.ts'

/** What can be said of a schedule, and changed later. */
export interface ScheduleSettings {
  /** Unique in its queue: 1 to 200 characters. Four words when absent. Its tasks have it for their group. */
  readonly name?: string
  /** How often it is due. Left out: `cron` or `minutes` when one of these is given, else `once`. */
  readonly type?: ScheduleType
  /** Minutes between two slots of type `minutes`; 1 when absent. */
  readonly minutes?: number
  /** The pattern of type `cron`: five fields, or six with seconds before them. */
  readonly cron?: string
  /** The IANA name of the zone whose clocks count; that of this machine when absent. */
  readonly timeZone?: string
  /** How many more times; -1, the default: without end; 0: not at all. */
  readonly repeats?: number
  /** The first time; now when absent. Of type `cron` the first time of the pattern that is no earlier. */
  readonly nextRun?: Date
  /** The property of the last argument that gets the time of the slot, as ISO 8601. */
  readonly intendedDateKwarg?: string
  /** When the former task is not over: `allow` both, the default, `skip` the slot, or `queue` it until the end. */
  readonly overlap?: Overlap
  /**
   * What is made up for of slots that passed while no cluster was there: `all`, `once` for the newest, or none (`skip`).
   * `all` when absent, of type `cron` `once`.
   */
  readonly misfire?: Misfire
  /** How many slots are made up for, or queue, at the most; 100 when absent. */
  readonly misfireLimit?: number
  /** What each of its tasks is told when it is enqueued. */
  readonly options?: TaskOptions
}

const FOREIGN = [
  'cluster',
  'client',
  'delay',
  'runAt',
  'chain',
  'iterCount',
  'iterCached',
  'sync',
] as const satisfies readonly (keyof EnqueueOptions)[]

/** The options of tasks that make sense for each task of a schedule. */
export type TaskOptions = Omit<EnqueueOptions, (typeof FOREIGN)[number]>

/**
 * Makes a plan. What the arguments are is encoded before anything else happens.
 * @throws {ScheduleError} when an option is wrong, or the schedule would never be due
 * @throws {ConfigError} when the task or an option of its tasks is wrong
 * @throws {SerializationError} when the arguments cannot be encoded, or are too large
 */
export async function newPlan(
  task: unknown,
  args: unknown,
  given: ScheduleSettings,
  client: Pick<Client, 'settings' | 'now'>,
): Promise<Plan> {
  const settings = client.settings()
  const encoded = encode(checkArgs(args), 'args')
  const work = workOf(task, given.options)
  const checked = checkSettings(given, work.header.func)
  const timing = timingOf(checked)
  const rhythm = await rhythmOf(timing)
  const plan: Plan = {
    ...{ ...timing, ...work, isPaused: false, revision: 1 },
    args: pack(encoded, `The arguments of "${work.header.func}"`, await settings),
    next: firstSlot(rhythm, checked.nextRun ?? new Date(client.now()), timing),
    ...manners(checked, timing.type),
  }
  return refuseUnseen(plan)
}

/**
 * Changes a plan. What is not given stays.
 * @throws as {@link newPlan} does
 */
export async function changedPlan(plan: Plan, given: ScheduleSettings, now: number): Promise<Plan> {
  const checked = checkSettings(given, plan.header.func)
  const timing = isTimed(checked) ? timingOf(retimed(plan, checked)) : plan
  const rhythm = await rhythmOf(timing)
  const { cron: _cron, minutes: _minutes, ...kept } = plan
  return refuseUnseen({
    ...{ ...kept, ...timing, ...(checked.options && workOf(plan.header.func, checked.options)) },
    ...manners({ ...mannersOf(plan), ...checked }, timing.type),
    next: nextSlot(plan, checked, { rhythm, timing, now }),
    revision: plan.revision + 1,
  })
}

/** How a schedule behaves, unless told otherwise. */
const STANDARD = { repeats: -1, overlap: 'allow', misfireLimit: 100 } as const

const OVERLAPS: readonly Overlap[] = ['allow', 'skip', 'queue']
const MISFIRES: readonly Misfire[] = ['all', 'once', 'skip']

/** Minutes in a year. */
const LONGEST = 366 * 24 * 60

const SETTINGS = [
  ...['name', 'type', 'minutes', 'cron', 'timeZone', 'repeats', 'nextRun', 'intendedDateKwarg'],
  ...['overlap', 'misfire', 'misfireLimit', 'options'],
] as const satisfies (keyof ScheduleSettings)[]

/** What each setting has to be, and whether a value is. */
const RANGES: { readonly [name in keyof ScheduleSettings]: [string, (value: unknown) => boolean] } = {
  type: [`one of ${SCHEDULE_TYPES.join(', ')}`, (value) => SCHEDULE_TYPES.some((type) => type === value)],
  minutes: ['a whole number of minutes from 1 to a year', (value) => isWhole(value, 1) && value <= LONGEST],
  cron: ['a text such as "30 9 * * 1-5"', (value) => typeof value === 'string'],
  timeZone: ['an IANA name such as Europe/Amsterdam', (value) => typeof value === 'string'],
  repeats: ['a whole number, -1 (without end) or more', (value) => isWhole(value, -1)],
  nextRun: ['a valid Date', (value) => value instanceof Date && Number.isFinite(value.getTime())],
  intendedDateKwarg: ['the name of a property, such as "date"', isIdentifier],
  overlap: [`one of ${OVERLAPS.join(', ')}`, (value) => OVERLAPS.some((one) => one === value)],
  misfire: [`one of ${MISFIRES.join(', ')}`, (value) => MISFIRES.some((one) => one === value)],
  misfireLimit: ['a whole number from 1 to 1,000', (value) => isWhole(value, 1) && value <= 1_000],
}

function checkSettings(given: ScheduleSettings, func: string): ScheduleSettings {
  const owner = `The schedule of "${func}"`
  const entries = Object.entries(given).filter(([, value]) => value !== undefined)
  for (const [name, value] of entries) checkSetting(owner, name, value)
  const type = typeOf(given)
  for (const own of ['minutes', 'cron'] as const)
    if (given[own] !== undefined && type !== own)
      throw new ScheduleError(`${owner} is of type ${type}, which has no ${own}; remove one of them.`)
  return Object.fromEntries(entries)
}

function checkSetting(owner: string, name: string, value: unknown): void {
  if (!SETTINGS.some((known) => known === name))
    throw new ScheduleError(
      `${owner} has no option "${name}"; the nearest one is ${nearestName(name, SETTINGS)}. Correct or remove it.`,
    )
  if (name === 'name') checkName(`${owner}: name`, value)
  const [expected, isRight] = RANGES[name as keyof ScheduleSettings] ?? ['', () => true]
  if (!isRight(value))
    throw new ScheduleError(
      `${owner}: ${name} must be ${expected}, got ${show(value)}; correct or remove it.`,
    )
}

/** What its tasks are. */
function workOf(task: unknown, options: TaskOptions = {}): Pick<Plan, 'header' | 'taskName' | 'unique'> {
  refuseForeign(options, FOREIGN, 'A task of a schedule')
  const definition = calledTask(task)
  const { taskName } = options
  const unique = ruleOf(definition, options)
  return {
    header: { ...choicesOf(definition, options), ...(unique && { unique: true }) },
    ...(taskName !== undefined && { taskName }),
    ...(unique && { unique }),
  }
}

/** The type that a setting of one type alone says. */
function typeOf({ type, minutes, cron }: ScheduleSettings): ScheduleType | undefined {
  return type ?? (cron === undefined ? (minutes === undefined ? undefined : 'minutes') : 'cron')
}

function timingOf(given: ScheduleSettings): Timing {
  const { minutes = 1, cron, timeZone = ownZone() } = given
  const type = typeOf(given) ?? 'once'
  if (type === 'cron' && cron === undefined)
    throw new ScheduleError('A schedule of type cron needs a pattern: give cron, such as "30 9 * * 1-5".')
  return {
    ...{ type, timeZone },
    ...(type === 'minutes' && { minutes }),
    ...(type === 'cron' && cron !== undefined && { cron }),
  }
}

const isTimed = (given: ScheduleSettings): boolean =>
  ['type', 'minutes', 'cron', 'timeZone'].some((name) => name in given)

function retimed({ type, minutes, cron, timeZone }: Plan, given: ScheduleSettings): ScheduleSettings {
  const former = { timeZone, ...(minutes !== undefined && { minutes }), ...(cron !== undefined && { cron }) }
  return { ...former, ...given, type: typeOf(given) ?? type }
}

type Manners = Pick<Plan, 'repeats' | 'overlap' | 'misfire' | 'misfireLimit' | 'intendedDateKwarg'>

function mannersOf({ repeats, overlap, misfire, misfireLimit, intendedDateKwarg }: Plan): ScheduleSettings {
  const kwarg = intendedDateKwarg === undefined ? {} : { intendedDateKwarg }
  return { repeats, overlap, misfire, misfireLimit, ...kwarg }
}

function manners(given: ScheduleSettings, type: ScheduleType): Manners {
  const { repeats, overlap, misfire, misfireLimit } = { ...STANDARD, ...given }
  const { intendedDateKwarg } = given
  return {
    ...{ repeats, overlap, misfireLimit },
    // A pattern says when it suits, an interval how often: only of the latter each one counts.
    misfire: misfire ?? (type === 'cron' ? 'once' : 'all'),
    ...(intendedDateKwarg !== undefined && { intendedDateKwarg }),
  }
}

interface Retiming {
  readonly rhythm: Rhythm
  readonly timing: Timing
  readonly now: number
}

function nextSlot(plan: Plan, { nextRun }: ScheduleSettings, { rhythm, timing, now }: Retiming): Slot | null {
  if (nextRun !== undefined) return firstSlot(rhythm, nextRun, timing)
  if (timing === plan) return plan.next
  const from = timing.type === 'cron' ? undefined : plan.next?.at
  return firstSlot(rhythm, new Date(from ?? now), timing)
}

function firstSlot(rhythm: Rhythm, from: Date, { cron }: Timing): Slot {
  const slot = rhythm.first(from.getTime())
  if (slot !== null) return slot
  throw new ScheduleError(`The pattern "${cron}" has no time after ${from.toISOString()}: correct it.`)
}

/** Whether the task before is over is told by its saved outcome. */
function refuseUnseen(plan: Plan): Plan {
  const { overlap, header, unique } = plan
  if (overlap === 'allow') return plan
  if (unique !== undefined)
    throw new ScheduleError(
      `The schedule of "${header.func}" has overlap: "${overlap}" for tasks that are unique by themselves: remove one of them.`,
    )
  if (header.save !== false) return { ...plan, header: { ...header, save: true } }
  throw new ScheduleError(
    `The schedule of "${header.func}" cannot ${overlap} overlapping tasks whose success is not saved: remove save: false, or overlap.`,
  )
}

function isWhole(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least
}

function isIdentifier(value: unknown): boolean {
  return typeof value === 'string' && /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(value)
}
