import { once } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { stripVTControlCharacters } from 'node:util'
import { expect } from 'chai'
import winston from 'winston'
import type { LogLevel } from '../lib/config.ts'
import { ConfigError } from '../lib/errors.ts'
import {
  createLogger,
  createLoggerLater,
  createRecorder,
  EVENTS,
  type EventName,
  escapeControls,
  isWanted,
  type LogRecord,
  type Records,
  relayTo,
  toJson,
  toText,
  wordsOf,
} from '../lib/logger.ts'

const NOON = new Date(2026, 0, 2, 12, 3, 4).getTime()
const P = 'Process-01faec194b844f718597480bbcf4b6a1'
const TASK = { taskId: 'id', task: 'snake-fifteen-hydrogen-april', func: 'math.copysign' }

const recordOf = <E extends EventName>(event: E, fields: Records[E]) =>
  ({ at: NOON, level: EVENTS[event].level, event, ...fields }) as LogRecord<E>

describe('log records', () => {
  const lines: [string, LogRecord][] = [
    ['INFO Q Cluster a-b-c-d starting.', recordOf('cluster.starting', { cluster: 'a-b-c-d' })],
    [`INFO ${P} ready for work at 7`, recordOf('worker.ready', { process: P, pid: 7 })],
    [`INFO ${P} monitoring at 7`, recordOf('monitor.ready', { process: P, pid: 7 })],
    [`DEBUG ${P} scheduling at 7`, recordOf('scheduler.ready', { process: P, pid: 7 })],
    [`INFO ${P} pushing tasks at 7`, recordOf('pusher.ready', { process: P, pid: 7 })],
    [
      `INFO ${P} guarding cluster a-b-c-d [demo]`,
      recordOf('sentinel.guarding', { process: P, cluster: 'a-b-c-d', queue: 'demo' }),
    ],
    [
      'INFO Q Cluster a-b-c-d [demo] running.',
      recordOf('cluster.running', { cluster: 'a-b-c-d', queue: 'demo' }),
    ],
    [
      `INFO ${P} processing snake-fifteen-hydrogen-april 'math.copysign'`,
      recordOf('task.started', { process: P, ...TASK }),
    ],
    [
      `INFO ${P} processing snake-fifteen-hydrogen-april 'math.copysign' [g1]`,
      recordOf('task.started', { process: P, ...TASK, group: 'g1' }),
    ],
    ["INFO Processed 'math.copysign' (snake-fifteen-hydrogen-april)", recordOf('task.finished', TASK)],
    [
      "ERROR Failed 'math.copysign' (snake-fifteen-hydrogen-april) - boom",
      recordOf('task.failed', { ...TASK, error: { name: 'Error', message: 'boom' } }),
    ],
    [
      "DEBUG Attempt 3 of 'math.copysign' (snake-fifteen-hydrogen-april) follows in 1.5 seconds",
      recordOf('task.retrying', { ...TASK, attempt: 2, delay: 1500 }),
    ],
    [
      "ERROR Dead-lettered 'math.copysign' (snake-fifteen-hydrogen-april) - never finished",
      recordOf('task.dead', { ...TASK, reason: 'never finished' }),
    ],
    [
      "WARNING Interrupted and requeued 'math.copysign' (snake-fifteen-hydrogen-april)",
      recordOf('task.interrupted', TASK),
    ],
    ['ERROR Failed to push task to queue - forged', recordOf('package.refused', { reason: 'forged' })],
    [
      `INFO ${P} created task snake-fifteen-hydrogen-april from schedule [nightly]`,
      recordOf('schedule.met', {
        ...{ process: P, schedule: 'nightly', taskId: TASK.taskId },
        ...{ task: TASK.task, func: TASK.func },
      }),
    ],
    [
      `ERROR ${P} failed to create a task from schedule [nightly] - no pattern`,
      recordOf('schedule.failed', { process: P, schedule: 'nightly', reason: 'no pattern' }),
    ],
    [
      `INFO ${P} skipped 2 of schedule [nightly]`,
      recordOf('schedule.skipped', { process: P, schedule: 'nightly', slots: 2 }),
    ],
    [
      `WARNING ${P} published task 7 of schedule [nightly] once more: whoever made it has left it`,
      recordOf('schedule.republished', { process: P, schedule: 'nightly', taskId: '7' }),
    ],
    [`ERROR ${P} lost the broker - gone`, recordOf('broker.lost', { process: P, reason: 'gone' })],
    ['ERROR lost the store', recordOf('store.lost', {})],
    [`INFO recycled worker ${P}`, recordOf('worker.recycled', { process: P })],
    ['INFO 42 will use cpu [0, 1]', recordOf('worker.pinned', { process: P, pid: 42, cpus: '0, 1' })],
    [
      `WARNING ${P} leaves the workers on all processors: cpuAffinity needs Linux and taskset - no`,
      recordOf('affinity.refused', { process: P, pid: 42, reason: 'no' }),
    ],
    [
      `CRITICAL reincarnated worker ${P} after death`,
      recordOf('worker.reincarnated', { process: P, after: 'death' }),
    ],
    [
      `CRITICAL reincarnated worker ${P} after timeout while processing task t-blocky`,
      recordOf('worker.reincarnated', { process: P, after: 'timeout', task: 't-blocky' }),
    ],
    [
      `CRITICAL reincarnated monitor ${P} after sudden death`,
      recordOf('monitor.reincarnated', { process: P }),
    ],
    ['INFO Q Cluster a-b-c-d stopping.', recordOf('cluster.stopping', { cluster: 'a-b-c-d' })],
    [`INFO ${P} stopping cluster processes`, recordOf('sentinel.stopping', { process: P })],
    [`INFO ${P} stopped pushing tasks`, recordOf('pusher.drained', { process: P })],
    [`INFO ${P} stopped doing work`, recordOf('worker.stopped', { process: P })],
    [`INFO ${P} waiting for the monitor.`, recordOf('sentinel.waiting', { process: P })],
    [`INFO ${P} stopped monitoring results`, recordOf('monitor.stopped', { process: P })],
    ['INFO Q Cluster a-b-c-d has stopped.', recordOf('cluster.stopped', { cluster: 'a-b-c-d' })],
    [
      'CRITICAL Q Cluster a-b-c-d failed - no broker',
      recordOf('cluster.failed', {
        cluster: 'a-b-c-d',
        error: { name: 'BrokerError', message: 'no broker' },
      }),
    ],
  ]
  for (const [line, record] of lines)
    it(`read: ${line.replaceAll(P, '<P>')}`, () => {
      expect(toText(record)).to.equal(`12:03:04 [Q] ${line}`)
    })

  it('leave out the stack where a cluster fails of what is in no code', () => {
    const lineCount = (code: string) => {
      const error = { name: 'Error', message: 'm', stack: 'Error: m\n    at nada (tasks.ts:3:9)', code }
      return toText(recordOf('cluster.failed', { cluster: 'a-b-c-d', error })).split('\n').length
    }
    expect(lineCount('QCLUSTER_BROKER')).to.equal(1)
    expect(lineCount('QCLUSTER_TASK_LOAD')).to.equal(3)
  })

  it('show the stack of a failure on the lines below, indented', () => {
    const error = { name: 'Error', message: 'boom', stack: 'Error: boom\n    at nada (tasks.ts:3:9)' }
    expect(toText(recordOf('task.failed', { ...TASK, error })).split('\n')).to.deep.equal([
      "12:03:04 [Q] ERROR Failed 'math.copysign' (snake-fifteen-hydrogen-april) - boom :",
      '    Error: boom',
      '        at nada (tasks.ts:3:9)',
    ])
  })

  it('are JSON with the event, its fields and the same words', () => {
    const record = recordOf('task.finished', { ...TASK, run: 2 })
    expect(JSON.parse(toJson(record))).to.deep.equal({
      at: new Date(NOON).toISOString(),
      level: 'info',
      event: 'task.finished',
      message: wordsOf(record),
      ...TASK,
      run: 2,
    })
  })

  it('go by the name of an event that has no words', () => {
    expect(wordsOf({ at: NOON, level: 'info', event: 'mine.happened' } as never)).to.equal('mine.happened')
  })
})

