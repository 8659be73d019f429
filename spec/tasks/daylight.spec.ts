import { expect } from 'chai'
import { preview, rhythmOf, type Timing } from '../../lib/tasks/rhythm.ts'

const DAY = 86_400_000
const TIMES = [
  [0, 0],
  [0, 30],
  [1, 59],
  [2, 0],
  [2, 30],
  [3, 0],
  [23, 45],
] as const

/** Does what follows with the clock of this process in a zone: the engine's own Date, which shares no code with ours. */
function inZone<T>(zone: string, work: () => T): T {
  const { TZ } = process.env
  process.env.TZ = zone
  try {
    return work()
  } finally {
    if (TZ === undefined) delete process.env.TZ
    else process.env.TZ = TZ
  }
}

/** The next two changes of the zone's offset, to the minute. */
function changes(from: number): number[] {
  const offset = (time: number) => new Date(time).getTimezoneOffset()
  const found: number[] = []
  for (let time = from; time < from + 800 * DAY && found.length < 2; time += 7 * DAY) {
    if (offset(time) === offset(time + 7 * DAY)) continue
    let [low, high] = [time, time + 7 * DAY]
    while (high - low > 60_000) {
      const middle = Math.floor((low + high) / 120_000) * 60_000
      if (offset(middle) === offset(low)) low = middle
      else high = middle
    }
    found.push(high)
  }
  return found
}

/** When the engine's clock shows a time of a day; in a gap the first moment after it, by going on minute by minute. */
function shown(year: number, month: number, day: number, hour: number, minute: number): number {
  const date = new Date(year, month, day, hour, minute)
  if (date.getHours() === hour && date.getMinutes() === minute) return date.getTime()
  let last = date.getTime() - 4 * 60 * 60_000
  for (; ; last += 60_000)
    if (new Date(last).getTimezoneOffset() !== new Date(last - 60_000).getTimezoneOffset()) return last
}

/** What is expected of a schedule at a time of day, over some days around a change. */
function expected(change: number, hour: number, minute: number, step: number): number[] {
  const first = new Date(change - (step === 1 ? 3 : step) * DAY)
  return Array.from({ length: step === 1 ? 7 : 4 }, (_, i) =>
    shown(first.getFullYear(), first.getMonth(), first.getDate() + i * step, hour, minute),
  )
}

describe('the next two clock changes of every zone', function () {
  this.timeout(30_000)

  for (const [name, step, timingOf] of [
    ['a daily schedule', 1, (_hour: number, _minute: number) => ({ type: 'daily' })],
    ['a weekly schedule', 7, (_hour: number, _minute: number) => ({ type: 'weekly' })],
    [
      'a cron pattern',
      1,
      (hour: number, minute: number) => ({ type: 'cron', cron: `${minute} ${hour} * * *` }),
    ],
  ] as [string, number, (hour: number, minute: number) => Omit<Timing, 'timeZone'>][])
    it(`are passed by ${name} as an independent calculation says`, async () => {
      let walked = 0
      for (const timeZone of Intl.supportedValuesOf('timeZone')) {
        const walks = inZone(timeZone, () =>
          changes(Date.now()).flatMap((change) =>
            TIMES.map(([hour, minute]) => ({ hour, minute, times: expected(change, hour, minute, step) })),
          ),
        )
        for (const { hour, minute, times } of walks) {
          const rhythm = await rhythmOf({ ...timingOf(hour, minute), timeZone })
          const ours = preview(rhythm, rhythm.first(times[0] as number), times.length)
          expect(ours.map(iso), `${timeZone} ${hour}:${minute}`).to.deep.equal(times.map(iso))
          walked += 1
        }
      }
      expect(walked, 'walks').to.be.greaterThan(1_000)
    })
})

const iso = (time: number): string => new Date(time).toISOString()
