import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { expect } from 'chai'
import type { TaskHeader } from '../../lib/package.ts'
import type { StartedRun } from '../../lib/process/board.ts'
import { type Ended, runKey, type WorkerToMonitor, type WorkerToPusher } from '../../lib/roles/frames.ts'
import { Runner } from '../../lib/roles/runner.ts'
import { decode } from '../../lib/tasks/codec.ts'
import { currentTask } from '../../lib/tasks/current.ts'
import type { LoadedTask } from '../../lib/tasks/load.ts'

const settle = () => new Promise(setImmediate)
let counter = 0

function job(
  func: string,
  { tiny = false, args = '[]', ...limits }: { tiny?: boolean; args?: string } & Partial<TaskHeader> = {},
) {
  counter += 1
  const id = counter.toString(16).padStart(32, '0')
  return { header: { id, run: 1, attempt: 1, name: 'n', func, enqueuedAt: 1, ...limits }, args, tiny }
}

/** A runner with peers that write down what they hear, and tasks that end when the spec says so. */
function desk({ concurrency = 1 } = {}) {
  const gates: (() => void)[] = []
  const reports: string[] = []
  const toMonitor: WorkerToMonitor[] = []
  const toPusher: WorkerToPusher[] = []
  const started: string[] = []
  const shown: StartedRun[] = []
  const recorded: string[] = []
  const told: string[] = []
  const heard: unknown[] = []
  const task = (
    func: string,
    fn: LoadedTask['fn'],
    definition?: LoadedTask['definition'],
  ): [string, LoadedTask] => [func, { func, definition, fn }]
  const runner = new Runner({
    show: () => {},
    ...{
      worker: 'w1',
      concurrency,
      timeout: null,
      packing: { compress: true, maxPayload: 2000 },
    },
    tasks: new Map([
      task('quick', (n) => n),
      task('symbolic', () => ({ a: Symbol('b') })),
      task('gated', () => new Promise<void>((resolve) => gates.push(resolve))),
      task(
        'limited',
        () => {
          throw new Error('no')
        },
        { name: 'limited', maxAttempts: 7, save: false },
      ),
      task(
        'heeding',
        () =>
          new Promise((_, reject) => {
            const { signal } = currentTask()
            signal.addEventListener('abort', () => reject(signal.reason))
          }),
      ),
      task(
        'hopeless',
        () => {
          throw new Error('no')
        },
        { name: 'hopeless', retryIf: (error) => (error as Error).message !== 'no' },
      ),
      task('blocking', () => {
        for (const end = performance.now() + 6; performance.now() < end; );
      }),
      task('late', () => {
        for (const end = performance.now() + 6; performance.now() < end; );
        return 'done'
      }),
      task('heedful', async () => {
        const { signal, deadline, attempt } = currentTask()
        await once(signal, 'abort')
        heard.push({ why: signal.reason?.why, deadline, attempt })
        signal.throwIfAborted()
      }),
      task('deaf', () => new Promise((resolve) => setTimeout(resolve, 30)), { name: 'deaf', timeout: 0.01 }),
    ]),
    board: {
      start: (_slot, run) => {
        started.push(run.taskId)
        shown.push(run)
      },
      finish: () => {},
      close: () => {},
    },
    report: ({ type }) => void reports.push(type),
    record: (_event, { func }) => void recorded.push(func as string),
    flush: () => void told.push(...recorded.splice(0)),
  })
  const monitor = () =>
    runner.meetMonitor(
      (message) => void toMonitor.push(message),
      () => {},
    )
  const pusher = () => runner.meetPusher((message) => void toPusher.push(message))
  const ended = (): Ended[] =>
    toMonitor.flatMap((message) => (message.kind === 'ended' ? message.outcomes : []))
  const finished = () => toPusher.flatMap((message) => (message.kind === 'finished' ? message.runs : []))
  return {
    runner,
    gates,
    reports,
    toMonitor,
    toPusher,
    started,
    shown,
    told,
    monitor,
    pusher,
    ended,
    finished,
    heard,
  }
}