describe('a terminal', () => {
  const terminal = (depth: number) =>
    Object.assign(new PassThrough(), { isTTY: true, getColorDepth: () => depth })
  const refused = recordOf('package.refused', { reason: 'forged' })

  before(function () {
    if (process.env.FORCE_COLOR !== undefined) this.skip()
  })

  it('shows levels in colour', () => {
    expect(toText(refused, terminal(8))).to.contain('[Q] \u001b[31mERROR\u001b[39m Failed')
  })

  it('shows none when it has none, as Node says of every terminal under NO_COLOR', () => {
    expect(toText(refused, terminal(1))).to.contain('[Q] ERROR Failed')
  })
})

describe('forged log lines', () => {
  const forged = 'x\n12:00:00 [Q] INFO Q Cluster a-b-c-d has stopped.'
  const error = { name: 'Error', message: forged, stack: `Error: ${forged}\r${forged}` }
  const record = recordOf('task.failed', { taskId: 'id', task: forged, func: 'f\u001b[2J', error })

  it('do not come out of names, messages and stacks', () => {
    const [first, ...below] = toText(record).split(/[\n\r\u2028\u2029]/)
    expect(first).to.match(/^12:03:04 \[Q\] ERROR Failed 'f\\u001b\[2J' \(x\\n12:00:00 /)
    for (const line of below) expect(line).to.match(/^ {4}/)
  })

  it('do not come out of JSON', () => {
    expect(toJson(record)).not.to.match(/[\n\r]/)
  })

  it('do not come out of JSON that a terminal shows, and can be read back', () => {
    const task = '\u009b2J\u007f\u2028\u202e'
    const json = toJson(recordOf('task.finished', { ...TASK, task }))
    expect(json).not.to.match(/[\u007f-\u009f\u2028\u202e]/)
    expect(JSON.parse(json).task).to.equal(task)
  })

  it('do not come out of unusual characters', () => {
    const nasty = ['\u0000', '\u007f', '\u0085', '\u009b', '\u2028', '\u202e', '\u2066', '\ud800']
    for (const character of nasty) expect(escapeControls(character)).to.match(/^\\u[0-9a-f]{4}$/)
    expect(escapeControls('naïve 漢字 👩‍👩‍👧')).to.equal('naïve 漢字 👩‍👩‍👧')
  })
})

describe('createLoggerLater', () => {
  it('writes what came before it was open, in order, and leaves nothing behind when it is closed', async () => {
    const stream = new PassThrough()
    const logger = createLoggerLater({ logLevel: 'info', logFormat: 'text' }, stream)
    logger.write(recordOf('cluster.starting', { cluster: 'first' }))
    logger.write(recordOf('cluster.starting', { cluster: 'second' }))
    await logger.close()
    expect(await text(stream.end())).to.match(/first starting.*second starting/s)
  })
})

describe('createLogger', () => {
  const finished = recordOf('task.finished', TASK)
  const refused = recordOf('package.refused', { reason: 'forged' })
  const scheduling = recordOf('scheduler.ready', { process: 'Process-1', pid: 1 })

  /** All that a logger of this level writes of these records. */
  async function written(logLevel: LogLevel, records: LogRecord[], logFormat: 'text' | 'json' = 'text') {
    const stream = new PassThrough()
    const all = text(stream)
    const logger = await createLogger({ logLevel, logFormat }, stream)
    for (const record of records) logger.write(record)
    await logger.close()
    stream.end()
    // A developer may run the specs with FORCE_COLOR.
    return stripVTControlCharacters(await all)
  }

  it('writes a line a record, in order, and has written all when it is closed', async () => {
    const records = Array.from({ length: 1000 }, (_, pid) => recordOf('worker.ready', { process: P, pid }))
    const lines = (await written('info', records)).split('\n')
    expect(lines).to.deep.equal([...records.map((record) => toText(record)), ''])
  })

  it('leaves out what is below its level', async () => {
    const all = [scheduling, finished, refused]
    expect((await written('debug', all)).split('\n')).to.have.length(4)
    expect((await written('info', all)).split('\n')).to.have.length(3)
    expect((await written('warn', all)).split('\n')).to.have.length(2)
    expect(await written('silent', all)).to.equal('')
  })

  it('writes an object a line as JSON', async () => {
    const lines = (await written('info', [finished, refused], 'json')).trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line).event)).to.deep.equal(['task.finished', 'package.refused'])
  })

  it('leaves its stream open, without a listener', async () => {
    const stream = new PassThrough()
    const logger = await createLogger({ logLevel: 'info', logFormat: 'text' }, stream)
    logger.write(finished)
    await logger.close()
    expect(stream.writable).to.equal(true)
    expect(stream.listenerCount('error')).to.equal(0)
  })

  it('outlives the reader of its stream', async () => {
    const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('EPIPE')) })
    const logger = await createLogger({ logLevel: 'info', logFormat: 'text' }, stream)
    const failed = new Promise((resolve) => stream.once('error', resolve))
    logger.write(finished)
    await failed
    logger.write(finished)
    await logger.close()
  })
})

