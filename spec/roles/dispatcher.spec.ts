import { expect } from 'chai'
import type { Delivery, Notice, Settlement } from '../../lib/brokers/broker.ts'
import { openPackage, sealPackage, type TaskHeader } from '../../lib/package.ts'
import { Dispatcher } from '../../lib/roles/dispatcher.ts'
import { type PusherToMonitor, type PusherToWorker, runKey } from '../../lib/roles/frames.ts'
import { Signer } from '../../lib/signing.ts'

const signer = new Signer(['secret'])
let counter = 0

function headerOf(change: Partial<TaskHeader> = {}): TaskHeader {
  counter += 1
  const id = counter.toString(16).padStart(32, '0')
  return { id, run: 1, attempt: 1, name: 'a-b-c-d', func: 'f', enqueuedAt: 1, ...change }
}

function deliver(header: TaskHeader, deliveries = 1): Delivery {
  return { ...sealPackage(header, '[]', 'q', signer), deliveries, receipt: `r${header.id}/${deliveries}` }
}

/** A dispatcher with two sides that write down what they hear. */
function desk({ concurrency = 1, isLost = false } = {}) {
  const settled: Settlement[] = []
  const reports: string[] = []
  const refused: string[] = []
  const toMonitor: PusherToMonitor[] = []
  const notified: Notice[] = []
  const dispatcher = new Dispatcher({
    queue: 'q',
    concurrency,
    maxDeliveries: 3,
    signer,
    open: (sealed) => openPackage(sealed, 'q', signer),
    settle: async (settlements) => {
      if (isLost) throw new Error('broker is lost')
      settled.push(...settlements)
    },
    notify: (notices) => void notified.push(...notices),
    report: ({ type }) => void reports.push(type),
    refused: (reason) => void refused.push(reason),
  })
  const monitor = () => {
    dispatcher.attend((message) => void toMonitor.push(message))
    dispatcher.hearMonitor({ kind: 'hello', unsettled: [] })
  }
  const worker = (name: string, holds: string[] = []) => {
    const got: string[] = []
    dispatcher.seat(name, holds, (message: PusherToWorker) => {
      if (message.kind === 'jobs') got.push(...message.jobs.map(({ header }) => header.id))
      else got.push(message.kind)
    })
    return got
  }
  return { dispatcher, settled, notified, reports, refused, toMonitor, monitor, worker }
}

const key = ({ id, run }: TaskHeader) => runKey(id, run)

