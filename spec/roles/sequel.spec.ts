import { expect } from 'chai'
import { followerId, pieceId } from '../../lib/names.ts'
import type { IterHeader, Link, TaskHeader } from '../../lib/package.ts'
import { keyOf } from '../../lib/roles/frames.ts'
import { Sequels } from '../../lib/roles/sequel.ts'
import type { Outcome, SavedOutcome } from '../../lib/stores/store.ts'
import { decode } from '../../lib/tasks/codec.ts'
import { outcomeOf, range } from '../contracts/material.ts'

const ID = '0190c42ba4407abc8def0123456789ab'

/** A store in memory, as far as it is asked. */
function desk({ maxPayload = 10_000 } = {}) {
  const kept = new Map<string, SavedOutcome>()
  const keep = (outcome: Outcome) =>
    void kept.set(outcome.taskId, { ...outcome, final: outcome.fate !== 'retry' })
  const listed = (group: string) => [...kept.values()].filter((one) => one.group === group)
  const sequels = new Sequels({
    store: {
      save: async (batch) => batch.forEach(keep),
      fetch: async (ids) => ids.flatMap((id) => kept.get(id) ?? []),
      list: async ({ group = '' }) => listed(group).toReversed(),
      countGroup: async (group) => {
        const all = listed(group)
        const successes = all.filter(({ success }) => success).length
        const retrying = all.filter(({ fate }) => fate === 'retry').length
        return { successes, failures: all.length - successes, retrying }
      },
      delete: async (ids) => ids.filter((id) => kept.delete(id)).length,
    },
    packing: { compress: false, maxPayload },
  })
  /** What follows from one run that has ended like this. */
  const following = async (header: TaskHeader, ending: Partial<Outcome> = {}) => {
    const { id, run, attempt, name, func, group } = header
    const own = { run, attempt, name, func, ...(group !== undefined && { group }) }
    const outcome = outcomeOf(id, { ...own, ...ending })
    keep(outcome)
    const followers = await sequels.of([{ header, outcome }])
    return followers.get(keyOf(header)) ?? []
  }
  return { kept, sequels, following }
}

function headerOf(change: Partial<TaskHeader> = {}): TaskHeader {
  return { id: ID, run: 1, attempt: 1, name: 'n', func: 'f', enqueuedAt: 1, ...change }
}

const failed = { success: false, result: '{"name":"Error","message":"boom"}', fate: 'deadLetter' } as const