describe("a user's own logger", () => {
  const lines: Record<string, unknown>[] = []
  const ownLogger = (levels?: winston.config.AbstractConfigSetLevels) =>
    winston.createLogger({
      ...(levels && { levels }),
      level: 'info',
      transports: new winston.transports.Stream({
        stream: new Writable({
          objectMode: true,
          write: (line, _encoding, done) => {
            lines.push(JSON.parse(JSON.stringify(line)))
            done()
          },
        }),
      }),
      format: winston.format.json(),
    })

  beforeEach(() => {
    lines.length = 0
  })

  it('gets the words of an event, its name and its fields', async () => {
    const own = ownLogger()
    relayTo(own).write(recordOf('task.finished', { ...TASK, run: 2 }))
    await settled()
    expect(lines).to.deep.equal([
      {
        level: 'info',
        message: "Processed 'math.copysign' (snake-fifteen-hydrogen-april)",
        event: 'task.finished',
        at: new Date(NOON).toISOString(),
        ...TASK,
        run: 2,
      },
    ])
  })

  it('gets of its levels the one that is nearest to ours', async () => {
    const failed = recordOf('cluster.failed', { cluster: 'a-b-c-d' })
    for (const levels of [winston.config.npm.levels, winston.config.syslog.levels, { fatal: 0, info: 1 }])
      relayTo(ownLogger(levels)).write(failed)
    relayTo(ownLogger(winston.config.syslog.levels)).write(recordOf('task.interrupted', TASK))
    await settled()
    expect(lines.map(({ level }) => level)).to.deep.equal(['error', 'crit', 'fatal', 'warning'])
  })

  it('gets words without what could move a cursor', async () => {
    relayTo(ownLogger()).write(recordOf('task.finished', { ...TASK, func: 'f\u001b[2J' }))
    await settled()
    expect(lines[0]?.message).to.contain("'f\\u001b[2J'")
  })

  it('stays open when the cluster is done with it', async () => {
    const own = ownLogger()
    const logger = relayTo(own)
    await logger.close()
    own.info('mine')
    await settled()
    expect(lines).to.deep.equal([{ level: 'info', message: 'mine' }])
  })

  it('ends no cluster when it fails', async () => {
    const warned = once(process, 'warning')
    relayTo({ levels: { info: 0 }, log: () => expect.fail('out of paper') }).write(
      recordOf('task.finished', TASK),
    )
    expect((await warned)[0].message).to.equal('The logger of a cluster failed: out of paper')
  })

  it('is refused when it is none', () => {
    expect(() => relayTo(console as never)).to.throw(
      ConfigError,
      'expected what winston.createLogger() makes',
    )
  })

  const settled = () => new Promise((resolve) => setImmediate(resolve))
})

