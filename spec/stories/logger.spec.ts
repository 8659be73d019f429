import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { expect } from 'chai'
import { asyncTask, Client, Cluster } from 'qcluster'
import winston from 'winston'

describe('a cluster with a logger of its user', function () {
  this.timeout(60_000)
  let folder: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-logger-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('writes all its records there, from start to stop, and leaves it open', async () => {
    const stream = new PassThrough()
    const logger = winston.createLogger({
      format: winston.format.json(),
      transports: new winston.transports.Stream({ stream }),
    })
    const options = {
      dataDir: folder,
      tasks: [join(import.meta.dirname, 'fixtures', 'tasks.mjs')],
      workers: 1,
    }
    await using client = new Client(options)
    const cluster = new Cluster({ ...options, logger })
    await cluster.start()
    await (await asyncTask('math.add', [1, 2], { client, taskName: 'sum' })).result()
    await cluster.stop()
    const entries = String(stream.read())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))

    expect(entries.map(({ event }) => event)).to.include.members([
      'cluster.starting',
      'cluster.running',
      'task.started',
      'task.finished',
      'cluster.stopping',
      'cluster.stopped',
    ])
    expect([entries[0].event, entries.at(-1).event]).to.deep.equal(['cluster.starting', 'cluster.stopped'])
    expect(entries.find(({ event }) => event === 'task.finished')).to.include({
      level: 'info',
      task: 'sum',
      func: 'math.add',
      message: "Processed 'math.add' (sum)",
    })
    expect(logger.writable).to.equal(true)
  })

  it('refuses to start with something else in its place', async () => {
    const cluster = new Cluster({ dataDir: folder, logger: console as never })
    const error = await cluster.start().catch((reason) => reason)
    expect(error).to.include({ code: 'QCLUSTER_CONFIG' })
    expect(error.message).to.match(/^logger: expected what winston/)
  })
})
