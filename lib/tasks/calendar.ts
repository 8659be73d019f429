/**
 * Wall clocks. A wall time is what the clocks of a zone show, as the milliseconds since the epoch at which UTC shows the
 * same: so days and months are added without a thought of daylight saving. Node 24 has no Temporal; what Intl knows of a
 * zone's offsets is all that is needed here.
 */

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** What the clocks of a zone show at an instant. */
export function wallOf(instant: number, zone: string): number {
  return instant + offsetAt(instant, zone)
}

/**
 * When the clocks of a zone show a wall time. One that they skip is met at the first moment after the gap, one that they
 * show twice at the first of the two: the rules of cron.
 */
export function instantOf(wall: number, zone: string): number {
  const [before, after] = [offsetAt(wall - DAY, zone), offsetAt(wall + DAY, zone)]
  const instants = [wall - before, wall - after].filter((at) => wallOf(at, zone) === wall)
  return instants.length > 0 ? Math.min(...instants) : changeBetween(wall - DAY, wall + DAY, zone)
}

/** Calendar months later; a day that the month does not have becomes its last one. */
export function addMonths(wall: number, months: number): number {
  const date = new Date(wall)
  const day = date.getUTCDate()
  date.setUTCDate(1)
  date.setUTCMonth(date.getUTCMonth() + months)
  date.setUTCDate(Math.min(day, daysIn(date)))
  return date.getTime()
}

/** Whether Intl knows a zone by this name. */
export function isZone(name: string): boolean {
  try {
    formatOf(name)
    return true
  } catch {
    return false
  }
}

/** The zone of this machine. */
export function ownZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone
}

function daysIn(month: Date): number {
  return new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 0)).getUTCDate()
}

/** The first millisecond that has another offset than `from`. */
function changeBetween(from: number, to: number, zone: string): number {
  const former = offsetAt(from, zone)
  let [low, high] = [from, to]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(middle, zone) === former) low = middle
    else high = middle
  }
  return high
}

/** Making one costs a hundred times what using it does. */
const formats = new Map<string, Intl.DateTimeFormat>()

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known) return known
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  formats.set(zone, format)
  return format
}

/** Milliseconds by which a zone is ahead of UTC. It is told as `GMT`, `GMT+05:30` or, long ago, `GMT-00:01:15`. */
function offsetAt(instant: number, zone: string): number {
  const [, sign, hours, minutes, seconds = 0] = OFFSET.exec(formatOf(zone).format(instant)) ?? []
  if (sign === undefined) return 0
  const offset = Number(hours) * HOUR + Number(minutes) * MINUTE + Number(seconds) * 1_000
  return sign === '-' ? -offset : offset
}

const OFFSET = /GMT([+-])(\d+):(\d+)(?::(\d+))?$/
