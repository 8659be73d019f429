/**
 * When a schedule is due: one slot after the other, each computed from the one before.
 * @see https://github.com/django-q2/django-q2/blob/master/django_q/models.py
 */
import { ScheduleError } from '../errors.ts'
import { addMonths, DAY, HOUR, instantOf, isZone, MINUTE, wallOf } from './calendar.ts'

/** How often a schedule is due. */
export type ScheduleType = (typeof SCHEDULE_TYPES)[number]

export const SCHEDULE_TYPES = [
  ...[
    'once',
    'minutes',
    'hourly',
    'daily',
    'weekly',
    'biweekly',
    'monthly',
    'bimonthly',
    'quarterly',
    'yearly',
  ],
  'cron',
] as const

/** What decides when a schedule is due. */
export interface Timing {
  readonly type: ScheduleType
  /** Minutes between two slots, of type `minutes`. */
  readonly minutes?: number
  /** Five fields, or six with seconds before them, of type `cron`. */
  readonly cron?: string
  /** The zone whose clocks count, by its IANA name. */
  readonly timeZone: string
}

/** A slot: one time at which a schedule is due. */
export interface Slot {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** What the clocks show then, or would show if they did not skip it; null where elapsed time counts, or a pattern. */
  readonly wall: number | null
}

/** The slots that have passed. */
export interface Passed {
  /** The newest of them, the oldest first. */
  readonly slots: readonly Slot[]
  /** How many older ones there are beside. Of a cron pattern, whose slots nobody counts: 0. */
  readonly older: number
  /** The first that has not passed; null where there is none. */
  readonly next: Slot | null
}

/** The slots of one timing. */
export interface Rhythm {
  /** The slot at an instant that somebody has chosen; of a pattern its first one that is no earlier. */
  first(at: number): Slot | null
  next(slot: Slot): Slot | null
  /** The newest slots, at most so many, from this one up to now. */
  passed(from: Slot, now: number, most: number): Passed
}

/**
 * The rhythm of a timing. Loads croner, and only for a cron pattern.
 * @throws {ScheduleError} when the pattern or the zone is none
 */
export async function rhythmOf({ type, minutes = 1, cron = '', timeZone }: Timing): Promise<Rhythm> {
  if (!isZone(timeZone)) throw noZone(timeZone)
  switch (type) {
    case 'once':
      return once
    case 'minutes':
      return elapsing(minutes * MINUTE)
    case 'hourly':
      return elapsing(HOUR)
    case 'cron':
      return patterned(cron, timeZone)
    default:
      return onCalendar(STEPS[type], timeZone)
  }
}

/** What has passed of a rhythm; nothing where there is no slot left. */
export function passedOver(rhythm: Rhythm, from: Slot | null, now: number, most: number): Passed {
  return from === null ? { slots: [], older: 0, next: null } : rhythm.passed(from, now, most)
}

/** The runs that follow, for whoever wants to see them before they come. */
export function preview(rhythm: Rhythm, from: Slot | null, count: number): number[] {
  const times: number[] = []
  for (let slot = from; slot !== null && times.length < count; slot = rhythm.next(slot)) times.push(slot.at)
  return times
}

/** From one wall time to the next. A month's end that was cut off stays so: the 31st, the 28th, the 28th. */
const STEPS = {
  daily: (wall: number) => wall + DAY,
  weekly: (wall: number) => wall + 7 * DAY,
  biweekly: (wall: number) => wall + 14 * DAY,
  monthly: (wall: number) => addMonths(wall, 1),
  bimonthly: (wall: number) => addMonths(wall, 2),
  quarterly: (wall: number) => addMonths(wall, 3),
  yearly: (wall: number) => addMonths(wall, 12),
}

const once: Rhythm = {
  first: (at) => ({ at, wall: null }),
  next: () => null,
  passed: (from, now) =>
    from.at > now ? { slots: [], older: 0, next: from } : { slots: [from], older: 0, next: null },
}

function elapsing(period: number): Rhythm {
  const slotAt = (at: number): Slot => ({ at, wall: null })
  return {
    first: slotAt,
    next: ({ at }) => slotAt(at + period),
    passed({ at }, now, most) {
      const count = Math.max(0, Math.floor((now - at) / period) + 1)
      const older = Math.max(0, count - most)
      const slots = Array.from({ length: count - older }, (_, i) => slotAt(at + (older + i) * period))
      return { slots, older, next: slotAt(at + count * period) }
    },
  }
}