describe('what follows from an outcome', () => {
  it('is nothing where nothing was asked for', async () => {
    expect(await desk().following(headerOf())).to.deep.equal([])
  })

  describe('a hook', () => {
    it('is a task that is told the record, under an id derived from its task and run', async () => {
      const [hook] = await desk().following(headerOf({ hook: 'tell' }))
      const id = followerId(ID, 'hook', 1)
      expect(hook?.header).to.include({
        id,
        run: 1,
        attempt: 1,
        func: 'tell',
        enqueuedAt: 3_000,
        follows: ID,
      })
      expect(id.slice(0, 12), 'sorted with its task by the time').to.equal(ID.slice(0, 12))
      const [record] = decode(hook?.args ?? '') as [Record<string, unknown>]
      expect(record).to.deep.include({ id: ID, success: true, result: 3, args: [1, 2], final: true })
    })

    it('is the same when it is made again, and another after another run', async () => {
      const { following } = desk()
      const ids = [
        await following(headerOf({ hook: 'tell' })),
        await following(headerOf({ hook: 'tell' })),
        await following(headerOf({ hook: 'tell', run: 2 })),
      ].map(([hook]) => hook?.header.id)
      expect(ids[0]).to.equal(ids[1])
      expect(ids[2]).not.to.equal(ids[0])
    })

    it('is told of a failure too', async () => {
      const [hook] = await desk().following(headerOf({ hook: 'tell' }), failed)
      const [record] = decode(hook?.args ?? '') as [Record<string, unknown>]
      expect(record).to.deep.include({ success: false, state: 'failure' })
      expect(record?.error).to.include({ message: 'boom' })
    })

    it('is not told arguments and result that are too large to be sent', async () => {
      const [hook] = await desk({ maxPayload: 1_000 }).following(headerOf({ hook: 'tell' }), {
        result: JSON.stringify('x'.repeat(1_000)),
      })
      const [record] = decode(hook?.args ?? '') as [Record<string, unknown>]
      expect(record).to.deep.include({ id: ID, success: true, args: [] })
      expect(record).not.to.have.property('result')
    })
  })

  describe('a chain', () => {
    const link = (func: string, given: Partial<Link> = {}): Link => ({ func, args: '[1]', ...given })
    const chain = { id: ID, index: 0 }

    it('goes on with its next link, which knows the ones that follow', async () => {
      const header = headerOf({ chain: { ...chain, rest: [link('second', { timeout: 5 }), link('third')] } })
      const [next, ...others] = await desk().following(header)
      expect(others).to.deep.equal([])
      expect(next?.header).to.include({ id: followerId(ID, 'link', 1), func: 'second', timeout: 5 })
      expect(next?.header.chain).to.deep.equal({ ...chain, index: 1, rest: [link('third')] })
      expect(next?.args).to.equal('[1]')
    })

    it('hands on a result where the next link is piped', async () => {
      const header = headerOf({ chain: { ...chain, rest: [link('second', { isPiped: true })] } })
      const [next] = await desk().following(header, { result: '{"rows":2}' })
      expect(decode(next?.args ?? '')).to.deep.equal([{ rows: 2 }, 1])
    })

    it('has a link fail that cannot be handed its argument', async () => {
      const header = headerOf({ chain: { ...chain, rest: [link('second', { isPiped: true })] } })
      const [next] = await desk({ maxPayload: 100 }).following(header, {
        result: JSON.stringify('x'.repeat(200)),
      })
      expect(next?.header.fault).to.include('too large to be handed on')
      expect(next?.header.maxAttempts).to.equal(1)
    })

    it('ends at a failure, unless it goes on; nothing can be piped of one', async () => {
      const { following } = desk()
      const rest = [link('second')]
      expect(await following(headerOf({ chain: { ...chain, rest } }), failed)).to.deep.equal([])
      expect(await following(headerOf({ chain: { ...chain, rest, goesOn: true } }), failed)).to.have.lengthOf(
        1,
      )
      const piped = [link('second', { isPiped: true })]
      expect(
        await following(headerOf({ chain: { ...chain, rest: piped, goesOn: true } }), failed),
      ).to.have.lengthOf(0)
    })

    it('tells its hook of the link that was the last, once', async () => {
      const { following } = desk()
      const goingOn = headerOf({ chain: { ...chain, rest: [link('second')], hook: 'tell' } })
      const over = headerOf({ chain: { ...chain, rest: [], hook: 'tell' } })
      const names = async (header: TaskHeader, ending = {}) =>
        (await following(header, ending)).map((one) => one.header.func)
      expect(await names(goingOn)).to.deep.equal(['second'])
      expect(await names(goingOn, failed)).to.deep.equal(['tell'])
      expect(await names(over)).to.deep.equal(['tell'])
    })
  })

  describe('an iter', () => {
    const iter: IterHeader = { id: ID, count: 3, enqueuedAt: 500, name: 'whole', group: 'sums', hook: 'tell' }
    const piece = (index: number, given: Partial<IterHeader> = {}) =>
      headerOf({ id: pieceId(ID, index), group: ID, cached: 60, iter: { ...iter, ...given } })

    it('becomes one task when its last piece is there: results in the order of the items', async () => {
      const { following, kept } = desk()
      expect(await following(piece(2), { result: '"c"', args: '[2]' })).to.deep.equal([])
      expect(await following(piece(0), { result: '"a"', args: '[0]' })).to.deep.equal([])
      const [hook] = await following(piece(1), { result: '"b"', args: '[1]' })
      const whole = kept.get(ID)
      expect(whole).to.include({ success: true, name: 'whole', group: 'sums', enqueuedAt: 500, fate: 'ack' })
      expect(decode(whole?.result ?? '')).to.deep.equal(['a', 'b', 'c'])
      expect(decode(whole?.args ?? '')).to.deep.equal([[0], [1], [2]])
      expect([...kept.keys()], 'the pieces are put away').to.deep.equal([ID])
      expect(hook?.header).to.include({ func: 'tell' })
    })

    it('fails with what failed first, and keeps its pieces', async () => {
      const { following, kept } = desk()
      await following(piece(0))
      await following(piece(1), failed)
      await following(piece(2), failed)
      const whole = kept.get(ID)
      expect(whole).to.include({ success: false })
      expect(decode(whole?.result ?? '')).to.deep.include({
        message: '2 of 3 items failed, the first at 1: boom',
      })
      expect(kept.size).to.equal(4)
    })

    it('becomes one task of more pieces than a call can have arguments', async () => {
      const { following, kept } = desk({ maxPayload: 16_000_000 })
      const count = 130_000
      const first = { ...outcomeOf('', { group: ID, startedAt: 1_994 }), final: true }
      const others = { ...first, startedAt: 2_000, stoppedAt: 3_006 }
      for (const index of range(count - 1)) {
        const taskId = String(index).padStart(32, '0')
        kept.set(taskId, { ...(index === 0 ? first : others), taskId })
      }
      await following(piece(count - 1, { count }))
      const { success, startedAt, stoppedAt, result = '' } = kept.get(ID) ?? {}
      expect([success, startedAt, stoppedAt]).to.deep.equal([true, 1_994, 3_006])
      expect((decode(result) as unknown[]).length).to.equal(count)
    })

    it('waits for pieces that will be tried again', async () => {
      const { following, kept } = desk()
      kept.set('x', { ...outcomeOf('x', { ...failed, group: ID, fate: 'retry' }), final: false })
      await following(piece(0), {})
      await following(piece(1), {})
      expect(kept.has(ID)).to.equal(false)
    })

    it('makes its hook again from what is kept, whoever asks after the pieces are put away', async () => {
      const { following, sequels, kept } = desk()
      const [first] = [await following(piece(0)), await following(piece(1)), await following(piece(2))].flat()
      const outcome = outcomeOf(pieceId(ID, 2))
      const again = await sequels.of([{ header: piece(2), outcome }])
      expect(again.get(keyOf(piece(2)))?.map(({ header }) => header.id)).to.deep.equal([first?.header.id])
      expect(kept.size).to.equal(1)
    })

    it('expires when it is cached', async () => {
      const { following, kept } = desk()
      for (const index of range(3)) await following(piece(index, { cached: 9 }))
      expect(kept.get(ID)?.expiresAt).to.equal(12_000)
    })
  })
})
