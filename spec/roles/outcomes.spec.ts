import { expect } from 'chai'
import { OutcomeRefusedError, StoreError } from '../../lib/errors.ts'
import type { TaskHeader } from '../../lib/package.ts'
import {
  type Ended,
  type Follower,
  keyOf,
  type MonitorToPusher,
  type MonitorToWorker,
  runKey,
} from '../../lib/roles/frames.ts'
import { Outcomes } from '../../lib/roles/outcomes.ts'
import type { Cancellation } from '../../lib/stores/cancellations.ts'
import type { Decision, Outcome, SavedOutcome } from '../../lib/stores/store.ts'
import type { Testament } from '../../machines/protocol.ts'

let counter = 0

function ended(change: Partial<Ended> = {}, about: Partial<TaskHeader> = {}): Ended {
  counter += 1
  const id = counter.toString(16).padStart(32, '0')
  const header = { id, run: 1, attempt: 1, name: 'n', func: 'f', enqueuedAt: 1, ...about }
  return { header, args: '[]', startedAt: 2, stoppedAt: 3, success: true, result: '1', ...change }
}

const key = (one: Ended) => keyOf(one.header)
/** What the hook of a task would be. */
const followerOf = (header: TaskHeader): Follower => ({ header: { ...header, func: 'hook' }, args: '[]' })

const settle = () => new Promise(setImmediate)

function desk({ decisions = [] as Decision[], recalled = [] as SavedOutcome[], saveSuccesses = true } = {}) {
  const saved: Outcome[] = []
  const store = { isDown: false, refuses: (_one: Outcome): boolean => false }
  const reports: { type: string; [key: string]: unknown }[] = []
  const events: string[] = []
  const toPusher: MonitorToPusher[] = []
  const released: string[] = []
  const freed: string[] = []
  const forgotten: string[] = []
  const cancellations: Cancellation[] = []
  const outcomes = new Outcomes({
    store: {
      save: async (batch) => {
        if (store.isDown) throw new StoreError('store is down')
        if (batch.some(store.refuses)) throw new OutcomeRefusedError('too much')
        saved.push(...batch)
      },
      decisions: async () => {
        if (store.isDown) throw new StoreError('store is down')
        return decisions
      },
    },
    sequels: {
      of: async (concluded) =>
        new Map(concluded.map(({ header }) => [runKey(header.id, header.run), [followerOf(header)]])),
      recall: async () => new Map(recalled.map((one) => [one.taskId, one])),
    },
    cancellations: {
      list: async () => cancellations,
      forget: async (ids) => void forgotten.push(...ids),
    },
    release: async (ids) => void freed.push(...ids),
    queue: 'q',
    maxAttempts: 2,
    retry: 60_000,
    saveSuccesses,
    report: (event) => void reports.push(event as never),
    record: (event) => void events.push(event),
    sealNotices: (told) =>
      told.flatMap(({ outcome, replyTo }) => (replyTo ? [{ to: replyTo, body: outcome.taskId }] : [])),
  })
  outcomes.attend((message) => void toPusher.push(message))
  outcomes.welcome('w1', (message: MonitorToWorker) => void released.push(...message.keys))
  outcomes.save()
  const verdicts = () => toPusher.flatMap((message) => (message.kind === 'verdicts' ? message.verdicts : []))
  return {
    outcomes,
    saved,
    store,
    freed,
    forgotten,
    cancellations,
    reports,
    events,
    toPusher,
    released,
    verdicts,
  }
}

const testament = (change: Partial<Testament>): Testament => ({
  ...{ worker: 'w1', cause: 'crashed', code: null, signal: 'SIGKILL', running: [] },
  ...change,
})

const running = ({ header: { id, run, attempt, name, func } }: Ended, overran = false) => ({
  ...{ taskId: id, run, attempt, name, func, startedAt: 2, overran },
})