describe('the runner', () => {
  it('greets the pusher only when a monitor is there to take outcomes', () => {
    const { toPusher, monitor, pusher } = desk()
    pusher()
    expect(toPusher).to.deep.equal([])
    monitor()
    expect(toPusher).to.deep.equal([{ kind: 'hello', worker: 'w1', holds: [] }])
  })

  it('tells what has ended at once, although a neighbour still runs', async () => {
    const { runner, monitor, pusher, ended, finished } = desk({ concurrency: 2 })
    monitor()
    pusher()
    runner.take([job('gated'), job('quick', { args: '[3]' })])
    await settle()
    expect(ended().map(({ result }) => result)).to.deep.equal(['3'])
    expect(finished()).to.have.length(1)
  })

  it('runs no more at a time than it has places', async () => {
    const { runner, monitor, pusher, started, gates } = desk({ concurrency: 2 })
    monitor()
    pusher()
    const jobs = [job('gated'), job('gated'), job('gated')]
    runner.take(jobs)
    await settle()
    expect(started).to.have.length(2)
    gates[0]?.()
    await settle()
    expect(started).to.deep.equal(jobs.map(({ header }) => header.id))
  })

  it('keeps every outcome until it is released, and says it again to a new monitor', async () => {
    const { runner, monitor, pusher, ended, toMonitor } = desk()
    monitor()
    pusher()
    const [a, b] = [job('quick'), job('quick')]
    runner.take([a, b])
    await settle()
    runner.released([runKey(a.header.id, 1)])
    runner.monitorLeft()
    toMonitor.length = 0
    monitor()
    expect(ended().map(({ header }) => header.id)).to.deep.equal([b.header.id])
  })

  it('forgets what it has not started when its pusher is gone, and tells the next one what it holds', async () => {
    const { runner, monitor, pusher, gates, started, toPusher } = desk()
    monitor()
    pusher()
    const [a, b] = [job('gated'), job('gated')]
    runner.take([a, b])
    runner.pusherLeft()
    pusher()
    expect(toPusher.at(-1)).to.deep.equal({ kind: 'hello', worker: 'w1', holds: [runKey(a.header.id, 1)] })
    await settle()
    gates[0]?.()
    await settle()
    expect(started).to.deep.equal([a.header.id])
  })

  it('returns what waits behind a run that took long, except what can start at once', async () => {
    const { runner, toPusher, started, monitor, pusher } = desk()
    monitor()
    pusher()
    const jobs = ['blocking', 'quick', 'quick', 'quick'].map((func) => job(func, { tiny: true }))
    const ids = jobs.map(({ header }) => header.id)
    runner.take(jobs)
    await settle()
    expect(started).to.deep.equal(ids.slice(0, 2))
    expect(toPusher.map(({ kind }) => kind)).to.deep.equal(['hello', 'finished', 'returned', 'finished'])
    expect(toPusher[2]).to.deep.equal({ kind: 'returned', keys: ids.slice(2).map((id) => runKey(id, 1)) })
  })

  it('returns nothing when it is leaving: nobody else may be there', async () => {
    const { runner, started, monitor, pusher } = desk()
    monitor()
    pusher()
    runner.take(['blocking', 'quick', 'quick'].map((func) => job(func, { tiny: true })))
    runner.finish()
    await settle()
    expect(started).to.have.length(3)
  })

  it('tells the monitor that it leaves, and a later one as well', () => {
    const { runner, monitor, toMonitor } = desk()
    monitor()
    runner.finish()
    expect(toMonitor.at(-1)).to.deep.equal({ kind: 'leaving' })
    runner.monitorLeft()
    monitor()
    expect(toMonitor.map(({ kind }) => kind)).to.deep.equal(['hello', 'leaving', 'hello', 'leaving'])
  })

  it('has finished when the pusher has bidden farewell and the monitor has released everything', async () => {
    const { runner, monitor, pusher, reports, toPusher } = desk()
    monitor()
    pusher()
    runner.pusherLeft()
    pusher()
    runner.finish()
    expect(toPusher.at(-1)?.kind).to.equal('leaving')
    expect(reports, 'the farewell of a former pusher counts for nothing').to.not.include('runner.finished')
    const late = job('quick')
    runner.take([late])
    runner.bidFarewell()
    await settle()
    expect(reports).to.not.include('runner.finished')
    runner.released([runKey(late.header.id, 1)])
    expect(reports).to.include('runner.finished')
  })

  it('tells of a task before it may block this process or end it', () => {
    const { runner, told, monitor, pusher } = desk({ concurrency: 3 })
    monitor()
    pusher()
    runner.take([job('quick', { tiny: true })])
    expect(told, 'what takes next to nothing is told with others').to.deep.equal([])
    runner.take([job('gated')])
    expect(told).to.deep.equal(['quick', 'gated'])
  })

  it('applies the limits that a task was defined with to whoever enqueued it by name', async () => {
    const { runner, monitor, pusher, ended } = desk()
    monitor()
    pusher()
    runner.take([job('limited')])
    await settle()
    expect(ended()[0]?.header).to.include({ maxAttempts: 7, save: false })
  })

  it('makes a clear failure of a result that has no text, or too much of it', async () => {
    const { runner, monitor, pusher, ended } = desk({ concurrency: 2 })
    monitor()
    pusher()
    runner.take([
      job('symbolic'),
      job('quick', { args: JSON.stringify([randomBytes(2000).toString('hex')]) }),
    ])
    await settle()
    const [symbolic, large] = ended()
    expect([symbolic?.success, large?.success]).to.deep.equal([false, false])
    expect(symbolic?.result).to.contain('result.a is a symbol; expected plain data')
    expect(large?.result).to.match(
      /The result of ..quick.. would take \d+ bytes, and maxPayload allows 2000;/,
    )
  })

  it('deflates a long result', async () => {
    const { runner, monitor, pusher, ended } = desk()
    monitor()
    pusher()
    runner.take([job('quick', { args: JSON.stringify(['x'.repeat(5000)]) })])
    await settle()
    expect(ended()[0]?.result).to.have.length.below(100)
    expect(decode(ended()[0]?.result as string)).to.equal('x'.repeat(5000))
  })

  it('shows on its board the limits of a run: those it was enqueued with before those of the task', () => {
    const { runner, monitor, pusher, shown } = desk({ concurrency: 2 })
    monitor()
    pusher()
    runner.take([job('limited'), job('limited', { maxAttempts: 2, retry: 5 })])
    expect(shown.map(({ maxAttempts, retry }) => [maxAttempts, retry])).to.deep.equal([
      [7, undefined],
      [2, 5],
    ])
  })

  it('tells that nothing runs when that has lasted, not between runs that follow one another', async () => {
    const { runner, monitor, pusher, reports, ended } = desk()
    monitor()
    pusher()
    for (let round = 1; round <= 3; round += 1) {
      runner.take([job('quick')])
      while (ended().length < round) await settle()
    }
    expect(reports).to.deep.equal(['runner.busy'])
    while (!reports.includes('runner.idle')) await settle()
    runner.take([job('quick')])
    expect(reports).to.deep.equal(['runner.busy', 'runner.idle', 'runner.busy'])
  })

  it('fixes the outcome at the deadline, and tells it when the code has yielded', async () => {
    const { runner, monitor, pusher, ended, reports } = desk()
    monitor()
    pusher()
    runner.take([job('deaf')])
    while (!reports.includes('runner.idle')) await settle()
    expect(ended()[0]).to.include({ success: false })
    expect(ended()[0]?.result).to.include('Task exceeded maximum timeout value (0.01 seconds)')
  })

  it('counts a run as timed out that kept its process busy until after its deadline', async () => {
    const { runner, monitor, pusher, ended } = desk()
    monitor()
    pusher()
    runner.take([job('late', { timeout: 0.004 })])
    await settle()
    expect(ended()[0]).to.include({ success: false })
    expect(JSON.parse(ended()[0]?.result as string)).to.include({
      name: 'TaskTimeoutError',
      message: 'Task exceeded maximum timeout value (0.004 seconds)',
    })
  })

  it('tells a run by its signal that its time is over', async () => {
    const { runner, monitor, pusher, ended, reports, heard, shown } = desk()
    monitor()
    pusher()
    runner.take([job('heedful', { timeout: 0.02 })])
    while (!reports.includes('runner.idle')) await settle()
    const deadline = (shown[0]?.startedAt as number) + 20
    expect(heard).to.deep.equal([{ why: 'timeout', deadline, attempt: 1 }])
    expect(ended()[0]?.result).to.include('(0.02 seconds)')
    expect(ended()[0]?.interrupted).to.equal(undefined)
  })

  it('tells a run by its signal that the cluster waits no longer, and has it requeued', async () => {
    const { runner, monitor, pusher, ended, heard } = desk()
    monitor()
    pusher()
    runner.take([job('heedful')])
    runner.abort()
    await settle()
    expect(heard).to.deep.equal([{ why: 'shutdown', deadline: null, attempt: 1 }])
    expect(ended()[0]?.interrupted).to.equal(true)
  })

  it('gives back what has not started when it is aborted, without spending an attempt', async () => {
    const { runner, monitor, pusher, ended } = desk()
    monitor()
    pusher()
    const [a, b] = [job('gated'), job('gated')]
    runner.take([a, b])
    runner.abort()
    expect(ended().map(({ header, interrupted }) => [header.id, interrupted])).to.deep.equal([
      [b.header.id, true],
    ])
  })

  it('does not start what has expired, and goes on', async () => {
    const { runner, monitor, pusher, ended, started } = desk()
    monitor()
    pusher()
    const late = { enqueuedAt: Date.now() - 2_000, expires: 1 }
    runner.take([job('quick', late), job('quick', { args: '[3]' }), job('quick', { ...late, expires: 60 })])
    await settle()
    expect(ended().map(({ withdrawn, success }) => withdrawn ?? success)).to.deep.equal([
      'expired',
      true,
      true,
    ])
    expect(ended()[0]?.result).to.include('QCLUSTER_TASK_EXPIRED').and.to.include('within 1 seconds')
    expect(started).to.have.length(2)
  })

  it('lets the outcome tell what failure and task say of another attempt', async () => {
    const { runner, monitor, pusher, ended } = desk()
    monitor()
    pusher()
    // One by one: what waits behind a run that takes long is given back.
    for (const [i, func] of ['limited', 'hopeless', 'symbolic'].entries()) {
      runner.take([job(func)])
      while (ended().length <= i) await settle()
    }
    expect(ended().map(({ again }) => again)).to.deep.equal([undefined, false, undefined])
  })

  it('withdraws what is cancelled while it waits, and tells what runs', async () => {
    const { runner, monitor, pusher, ended, gates, started } = desk()
    monitor()
    pusher()
    const jobs = [job('gated'), job('quick', { args: '[3]' }), job('quick', { group: 'g' }), job('heeding')]
    runner.take(jobs)
    await settle()
    runner.cancel([
      { taskId: jobs[1]?.header.id as string, at: 9 },
      { group: 'g', at: 9 },
    ])
    await settle()
    expect(ended().map(({ withdrawn }) => withdrawn)).to.deep.equal(['cancelled', 'cancelled'])
    gates.shift()?.()
    await settle()
    runner.cancel([{ taskId: jobs[3]?.header.id as string, at: 9 }])
    await settle()
    expect(ended().map(({ withdrawn, success }) => withdrawn ?? success)).to.deep.equal([
      ...['cancelled', 'cancelled', true, 'cancelled'],
    ])
    expect(ended().at(-1)?.result).to.include('QCLUSTER_TASK_CANCELLED')
    expect(started).to.have.length(2)
  })

  it('leaves a success alone that came although it was cancelled, and what is enqueued after its group was', async () => {
    const { runner, monitor, pusher, ended, gates } = desk({ concurrency: 2 })
    monitor()
    pusher()
    const jobs = [job('gated'), job('gated', { group: 'g', enqueuedAt: 10 })]
    runner.take(jobs)
    await settle()
    runner.cancel([
      { taskId: jobs[0]?.header.id as string, at: 9 },
      { group: 'g', at: 9 },
    ])
    for (const open of gates) open()
    await settle()
    expect(ended().map(({ success }) => success)).to.deep.equal([true, true])
  })
})