describe('the dispatcher', () => {
  it('has joined when the monitor and every worker have said what they hold', () => {
    const { dispatcher, reports, monitor, worker } = desk()
    worker('w1')
    dispatcher.join(['w1', 'w2', 'w3'])
    monitor()
    worker('w2')
    expect(reports).to.deep.equal([])
    dispatcher.gone('w3')
    expect(reports).to.deep.equal(['dispatcher.joined'])
  })

  it('gives each free worker one run of an unknown name, and the rest as they finish', () => {
    const { dispatcher, monitor, worker } = desk()
    monitor()
    const [w1, w2] = [worker('w1'), worker('w2')]
    const [a, b, c] = [headerOf(), headerOf(), headerOf()]
    dispatcher.take([deliver(a), deliver(b), deliver(c)])
    expect([w1, w2]).to.deep.equal([[a.id], [b.id]])
    dispatcher.hear('w2', { kind: 'finished', runs: [{ key: key(b), took: 100 }] })
    expect(w2).to.deep.equal([b.id, c.id])
  })

  it('carries out each fate on the receipt that delivered, and says that it is settled', async () => {
    const { dispatcher, settled, toMonitor, monitor, worker } = desk({ concurrency: 9 })
    monitor()
    worker('w1')
    const runs = [headerOf(), headerOf(), headerOf(), headerOf()]
    dispatcher.take(runs.map((one) => deliver(one)))
    const fates = ['ack', 'retry', 'deadLetter', 'requeue'] as const
    dispatcher.hearMonitor({
      kind: 'verdicts',
      verdicts: runs.map((one, n) => ({ key: key(one), fate: fates[n] ?? 'ack', delay: 7, reason: 'x' })),
    })
    await new Promise(setImmediate)
    expect(settled.map(({ type }) => type)).to.deep.equal(fates)
    const retry = settled[1] as Extract<Settlement, { type: 'retry' }>
    expect(retry.delay).to.equal(7)
    expect(openPackage(retry.package, 'q', signer).header).to.include({ id: runs[1]?.id, run: 2, attempt: 2 })
    expect(toMonitor).to.deep.equal([{ kind: 'settled', keys: runs.map(key) }])
    expect(dispatcher.size).to.equal(0)
  })

  it('asks about a redelivered run whose worker says that it holds it, for it may be decided already', async () => {
    const { dispatcher, settled, toMonitor, worker } = desk()
    const a = headerOf()
    const verdict = { key: key(a), fate: 'ack' as const }
    dispatcher.attend((message) => void toMonitor.push(message))
    // A former pusher was killed before it had settled it, and the worker has not heard that it is released.
    dispatcher.hearMonitor({ kind: 'hello', unsettled: [verdict] })
    worker('w1', [key(a)])
    dispatcher.take([deliver(a, 2)])
    expect(toMonitor).to.deep.equal([
      { kind: 'settled', keys: [key(a)] },
      { kind: 'lookup', headers: [a] },
    ])
    dispatcher.unattend()
    dispatcher.attend((message) => void toMonitor.push(message))
    dispatcher.hearMonitor({ kind: 'hello', unsettled: [] })
    expect(toMonitor.at(-1), 'a new monitor too').to.deep.equal({ kind: 'lookup', headers: [a] })
    dispatcher.hearMonitor({ kind: 'unknown', keys: [key(a)] })
    expect(dispatcher.size, 'its worker is still to tell how it ended').to.equal(1)
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [verdict] })
    await new Promise(setImmediate)
    expect(settled.map(({ type }) => type)).to.deep.equal(['ack'])
    expect(dispatcher.size).to.equal(0)
  })

  it('replaces the receipt of a run that is still running here, and does not run it again', async () => {
    const { dispatcher, settled, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    const a = headerOf()
    dispatcher.take([deliver(a)])
    dispatcher.voidReceipts()
    dispatcher.take([deliver(a, 2)])
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(a), fate: 'ack' }] })
    await new Promise(setImmediate)
    expect(w1).to.deep.equal([a.id])
    expect(settled).to.deep.equal([{ type: 'ack', receipt: deliver(a, 2).receipt }])
  })

  it('carries out a decided fate when its run is handed out again after the receipt was void', async () => {
    const { dispatcher, settled, toMonitor, monitor, worker } = desk()
    monitor()
    worker('w1')
    const a = headerOf()
    dispatcher.take([deliver(a)])
    dispatcher.voidReceipts()
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(a), fate: 'retry', delay: 1 }] })
    expect(toMonitor, 'noted').to.deep.equal([{ kind: 'settled', keys: [key(a)] }])
    dispatcher.take([deliver(a, 2)])
    await new Promise(setImmediate)
    expect(settled.map(({ type }) => type)).to.deep.equal(['retry'])
  })

  it('asks the monitor about a run that was redelivered, or sent again, before it runs it', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    const [a, second, resent] = [headerOf(), headerOf({ run: 2 }), headerOf()]
    dispatcher.take([deliver(a, 2), deliver(second), { ...deliver(resent), isResent: true }])
    expect(toMonitor).to.deep.equal([{ kind: 'lookup', headers: [a, second, resent] }])
    expect(w1).to.deep.equal([])
    dispatcher.hearMonitor({ kind: 'unknown', keys: [key(a)] })
    expect(w1).to.deep.equal([a.id])
  })

  it('does not run what a worker held for a former pusher', () => {
    const { dispatcher, monitor, worker } = desk()
    const a = headerOf()
    const w1 = worker('w1', [key(a)])
    monitor()
    dispatcher.take([deliver(a, 2)])
    dispatcher.hearMonitor({ kind: 'unknown', keys: [key(a)] })
    expect(w1).to.deep.equal([])
  })

  it('runs again what ended at a worker that died before a monitor could hear of it', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    worker('w1')
    const header = headerOf()
    dispatcher.take([deliver(header)])
    dispatcher.unattend()
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(header), took: 1 }] })
    dispatcher.unseat('w1')
    dispatcher.gone('w1')
    const w2 = worker('w2')

    monitor()
    expect(toMonitor.at(-1), 'though it left nothing').to.deep.equal({ kind: 'left', worker: 'w1', jobs: [] })
    toMonitor.length = 0
    dispatcher.hearMonitor({ kind: 'drained', worker: 'w1' })
    expect(toMonitor).to.deep.equal([{ kind: 'lookup', headers: [header] }])
    dispatcher.hearMonitor({ kind: 'unknown', keys: [key(header)] })
    expect(w2).to.deep.equal([header.id])
  })

  it('forgets what a dead worker only said that it held, and asks about it when it is handed out', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    const header = headerOf()
    worker('w1', [key(header)])
    dispatcher.unseat('w1')
    dispatcher.hearMonitor({ kind: 'drained', worker: 'w1' })
    expect(dispatcher.size).to.equal(0)
    dispatcher.take([deliver(header, 2)])
    expect(toMonitor.at(-1)).to.deep.equal({ kind: 'lookup', headers: [header] })
  })

  it('hands on what a dead worker had left only when the monitor says so', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    dispatcher.window.learn('f', 0.01)
    worker('w1')
    const [a, b] = [headerOf(), headerOf()]
    dispatcher.take([deliver(a), deliver(b)])
    dispatcher.unseat('w1')
    expect(toMonitor.map((message) => message.kind === 'left' && message.jobs.length)).to.deep.equal([2])
    const w2 = worker('w2')
    expect(w2).to.deep.equal([])
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(a), fate: 'retry', delay: 1 }] })
    dispatcher.hearMonitor({ kind: 'drained', worker: 'w1' })
    expect(w2).to.deep.equal([b.id])
  })

  it('gives to others, first of all, what a worker returns', () => {
    const { dispatcher, monitor, worker } = desk()
    monitor()
    dispatcher.window.learn('f', 0.01)
    worker('w1')
    const [a, b, c] = [headerOf(), headerOf(), headerOf()]
    dispatcher.take([deliver(a), deliver(b)])
    dispatcher.window.learn('f', 50)
    dispatcher.take([deliver(c)])
    const w2 = worker('w2')
    expect(w2, 'c is slow by now, and w2 has nothing to do').to.deep.equal([c.id])
    dispatcher.hear('w2', { kind: 'finished', runs: [{ key: key(c), took: 50 }] })
    dispatcher.hear('w1', { kind: 'returned', keys: [key(b)] })
    expect(w2).to.deep.equal([c.id, b.id])
  })

  it('dead-letters a bad package with a reason and shows it to no worker', () => {
    const { dispatcher, settled, refused, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    dispatcher.take([{ ...deliver(headerOf()), body: 'garbage' }])
    expect(settled.map(({ type }) => type)).to.deep.equal(['deadLetter'])
    expect(refused).to.have.length(1)
    expect(w1).to.deep.equal([])
  })

  it('hands a run that never finishes to the monitor instead of to a worker', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    dispatcher.take([deliver(headerOf(), 4)])
    expect(toMonitor.map(({ kind }) => kind)).to.deep.equal(['unfinished'])
    expect(w1).to.deep.equal([])
  })

  it('asks a new monitor again about a run that never finishes', () => {
    const { dispatcher, toMonitor, monitor } = desk()
    dispatcher.take([deliver(headerOf(), 4)])
    expect(toMonitor).to.deep.equal([])
    monitor()
    expect(toMonitor.map(({ kind }) => kind)).to.deep.equal(['unfinished'])
  })

  it('says what a worker left also when that worker never connected, and lets it in no more', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    dispatcher.gone('w1')
    expect(toMonitor).to.deep.equal([{ kind: 'left', worker: 'w1', jobs: [] }])
    const w1 = worker('w1')
    dispatcher.take([deliver(headerOf())])
    expect(w1).to.deep.equal([])
  })

  it('says once what a worker left, for the monitor would keep a second word of it', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    worker('w1')
    dispatcher.unseat('w1')
    dispatcher.gone('w1')
    expect(toMonitor).to.deep.equal([{ kind: 'left', worker: 'w1', jobs: [] }])
  })

  it('survives a broker that is lost while it settles', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    const { dispatcher, toMonitor, monitor, worker } = desk({ isLost: true })
    monitor()
    worker('w1')
    const a = headerOf()
    dispatcher.take([deliver(a), { ...deliver(headerOf()), body: 'garbage' }, deliver(headerOf())])
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(a), fate: 'ack' }] })
    dispatcher.abandon()
    // Node tells of a rejection that nobody handles when the microtasks of a turn are done.
    await new Promise(setImmediate)
    process.off('unhandledRejection', note)
    expect(unhandled).to.deep.equal([])
    expect(toMonitor).to.deep.equal([{ kind: 'settled', keys: [key(a)] }])
  })

  it('gives back, when it is aborted, also what the monitor has not answered for', () => {
    const { dispatcher, reports, settled, monitor, worker } = desk()
    monitor()
    worker('w1')
    dispatcher.take([deliver(headerOf(), 2), deliver(headerOf(), 9)])
    dispatcher.drain()
    expect(reports).to.deep.equal([])
    dispatcher.abandon()
    expect(settled.map(({ type }) => type)).to.deep.equal(['requeue', 'requeue'])
    expect(reports).to.deep.equal(['dispatcher.drained'])
  })

  it('has drained when everything that it held is pushed', () => {
    const { dispatcher, reports, monitor, worker } = desk()
    monitor()
    worker('w1')
    const [a, b] = [headerOf(), headerOf()]
    dispatcher.take([deliver(a), deliver(b)])
    dispatcher.drain()
    expect(reports).to.deep.equal([])
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(a), took: 100 }] })
    expect(reports).to.deep.equal(['dispatcher.drained'])
  })

  it('is deserted when neither worker nor monitor is connected', () => {
    const { dispatcher, reports, monitor, worker } = desk()
    monitor()
    worker('w1')
    dispatcher.awaitDesertion()
    dispatcher.unseat('w1')
    expect(reports).to.deep.equal([])
    dispatcher.unattend()
    expect(reports).to.deep.equal(['dispatcher.deserted'])
  })

  it('requeues what it holds where no worker is left to take it', () => {
    const { dispatcher, reports, settled, monitor } = desk()
    monitor()
    dispatcher.take([deliver(headerOf())])
    dispatcher.drain()
    expect(settled.map(({ type }) => type)).to.deep.equal(['requeue'])
    expect(reports).to.deep.equal(['dispatcher.drained'])
  })

  it('gives a worker what is urgent before all that waits for one', () => {
    const { dispatcher, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    const [a, b, urgent] = [headerOf(), headerOf(), headerOf({ priority: 'high' })]
    dispatcher.take([deliver(a), deliver(b)])
    dispatcher.take([deliver(urgent)])
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(a), took: 100 }] })
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(urgent), took: 100 }] })
    expect(w1).to.deep.equal([a.id, urgent.id, b.id])
  })

  it('publishes a retry with the priority of its task', async () => {
    const { dispatcher, settled, monitor, worker } = desk()
    monitor()
    worker('w1')
    const urgent = headerOf({ priority: 'high' })
    dispatcher.take([deliver(urgent)])
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(urgent), fate: 'retry' }] })
    expect(settled[0]).to.have.nested.property('package.priority', 'high')
  })

  it('hands notices on to the broker', () => {
    const { dispatcher, notified, monitor } = desk()
    monitor()
    const notices = [{ to: 'here', body: 'done' }]
    dispatcher.hearMonitor({ kind: 'notices', notices })
    expect(notified).to.deep.equal(notices)
  })

  it('asks about what follows from an outcome before it is run, and drops a second copy of it', () => {
    const { dispatcher, settled, toMonitor, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    const follower = headerOf({ follows: 'f'.repeat(32) })
    dispatcher.take([deliver(follower)])
    expect(w1).to.deep.equal([])
    expect(toMonitor.at(-1)).to.deep.include({ kind: 'lookup' })
    dispatcher.hearMonitor({ kind: 'unknown', keys: [key(follower)] })
    expect(w1).to.deep.equal([follower.id])
    const copy = deliver(follower, 2)
    dispatcher.take([copy])
    expect(settled).to.deep.equal([{ type: 'ack', receipt: copy.receipt }])
    expect(w1).to.deep.equal([follower.id])
  })

  it('has what follows enqueued with the settlement, signed', () => {
    const { dispatcher, settled, monitor, worker } = desk({ concurrency: 2 })
    monitor()
    worker('w1')
    const [a, b, next] = [headerOf(), headerOf(), headerOf()]
    dispatcher.take([deliver(a), deliver(b)])
    const follow = [{ header: next, args: '[7]' }]
    dispatcher.hearMonitor({
      kind: 'verdicts',
      verdicts: [
        { key: key(a), fate: 'ack', follow },
        { key: key(b), fate: 'deadLetter', follow },
      ],
    })
    for (const settlement of settled) {
      const [enqueued] = ('follow' in settlement && settlement.follow) || []
      expect(enqueued?.queue).to.equal('q')
      expect(openPackage(enqueued?.package as Delivery, 'q', signer)).to.deep.equal(follow[0])
    }
    expect(settled).to.have.length(2)
  })

  it('withdraws what is cancelled before a worker gets it, and tells workers and sentinel of the rest', () => {
    const { dispatcher, reports, settled, toMonitor, monitor, worker } = desk()
    monitor()
    const w1 = worker('w1')
    const [running, waiting, other, later] = [headerOf(), headerOf({ group: 'g' }), headerOf(), headerOf()]
    dispatcher.take([running, waiting, other].map((one) => deliver(one)))
    const cancellations = [
      ...[running, later].map(({ id }) => ({ taskId: id, at: 9 })),
      { group: 'g', at: 9 },
    ]
    dispatcher.hearMonitor({ kind: 'cancelled', cancellations })
    dispatcher.take([deliver(later)])
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(running), took: 100 }] })
    dispatcher.hear('w1', { kind: 'finished', runs: [{ key: key(other), took: 100 }] })
    expect(w1).to.deep.equal([running.id, 'cancelled', other.id])
    const withdrawn = toMonitor.flatMap((message) => (message.kind === 'withdrawn' ? message.jobs : []))
    expect(withdrawn.map(({ header }) => header.id)).to.deep.equal([waiting.id, later.id])
    expect(reports).to.deep.equal(['runs.cancelled'])
    dispatcher.hearMonitor({ kind: 'verdicts', verdicts: [{ key: key(waiting), fate: 'ack' }] })
    expect(settled.map(({ type }) => type)).to.deep.equal(['ack'])
  })

  it('tells a new monitor again what was withdrawn, and a new worker what is cancelled', () => {
    const { dispatcher, toMonitor, monitor, worker } = desk()
    monitor()
    const cancelled = headerOf()
    dispatcher.hearMonitor({ kind: 'cancelled', cancellations: [{ taskId: cancelled.id, at: 9 }] })
    expect(worker('w1')).to.deep.equal(['cancelled'])
    dispatcher.take([deliver(cancelled)])
    dispatcher.unattend()
    monitor()
    expect(toMonitor.map(({ kind }) => kind)).to.deep.equal(['withdrawn', 'withdrawn'])
  })
})