describe('createRecorder', () => {
  let sent: LogRecord[]
  const recorderOf = (level: LogLevel, events?: EventName[]) =>
    createRecorder({ level, ...(events && { events: new Set(events) }), send: (record) => sent.push(record) })

  beforeEach(() => {
    sent = []
  })

  it('stamps a record with its time and the level of its event', () => {
    const before = Date.now()
    recorderOf('info').record('worker.stopped', { process: P })
    expect(sent).to.have.length(1)
    expect(sent[0]).to.include({ level: 'info', event: 'worker.stopped', process: P })
    expect(sent[0]?.at).to.be.within(before, Date.now())
  })

  it('sends nothing below its level', () => {
    const recorder = recorderOf('warn')
    recorder.record('task.finished', TASK)
    recorder.record('task.interrupted', TASK)
    expect(sent.map(({ event }) => event)).to.deep.equal(['task.interrupted'])
  })

  it('sends the events it was asked for, whatever their level', () => {
    const recorder = recorderOf('silent', ['scheduler.ready'])
    recorder.record('scheduler.ready', { process: 'Process-1', pid: 1 })
    recorder.record('cluster.failed', { cluster: 'a-b-c-d' })
    expect(sent.map(({ event }) => event)).to.deep.equal(['scheduler.ready'])
  })

  it('changes its selection while it is in use', () => {
    const recorder = recorderOf('warn')
    expect(recorder.isWanted('task.finished')).to.equal(false)
    recorder.select({ level: 'info' })
    expect(recorder.isWanted('task.finished')).to.equal(true)
    recorder.select({ level: 'error' })
    recorder.select({ events: new Set(['task.finished']) })
    expect(recorder.isWanted('task.finished')).to.equal(true)
    expect(recorder.isWanted('task.interrupted')).to.equal(false)
  })

  it('agrees with isWanted', () => {
    expect(isWanted('task.finished', { level: 'info' })).to.equal(true)
    expect(isWanted('task.finished', { level: 'warn' })).to.equal(false)
    expect(isWanted('task.finished', { level: 'warn', events: new Set(['task.finished']) })).to.equal(true)
    expect(isWanted('cluster.failed', { level: 'silent' })).to.equal(false)
  })
})