describe('the monitor’s outcomes', () => {
  it('are saved as the task wants it, else as the cluster does', async () => {
    const { outcomes, saved, verdicts } = desk({ saveSuccesses: false })
    outcomes.hear('w1', [
      ended({}, { id: 'a' }),
      ended({}, { id: 'b', save: true }),
      ended({ success: false, result: '{}' }, { id: 'c', save: false }),
    ])
    await settle()
    expect(saved.map(({ taskId }) => taskId)).to.deep.equal(['b', 'c'])
    expect(verdicts(), 'settled all the same').to.have.lengthOf(3)
  })

  it('decide each fate: success, attempts left, exhausted, cut short', async () => {
    const { outcomes, verdicts, saved } = desk()
    const cases = [
      ended(),
      ended({ success: false, result: '{}' }),
      ended({ success: false, result: '{}' }, { attempt: 2 }),
      ended({ success: false, interrupted: true }),
      ended({ success: false, result: '{}' }, { attempt: 2, maxAttempts: 5, retry: 3 }),
    ]
    outcomes.hear('w1', cases)
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal([
      'ack',
      'retry',
      'deadLetter',
      'requeue',
      'retry',
    ])
    expect(verdicts().map(({ delay }) => delay)).to.deep.equal([
      undefined,
      60_000,
      undefined,
      undefined,
      3_000,
    ])
    expect(
      saved.map(({ fate }) => fate),
      'a requeue is not saved',
    ).to.deep.equal(['ack', 'retry', 'deadLetter', 'retry'])
  })

  it('count as not saved until the store has them', async () => {
    const { outcomes } = desk()
    outcomes.hear('w1', [ended(), ended()])
    expect(outcomes.measures.gauges).to.include({ unsaved: 2 })
    await settle()
    expect(outcomes.measures.gauges).to.include({ unsaved: 0 })
  })

  it('are given up or tried again as the failure says', async () => {
    const { outcomes, verdicts } = desk()
    const failed = { success: false, result: '{}' }
    outcomes.hear('w1', [
      ended({ ...failed, again: false }),
      ended({ ...failed, again: 5_000 }),
      ended({ ...failed, again: 5_000 }, { attempt: 2 }),
    ])
    await settle()
    expect(verdicts().map(({ fate, delay }) => [fate, delay])).to.deep.equal([
      ['deadLetter', undefined],
      ['retry', 5_000],
      ['deadLetter', undefined],
    ])
  })

  it('are cancelled where the pusher withdrew a run, also a dead worker’s that had been told to end', async () => {
    const { outcomes, verdicts, saved, events, cancellations, forgotten, toPusher } = desk()
    const [withdrawn, killed] = [ended(), ended()]
    cancellations.push(...[withdrawn, killed].map(({ header }) => ({ taskId: header.id, at: 9 })))
    outcomes.heed()
    await settle()
    expect(toPusher.at(-1)).to.deep.equal({ kind: 'cancelled', cancellations })
    const job = { header: withdrawn.header, args: '[]', tiny: false }
    outcomes.hearPusher({ kind: 'withdrawn', jobs: [job] })
    outcomes.hearPusher({ kind: 'withdrawn', jobs: [job] })
    outcomes.farewell('w1')
    outcomes.hearPusher({
      kind: 'left',
      worker: 'w1',
      jobs: [{ header: killed.header, args: '[]', tiny: false }],
    })
    outcomes.bury(testament({ cause: 'timedOut', running: [running(killed)] }))
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['ack', 'ack'])
    for (const { result, success } of saved) {
      expect(success).to.equal(false)
      expect(JSON.parse(result)).to.include({ code: 'QCLUSTER_TASK_CANCELLED' })
    }
    expect(events).to.deep.equal(['task.cancelled', 'task.cancelled'])
    expect(forgotten).to.deep.equal([withdrawn.header.id, killed.header.id])
  })

  it('look for cancellations once more where somebody wants it while they look', async () => {
    const { outcomes, cancellations, toPusher } = desk()
    await settle()
    outcomes.heed()
    cancellations.push({ taskId: 'a', at: 9 })
    outcomes.heed()
    cancellations.push({ taskId: 'b', at: 9 })
    await settle()
    expect(toPusher.at(-1)).to.deep.equal({ kind: 'cancelled', cancellations })
  })

  it('free the key of a unique task when it is over, and again when its run is redelivered', async () => {
    const { outcomes, freed } = desk()
    const [done, failed, retried, plain] = [
      ended({}, { unique: true }),
      ended({ success: false, result: '{}', again: false }, { unique: true }),
      ended({ success: false, result: '{}' }, { unique: true }),
      ended(),
    ] as const
    outcomes.hear('w1', [done, failed, retried, plain])
    await settle()
    const over = [done.header.id, failed.header.id]
    expect(freed).to.deep.equal(over)
    outcomes.hearPusher({ kind: 'settled', keys: [done, failed, retried, plain].map(key) })
    outcomes.hearPusher({
      kind: 'lookup',
      headers: [done, failed, retried, plain].map(({ header }) => header),
    })
    await settle()
    expect(freed).to.deep.equal([...over, ...over])
  })

  it('of tasks that nobody wants any more are saved, told of as such and never tried again', async () => {
    const { outcomes, verdicts, saved, events } = desk()
    outcomes.hear('w1', [ended({ success: false, result: '{}', withdrawn: 'expired' })])
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['ack'])
    expect(saved[0]).to.include({ success: false, fate: 'ack' })
    expect(events).to.deep.equal(['task.expired'])
    expect(outcomes.measures.counters).to.include({ expired: 1, failed: 0, deadLettered: 0 })
  })

  it('are released to their worker when saved and settled, not before', async () => {
    const { outcomes, released } = desk()
    const one = ended()
    outcomes.hear('w1', [one])
    await settle()
    expect(released).to.deep.equal([])
    outcomes.hearPusher({ kind: 'settled', keys: [key(one)] })
    expect(released).to.deep.equal([key(one)])
  })

  it('are saved once, however often a worker tells them', async () => {
    const { outcomes, saved, released } = desk()
    const one = ended()
    outcomes.hear('w1', [one])
    outcomes.hear('w1', [one])
    await settle()
    outcomes.hearPusher({ kind: 'settled', keys: [key(one)] })
    outcomes.hear('w1', [one])
    await settle()
    expect(saved).to.have.length(1)
    expect(released).to.deep.equal([key(one), key(one)])
  })

  it('that come in one turn are saved together, whoever tells them', async () => {
    const { outcomes, saved, toPusher } = desk()
    outcomes.hear('w1', [ended()])
    outcomes.hear('w2', [ended(), ended()])
    await settle()
    expect(saved).to.have.length(3)
    expect(toPusher.filter(({ kind }) => kind === 'verdicts')).to.have.length(1)
  })

  it('wait while the store is away, and nothing is settled meanwhile', async () => {
    const { outcomes, store, reports, verdicts } = desk()
    store.isDown = true
    outcomes.hear('w1', [ended()])
    await settle()
    expect(reports.map(({ type }) => type)).to.deep.equal(['store.lost'])
    expect(verdicts()).to.deep.equal([])
    store.isDown = false
    outcomes.save()
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['ack'])
  })

  it('are requeued when nobody waits for the store any more, also those that come later', async () => {
    const { outcomes, store, verdicts, reports, saved } = desk()
    const fates = () => verdicts().map(({ fate }) => fate)
    store.isDown = true
    outcomes.hear('w1', [ended()])
    await settle()
    expect(fates()).to.deep.equal([])
    outcomes.abandon()
    expect(fates()).to.deep.equal(['requeue'])
    outcomes.hear('w1', [ended()])
    expect(fates()).to.deep.equal(['requeue', 'requeue'])
    expect(reports.map(({ type }) => type)).to.deep.equal([
      'store.lost',
      ...['tasks.interrupted', 'tasks.interrupted'],
    ])
    store.isDown = false
    outcomes.save()
    outcomes.hear('w1', [ended()])
    await settle()
    expect(fates().at(-1)).to.equal('ack')
    expect(saved).to.have.length(1)
  })

  it('that the store refuses become failures which say so, and hold up no other', async () => {
    const { outcomes, store, saved, verdicts, reports } = desk()
    const [large, bad, ...good] = [
      ended({ result: '"too much"' }),
      ended({ args: '"worse"' }),
      ended(),
      ended(),
    ]
    store.refuses = ({ result, args }) => result === '"too much"' || args === '"worse"'
    outcomes.hear('w1', [good[0] as Ended, large as Ended, bad as Ended, good[1] as Ended])
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['ack', 'retry', 'retry', 'ack'])
    const failed = saved.filter(({ success }) => !success)
    expect(failed.map(({ taskId }) => taskId)).to.deep.equal([large?.header.id, bad?.header.id])
    for (const { result, fate } of failed) {
      expect(JSON.parse(result).message).to.equal('result could not be saved: too much')
      expect(fate).to.equal('retry')
    }
    expect(saved).to.have.length(4)
    expect(reports, 'the store is not lost').to.deep.equal([])
  })

  it('are settled even when the store refuses their failure too', async () => {
    const { outcomes, store, saved, verdicts, events } = desk()
    store.refuses = () => true
    outcomes.hear('w1', [ended({}, { attempt: 2 })])
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['deadLetter'])
    expect(events).to.deep.equal(['task.failed', 'task.dead'])
    expect(saved).to.deep.equal([])
  })

  it('of a batch in which the store is lost are all saved later', async () => {
    const { outcomes, store, saved, verdicts, reports } = desk()
    const batch = [ended(), ended({ result: '"too much"' })]
    store.refuses = ({ result }) => {
      store.isDown = result === '"too much"'
      return store.isDown
    }
    outcomes.hear('w1', batch)
    await settle()
    expect(reports.map(({ type }) => type)).to.deep.equal(['store.lost'])
    expect(verdicts()).to.deep.equal([])
    Object.assign(store, { isDown: false, refuses: () => false })
    outcomes.save()
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['ack', 'ack'])
    expect(saved.map(({ taskId }) => taskId)).to.include.members(batch.map(({ header }) => header.id))
  })

  it('tell a new pusher what is not settled', async () => {
    const { outcomes } = desk()
    const one = ended()
    outcomes.hear('w1', [one])
    await settle()
    outcomes.unattend()
    const heard: MonitorToPusher[] = []
    outcomes.attend((message) => void heard.push(message))
    expect(heard).to.deep.equal([{ kind: 'hello', unsettled: [{ key: key(one), fate: 'ack' }] }])
  })

  it('that are kept bind no worker while there is no pusher: one that stops need not wait for the next', async () => {
    const { outcomes, released, toPusher } = desk()
    const [before, after, unkept] = [ended(), ended(), ended({}, { save: false })]
    outcomes.hear('w1', [before, unkept])
    await settle()
    expect(released).to.deep.equal([])
    outcomes.unattend()
    expect(released).to.deep.equal([key(before)])
    outcomes.hear('w1', [after])
    await settle()
    expect(released).to.deep.equal([key(before), key(after)])

    outcomes.attend((message) => void toPusher.push(message))
    expect(toPusher.at(-1)).to.deep.equal({
      kind: 'hello',
      unsettled: [before, unkept, after].map((one) => ({ key: key(one), fate: 'ack' })),
    })
    outcomes.hearPusher({ kind: 'settled', keys: [before, unkept, after].map(key) })
    expect(released.slice(2)).to.deep.equal([key(unkept)])
  })

  it('that are not kept bind no worker that is told to stop while there is no pusher', async () => {
    const { outcomes, released, toPusher } = desk()
    const [before, after] = [ended({}, { save: false }), ended({ success: false, interrupted: true })]
    outcomes.hear('w1', [before])
    await settle()
    outcomes.dismiss('w1')
    expect(released, 'a pusher is there and settles them').to.deep.equal([])
    outcomes.unattend()
    expect(released).to.deep.equal([key(before)])
    outcomes.hear('w1', [after])
    await settle()
    expect(released).to.deep.equal([key(before), key(after)])

    outcomes.attend((message) => void toPusher.push(message))
    expect(toPusher.at(-1)).to.deep.equal({
      kind: 'hello',
      unsettled: [
        { key: key(before), fate: 'ack' },
        { key: key(after), fate: 'requeue' },
      ],
    })
  })

  it('that are not kept are let go as well where the word to stop comes after the pusher is gone', async () => {
    const { outcomes, released } = desk()
    const one = ended({}, { save: false })
    outcomes.hear('w1', [one])
    await settle()
    outcomes.unattend()
    expect(released).to.deep.equal([])
    outcomes.dismiss('w1')
    expect(released).to.deep.equal([key(one)])
  })

  it('are made for a dead worker’s runs only when sentinel, connection and pusher have spoken', async () => {
    const { outcomes, verdicts, saved, toPusher, reports } = desk()
    const one = ended()
    outcomes.bury(testament({ running: [running(one)] }))
    outcomes.hearPusher({
      kind: 'left',
      worker: 'w1',
      jobs: [{ header: one.header, args: '[7]', tiny: false }],
    })
    await settle()
    expect(verdicts()).to.deep.equal([])
    outcomes.farewell('w1')
    await settle()
    expect(verdicts()[0]).to.include({ key: key(one), fate: 'retry' })
    expect(saved[0]).to.include({ success: false, args: '[7]' })
    expect(saved[0]?.result).to.include('signal SIGKILL')
    expect(toPusher.at(-1), 'after the fates, on the same stream').to.deep.equal({
      kind: 'drained',
      worker: 'w1',
    })
    expect(reports.at(-1)).to.deep.equal({ type: 'worker.drained', worker: 'w1' })
  })

  it('name the limit of the heap for a worker that has ended as one with a full heap does', async () => {
    const { outcomes, saved } = desk()
    outcomes.bury(testament({ signal: 'SIGABRT', running: [running(ended())] }))
    outcomes.farewell('w1')
    outcomes.hearPusher({ kind: 'left', worker: 'w1', jobs: [] })
    await settle()
    expect(saved[0]?.result).to.include('(signal SIGABRT)').and.to.include('raise maxHeap')
  })

  it('of a dead worker’s run are judged by its limits, whether or not the pusher knows it', async () => {
    const { outcomes, verdicts } = desk()
    const [known, unknown] = [ended({}, { retry: 3 }), ended()]
    const runs = [
      { ...running(known), maxAttempts: 9, retry: 7 },
      { ...running(unknown), maxAttempts: 1 },
    ]
    outcomes.farewell('w1')
    outcomes.hearPusher({
      kind: 'left',
      worker: 'w1',
      jobs: [{ header: known.header, args: '[]', tiny: false }],
    })
    outcomes.bury(testament({ running: runs }))
    await settle()
    expect(verdicts().map(({ fate, delay }) => [fate, delay])).to.deep.equal([
      ['retry', 3_000],
      ['deadLetter', undefined],
    ])
  })

  it('are dead letters where a run was handed out too often, whatever attempts it has left', async () => {
    const { outcomes, verdicts, saved } = desk()
    const one = ended({}, { maxAttempts: 9 })
    outcomes.hearPusher({ kind: 'unfinished', jobs: [{ header: one.header, args: '[7]', tiny: false }] })
    await settle()
    expect(verdicts()).to.deep.equal([{ key: key(one), fate: 'deadLetter', reason: 'never finished' }])
    expect(saved[0]).to.include({ success: false, args: '[7]', fate: 'deadLetter' })
  })

  it('stand where a run is handed out too often whose outcome is known, though nobody has settled it', async () => {
    const { outcomes, verdicts, saved, toPusher } = desk()
    const [decided, unsaved] = [ended(), ended()]
    const handedOut = ({ header }: Ended) =>
      outcomes.hearPusher({ kind: 'unfinished', jobs: [{ header, args: '[]', tiny: false }] })
    outcomes.hear('w1', [decided])
    await settle()
    // A new pusher has not had the receipt, and notes it.
    outcomes.hearPusher({ kind: 'settled', keys: [key(decided)] })
    toPusher.length = 0
    outcomes.hear('w1', [unsaved])
    for (const one of [decided, unsaved, unsaved]) handedOut(one)
    await settle()
    expect(verdicts()).to.have.deep.members([decided, unsaved].map((one) => ({ key: key(one), fate: 'ack' })))
    expect(saved.map(({ success }) => success)).to.deep.equal([true, true])
  })

  it('requeue unharmed what ran beside an overdue run, and what a stop cut short', async () => {
    const { outcomes, verdicts, events, saved } = desk()
    const [late, beside] = [ended(), ended()]
    const jobs = [late, beside].map(({ header }) => ({ header, args: '[]', tiny: false }))
    outcomes.farewell('w1')
    outcomes.hearPusher({ kind: 'left', worker: 'w1', jobs })
    outcomes.bury(
      testament({ cause: 'timedOut', running: [{ ...running(late, true), timeout: 0.5 }, running(beside)] }),
    )
    await settle()
    expect(verdicts().map(({ fate }) => fate)).to.deep.equal(['retry', 'requeue'])
    expect(events).to.deep.equal(['task.failed', 'task.retrying', 'task.interrupted'])
    expect(saved).to.have.length(1)
    expect(JSON.parse(saved[0]?.result as string)).to.deep.equal({
      name: 'TaskTimeoutError',
      message: 'Task exceeded maximum timeout value (0.5 seconds); its worker process was killed',
      code: 'QCLUSTER_TASK_TIMEOUT',
    })

    const stopped = desk()
    stopped.outcomes.farewell('w1')
    stopped.outcomes.hearPusher({ kind: 'left', worker: 'w1', jobs })
    stopped.outcomes.bury(testament({ cause: 'shutdown', running: [running(late), running(beside)] }))
    await settle()
    expect(stopped.verdicts().map(({ fate }) => fate)).to.deep.equal(['requeue', 'requeue'])
    expect(stopped.saved).to.deep.equal([])
  })

  it('answer for redeliveries: settled long ago, decided before, or unknown', async () => {
    const done = ended()
    const { outcomes, toPusher } = desk({
      decisions: [
        { taskId: 'a'.repeat(32), run: 1, success: true, fate: 'ack' },
        { taskId: 'b'.repeat(32), run: 3, success: false, fate: 'retry' },
        { taskId: 'c'.repeat(32), run: 1, success: false, fate: 'deadLetter' },
        { taskId: 'd'.repeat(32), run: 1, success: false, fate: 'retry' },
        { taskId: 'e'.repeat(32), run: 1, success: false, fate: 'retry' },
      ],
    })
    outcomes.hear('w1', [done])
    await settle()
    outcomes.hearPusher({ kind: 'settled', keys: [key(done)] })
    const headerOf = (digit: string, run: number, retry?: number) =>
      ({ ...done.header, id: digit.repeat(32), run, ...(retry && { retry }) }) as TaskHeader
    const headers = [
      ...[done.header, headerOf('a', 1), headerOf('b', 1), headerOf('c', 1)],
      ...[headerOf('d', 1, 5), headerOf('e', 1), headerOf('d', 2)],
    ]
    outcomes.hearPusher({ kind: 'lookup', headers })
    await settle()
    const answer = toPusher.at(-2) as Extract<MonitorToPusher, { kind: 'verdicts' }>
    expect(answer.verdicts.map(({ fate, delay }) => [fate, delay])).to.deep.equal([
      ...[
        ['ack', undefined],
        ['ack', undefined],
        ['ack', undefined],
        ['deadLetter', undefined],
      ],
      ...[
        ['retry', 5_000],
        ['retry', 60_000],
      ],
    ])
    expect(toPusher.at(-1)).to.deep.equal({ kind: 'unknown', keys: [runKey('d'.repeat(32), 2)] })
  })

  it('answer for redeliveries when the store is back, not before', async () => {
    const { outcomes, toPusher, store, reports } = desk()
    const { header } = ended()
    store.isDown = true
    outcomes.hearPusher({ kind: 'lookup', headers: [header] })
    await settle()
    expect(reports.map(({ type }) => type)).to.deep.equal(['store.lost'])
    outcomes.hearPusher({ kind: 'lookup', headers: [header] })
    store.isDown = false
    await settle()
    expect(
      toPusher.map(({ kind }) => kind),
      'the machine has not said so yet',
    ).to.deep.equal(['hello'])
    outcomes.save()
    await settle()
    const run = runKey(header.id, 1)
    expect(toPusher.at(-1)).to.deep.equal({ kind: 'unknown', keys: [run, run] })
  })

  it('have finished when everything is saved, settled, and every worker has gone', async () => {
    const { outcomes, reports } = desk()
    const one = ended()
    const finished = () => reports.some(({ type }) => type === 'outcomes.finished')
    outcomes.hear('w1', [one])
    outcomes.finish()
    await settle()
    outcomes.hearPusher({ kind: 'settled', keys: [key(one)] })
    expect(finished()).to.equal(false)
    outcomes.farewell('w1')
    expect(finished()).to.equal(true)
  })

  it('tells those who wait, before it lets the pusher settle, and again when it has another pusher', async () => {
    const { outcomes, toPusher } = desk()
    const [awaited, unsaved] = [ended({}, { replyTo: 'here' }), ended({}, { replyTo: 'here', save: false })]
    outcomes.hear('w1', [awaited, unsaved])
    await settle()
    const notices = { kind: 'notices', notices: [{ to: 'here', body: awaited.header.id }] }
    expect(toPusher.slice(1).map(({ kind }) => kind)).to.deep.equal(['notices', 'verdicts'])
    expect(toPusher[1]).to.deep.equal(notices)

    const again: MonitorToPusher[] = []
    outcomes.unattend()
    outcomes.attend((message) => void again.push(message))
    expect(again[1]).to.deep.equal(notices)
  })

  it('tell with the last verdict on a task what follows from it', async () => {
    const { outcomes, verdicts } = desk()
    const hook = { hook: 'hook' }
    const failed = { success: false, result: '{}' }
    outcomes.hear('w1', [
      ended({}, hook),
      ended(failed, hook),
      ended(failed, { ...hook, attempt: 2 }),
      ended({ interrupted: true }, hook),
      ended(),
    ])
    await settle()
    expect(verdicts().map(({ fate, follow }) => [fate, follow?.length])).to.deep.equal([
      ['ack', 1],
      ['retry', undefined],
      ['deadLetter', 1],
      ['requeue', undefined],
      ['ack', undefined],
    ])
  })

  it('tell what follows again where the run is redelivered: from the store, or from memory where it is not kept', async () => {
    const [kept, unkept] = [ended({}, { hook: 'hook' }), ended({}, { hook: 'hook', save: false })]
    const { outcomes, toPusher, saved, verdicts } = desk({ recalled: [] })
    outcomes.hear('w1', [kept, unkept])
    await settle()
    outcomes.hearPusher({ kind: 'settled', keys: [key(kept), key(unkept)] })
    toPusher.length = 0
    outcomes.hearPusher({ kind: 'lookup', headers: [unkept.header] })
    await settle()
    expect(verdicts()).to.deep.equal([{ key: key(unkept), fate: 'ack', follow: [followerOf(unkept.header)] }])

    const other = desk({ recalled: saved.map((one) => ({ ...one, final: true })) })
    other.outcomes.hearPusher({ kind: 'lookup', headers: [kept.header] })
    await settle()
    expect(other.verdicts()).to.deep.equal([
      { key: key(kept), fate: 'ack', follow: [followerOf(kept.header)] },
    ])
  })
})