/** By the wall time, not by the slot: a clock that skips one slot's time does not move those after it. */
function onCalendar(step: (wall: number) => number, zone: string): Rhythm {
  const next = ({ at, wall }: Slot): Slot => {
    const later = step(wall ?? wallOf(at, zone))
    return { at: instantOf(later, zone), wall: later }
  }
  return {
    first: (at) => ({ at, wall: wallOf(at, zone) }),
    next,
    passed(from, now, most) {
      const slots: Slot[] = []
      let slot = from
      for (; slot.at <= now; slot = next(slot)) slots.push(slot)
      const kept = slots.slice(-most)
      return { slots: kept, older: slots.length - kept.length, next: slot }
    },
  }
}

/** Finds the times of a cron pattern, which have whole seconds. */
interface Pattern {
  /** The first after an instant. */
  after(at: number): number | null
  /** The newest that are no later than an instant, the oldest first. */
  upTo(at: number, most: number): number[]
}

async function patterned(pattern: string, zone: string): Promise<Rhythm> {
  if (!hasFixedTimes(pattern)) return running(await loadPattern(pattern, zone))
  return fixed(await loadPattern(pattern, 'UTC'), zone)
}

/** Whether it names times of a day, such as `30 2,14 * * *`, and not every so often. */
function hasFixedTimes(pattern: string): boolean {
  const fields = pattern.trim().split(/\s+/)
  const times = fields.slice(0, fields.length > 5 ? 3 : 2)
  return fields.length > 1 && times.every((field) => /^[\d,-]+$/.test(field))
}

/** Every so often: as often as elapsed time says, also in an hour that the clocks show twice. */
function running(pattern: Pattern): Rhythm {
  const slotOf = (at: number | null): Slot | null => (at === null ? null : { at, wall: null })
  return {
    first: (at) => slotOf(pattern.after(at - 1)),
    next: ({ at }) => slotOf(pattern.after(at)),
    passed(from, now, most) {
      const times = pattern.upTo(now, most).filter((at) => at >= from.at)
      return { slots: times.map((at) => ({ at, wall: null })), older: 0, next: slotOf(pattern.after(now)) }
    },
  }
}

/** By what the clocks show, like the days of a calendar: croner loses a time in a gap that ends at midnight. */
function fixed(pattern: Pattern, zone: string): Rhythm {
  const after = (wall: number, earliest: number): Slot | null => {
    const later = pattern.after(wall)
    if (later === null) return null
    const at = instantOf(later, zone)
    return at < earliest ? after(later, earliest) : { at, wall: later }
  }
  return {
    first: (at) => after(wallOf(at, zone) - 1, at),
    next: ({ at, wall }) => after(wall ?? wallOf(at, zone), at + 1),
    passed(from, now, most) {
      const latest = Math.max(wallOf(now, zone), wallOf(now - DAY, zone) + DAY)
      const walls = pattern.upTo(latest, most + REPEATED)
      const slots = walls.map((wall) => ({ at: instantOf(wall, zone), wall }))
      const kept = slots.filter(({ at }) => at >= from.at && at <= now).slice(-most)
      return { slots: kept, older: 0, next: after(wallOf(now, zone), now + 1) }
    },
  }
}

/** Clocks that were set back show times that have passed as if they were to come: so many of them are looked through. */
const REPEATED = 60

async function loadPattern(pattern: string, timezone: string): Promise<Pattern> {
  const { Cron } = await import('croner')
  const cron = explained(pattern, () => new Cron(pattern, { timezone, paused: true }))
  return {
    after: (at) => explained(pattern, () => cron.nextRun(new Date(at))?.getTime() ?? null),
    upTo: (at, most) =>
      explained(pattern, () => cron.previousRuns(most, new Date(Math.floor(at / 1_000 + 1) * 1_000)))
        .map((run) => run.getTime())
        .toReversed(),
  }
}

function noZone(name: string): ScheduleError {
  return new ScheduleError(
    `There is no time zone "${name}" here: give an IANA name such as Europe/Amsterdam, or UTC.`,
  )
}

function explained<T>(pattern: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw new ScheduleError(
      `"${pattern}" is no cron pattern that could be used (${(cause as Error).message}): correct it.`,
      { cause },
    )
  }
}
