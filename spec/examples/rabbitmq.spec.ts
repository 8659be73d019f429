import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { createBroker } from '../../lib/brokers/index.ts'
import { service } from '../services.ts'
import { BIN } from '../stories/stage.ts'
import { root } from './example.ts'

const folder = join(root, 'examples', 'rabbitmq')

describe('examples/rabbitmq', function () {
  this.timeout(120_000)
  let environment: NodeJS.ProcessEnv
  let dataDir: string
  let started: ChildProcess[]

  before(async function () {
    const [broker, store] = [await service.call(this, 'rabbitmq'), await service.call(this, 'postgres')]
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-example-'))
    environment = {
      ...{ PATH: process.env.PATH, QCLUSTER_DATA_DIR: dataDir },
      ...{ QCLUSTER_BROKER_URL: broker, QCLUSTER_STORE_URL: store },
    }
  })
  after(async () => {
    const broker = await createBroker({ broker: environment.QCLUSTER_BROKER_URL as string })
    await broker.connect()
    await broker.deleteQueue('pictures')
    await broker.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  beforeEach(() => {
    started = []
  })
  afterEach(async () => {
    for (const child of started) if (child.exitCode === null) process.kill(-(child.pid as number), 'SIGKILL')
  })

  function run(...args: string[]) {
    const child = spawn(process.execPath, args, { cwd: folder, env: environment, detached: true })
    started.push(child)
    child.stderr.setEncoding('utf8')
    return child
  }

  async function startCluster() {
    const child = run(BIN, 'start')
    let log = ''
    // Its end of the pipe stays open: it says more later.
    for await (const part of child.stderr.iterator({ destroyOnReturn: false })) {
      log += part
      if (log.includes('running.')) break
    }
    expect(log).to.include('running.')
    child.stderr.resume()
    return child
  }

  it('shrinks pictures in two clusters, and tells who did it', async () => {
    const clusters = [await startCluster(), await startCluster()]
    const producer = run('main.ts', '12')
    const [said, complaint, [code]] = await Promise.all([
      ...([text(producer.stdout), text(producer.stderr)] as const),
      once(producer, 'close'),
    ])
    expect(code, complaint).to.equal(0)
    const lines = said.trim().split('\n')
    expect(lines[0]).to.equal('12 tasks are with RabbitMQ')
    expect(lines.slice(1)).to.have.length(12)
    expect(lines[12]).to.match(/^picture 12 by process \d+ on /)
    for (const child of clusters) {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      expect((await exit)[0]).to.equal(0)
    }
  })
})
