import { expect } from 'chai'
import { ScheduleError } from '../../lib/errors.ts'
import { decide, dueOf, isSpent, LATE, type Plan, resumed } from '../../lib/tasks/plan.ts'
import { rhythmOf } from '../../lib/tasks/rhythm.ts'

const HOUR = 3_600_000
const NOON = Date.parse('2026-01-31T12:00:00Z')

const planned = (changes: Partial<Plan> = {}): Plan => ({
  ...{ type: 'hourly', timeZone: 'UTC', args: '[]', header: { run: 1, attempt: 1, func: 'f' } },
  ...{ next: { at: NOON, wall: null }, repeats: -1, isPaused: false, revision: 1 },
  ...{ overlap: 'allow', misfire: 'all', misfireLimit: 100 },
  ...changes,
})

const idle = { isBusy: false, waiting: 0 }
const busy = { isBusy: true, waiting: 0 }

async function decided(plan: Plan, now: number, progress = idle) {
  const { slots, dropped, isInTurn, plan: later } = decide(plan, await rhythmOf(plan), now, progress)
  const hours = slots.map((at) => (at - NOON) / HOUR)
  return {
    hours,
    dropped,
    isInTurn,
    next: later.next && (later.next.at - NOON) / HOUR,
    repeats: later.repeats,
  }
}

describe('what a plan decides', () => {
  it('is to wait for a slot that has not passed', async () => {
    expect(await decided(planned(), NOON - 1)).to.include({ dropped: 0, next: 0, repeats: -1 })
  })

  it('is to meet a slot on time, and then to wait for the next', async () => {
    expect(await decided(planned(), NOON)).to.deep.equal({
      ...{ hours: [0], dropped: 0, isInTurn: false, next: 1, repeats: -1 },
    })
  })

  it('is to count the repeats down, never below none, and not at all without end', async () => {
    expect(await decided(planned({ repeats: 1 }), NOON)).to.include({ repeats: 0, next: 1 })
    expect(await decided(planned({ repeats: 2 }), NOON + 5 * HOUR)).to.deep.include({
      hours: [0, 1],
      repeats: 0,
    })
    expect(await decided(planned(), NOON + 5 * HOUR)).to.include({ repeats: -1 })
  })

  it('makes up for what was missed as the misfire policy says', async () => {
    const now = NOON + 12 * HOUR + 60_000
    const made = async (changes: Partial<Plan>) => (await decided(planned(changes), now)).hours
    expect(await made({ misfire: 'all' })).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    expect(await made({ misfire: 'once' })).to.deep.equal([12])
    expect(await made({ misfire: 'skip' })).to.deep.equal([])
    expect(await made({ misfire: 'all', misfireLimit: 3 })).to.deep.equal([10, 11, 12])
  })

  it('tells how many slots it lets go of', async () => {
    const now = NOON + 12 * HOUR + 60_000
    expect(await decided(planned({ misfire: 'skip' }), now)).to.include({ dropped: 13, next: 13 })
    expect(await decided(planned({ misfireLimit: 3 }), now)).to.include({ dropped: 10, next: 13 })
  })

  it('takes a slot that is a little late for one that was met', async () => {
    expect((await decided(planned({ misfire: 'skip' }), NOON + LATE)).hours).to.deep.equal([0])
    expect((await decided(planned({ misfire: 'skip' }), NOON + LATE + 1)).hours).to.deep.equal([])
  })

  it('leaves a slot out while the former task runs, without spending a repeat', async () => {
    const plan = planned({ overlap: 'skip', repeats: 3 })
    expect(await decided(plan, NOON, busy)).to.deep.include({ hours: [], dropped: 1, repeats: 3, next: 1 })
    expect(await decided(plan, NOON, idle)).to.deep.include({ hours: [0], repeats: 2 })
    expect((await decided(plan, NOON + 5 * HOUR, idle)).hours, 'of several').to.deep.equal([2])
  })

  it('lets slots wait in turn, up to the limit', async () => {
    const plan = planned({ overlap: 'queue', misfireLimit: 3 })
    expect(await decided(plan, NOON, busy)).to.deep.include({ hours: [0], isInTurn: true })
    expect((await decided(plan, NOON + 1 * HOUR, { isBusy: true, waiting: 2 })).hours).to.deep.equal([0])
    expect(await decided(plan, NOON, { isBusy: true, waiting: 3 })).to.deep.include({ hours: [], dropped: 1 })
  })

  it('is over after its one time, unless it was told to stay', async () => {
    for (const [repeats, spent] of [
      [-1, true],
      [1, false],
    ] as const) {
      const plan = planned({ type: 'once', repeats })
      const { plan: later, slots } = decide(plan, await rhythmOf(plan), NOON + HOUR, idle)
      expect(slots).to.deep.equal([NOON])
      expect(isSpent(later)).to.equal(spent)
      expect(dueOf(later)).to.equal(null)
    }
  })

  it('is to do nothing while it is paused, and after its repeats', () => {
    expect(dueOf(planned())).to.equal(NOON)
    expect(dueOf(planned({ isPaused: true }))).to.equal(null)
    expect(dueOf(planned({ repeats: 0 }))).to.equal(null)
    expect(dueOf(planned({ next: null }))).to.equal(null)
  })

  it('misses nothing of its pause when it goes on', async () => {
    const plan = planned({ isPaused: true })
    const later = resumed(plan, await rhythmOf(plan), NOON + 2.5 * HOUR)
    expect(later).to.include({ isPaused: false })
    expect(later.next?.at).to.equal(NOON + 3 * HOUR)
    expect(resumed(plan, await rhythmOf(plan), NOON - HOUR).next?.at, 'not yet passed').to.equal(NOON)
  })

  it('keeps a time that passed during its pause when it is the only one', async () => {
    const plan = planned({ type: 'once', isPaused: true })
    expect(resumed(plan, await rhythmOf(plan), NOON + HOUR).next?.at).to.equal(NOON)
  })

  it('refuses a zone that there is not', async () => {
    await rhythmOf({ type: 'daily', timeZone: 'Mars/Olympus' }).then(
      () => expect.fail('It was taken.'),
      (error) =>
        expect(error)
          .to.be.instanceOf(ScheduleError)
          .and.have.property('message')
          .that.includes('Mars/Olympus'),
    )
  })
})
