import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, control, type Options } from 'qcluster'
import type { RabbitmqServer } from '../../tools/services/rabbitmq.ts'
import { eventually } from '../contracts/material.ts'
import { ownServer } from './server.ts'
import { Wire } from './wire.ts'

const BIN = join(import.meta.dirname, '..', '..', 'dist', 'lib', 'cli', 'bin.js')
const TASKS = [join(import.meta.dirname, '..', 'stories', 'fixtures', 'tasks.mjs')]

const NOBODY_CAN_BE_ASKED = /takes no messages now \(low on memory\), so nobody can be asked/

const KILLS = 5
const TASKS_UNDER_FIRE = Number(process.env.FAULTS_TASKS ?? 2_000)
const SEED = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 1e6))

/** Numbers from 0 to 1 that are the same for the same seed: mulberry32. */
function randomBy(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    const mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    const again = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((again ^ (again >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The queue of a cluster, as RabbitMQ knows it. */
const queueOf = ({ name }: Options): string => `qcluster.queue.${name}`

/** Erlang that makes a queue forget its consumers without a word to them. */
function forgetConsumers(queue: string): string {
  return `Queue = {list_to_atom("%2F_${queue}"), node()},
    {ok, {_, Consumers}, _} = ra:local_query(Queue, fun rabbit_fifo:query_consumers/1),
    IdOf = fun(Consumer) -> {element(2, Consumer), element(1, Consumer)} end,
    [{ok, _, _} = ra:process_command(Queue, rabbit_fifo:make_checkout(IdOf(One), cancel, #{})) || One <- maps:values(Consumers)].`
}

/** Erlang that acknowledges on every channel what was never delivered there, as a client with a fault does. */
const SPOIL_CHANNELS = `[rabbit_channel:do(One, {'basic.ack', 1000000000, false}) || One <- rabbit_channel:list()].`

describe('a cluster whose RabbitMQ fails', function () {
  this.timeout(240_000)
  const own = ownServer()
  let server: RabbitmqServer
  let wire: Wire
  let folder: string
  let cluster: Cluster
  let client: Client
  let options: Options
  let log: string[]

  beforeEach(async () => {
    server = own.server
    wire = await Wire.to(server.port)
    folder = await mkdtemp(join(tmpdir(), 'qcluster-faults-'))
    log = []
    options = {
      ...{ name: `faults-${randomUUID()}`, tasks: TASKS, workers: 2, dataDir: folder, retry: 0.1 },
      ...{
        logLevel: 'silent',
        enqueueTimeout: 60,
        saveLimit: 0,
        broker: `amqp://127.0.0.1:${wire.port}?heartbeat=2`,
      },
    }
    cluster = new Cluster(options)
    client = new Client(options)
    cluster.on('broker.lost', () => log.push('lost'))
    cluster.on('broker.connected', () => log.push('connected'))
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await wire.close()
    await rm(folder, { recursive: true })
  })

  const ledgerFile = () => join(folder, 'ledger')
  const runs = async (): Promise<number[]> => {
    const text = await readFile(ledgerFile(), 'utf8').catch(() => '')
    return text.split('\n').filter(Boolean).map(Number)
  }

  /** Runs `qcluster info` beside the cluster. */
  const info = (): Promise<{ code: number; stderr: string }> => {
    const { broker, name, dataDir } = options
    const flags = ['--broker', String(broker), '--name', String(name), '--data-dir', String(dataDir)]
    return new Promise((resolve) => {
      const child = execFile(process.execPath, [BIN, 'info', ...flags], (_, _stdout, stderr) =>
        resolve({ code: child.exitCode as number, stderr }),
      )
    })
  }

  const hasAlarm = async () =>
    (await server.control('eval', 'rabbit_alarm:get_alarms().')).includes('resource_limit')

  /** Enqueues tasks while something happens; every one that was confirmed is to end once. */
  async function ledger(count: number, happens: () => Promise<unknown>): Promise<void> {
    const note = (n: number) => asyncTask('ledger.note', [ledgerFile(), n] as never[], { client })
    const enqueued = Promise.all(Array.from({ length: count }, (_, n) => note(n)))
    await eventually(async () => (await runs()).length > count / 10, true)
    const happened = happens()
    const tasks = await enqueued
    await happened
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 120_000, final: true })))
    expect(records.filter((record) => record?.success)).to.have.length(count)
    const all = await runs()
    expect(new Set(all), 'tasks that ran').to.have.property('size', count)
    expect(all, 'runs').to.have.length(count)
  }

  /** A quick cluster may be done with all tasks before it has lost anything. */
  async function isBack(): Promise<void> {
    await eventually(async () => log.includes('lost') && log.at(-1) === 'connected', true)
  }

  it('loses nothing and runs nothing twice when it is killed and comes back', async () => {
    await cluster.start()
    await ledger(800, async () => {
      await server.kill()
      await server.start()
    })
    await isBack()
  })

  it(`survives ${KILLS} kills at random moments (seed ${SEED})`, async () => {
    await cluster.start()
    const random = randomBy(SEED)
    const moments = Array.from({ length: KILLS }, () => Math.floor(random() * TASKS_UNDER_FIRE))
    await ledger(TASKS_UNDER_FIRE, async () => {
      for (const moment of moments.toSorted((a, b) => a - b)) {
        await eventually(async () => (await runs()).length >= moment, true)
        await server.kill()
        await server.start()
      }
    })
  })

  it('keeps what was enqueued when it is killed right after its queue was made', async () => {
    const task = await asyncTask('math.add', [1, 2] as never[], { client })
    await server.kill()
    await server.start()
    await cluster.start()
    expect(await task.result({ wait: 60_000 })).to.equal(3)
  })

  it('does not stop for a clean restart', async () => {
    await cluster.start()
    await ledger(800, async () => {
      await server.stop()
      await server.start()
    })
  })

  it('comes back when an operator closes its connections', async () => {
    await cluster.start()
    await ledger(800, () => server.control('close_all_connections', 'bye'))
    await isBack()
  })

  it('brings a result to whoever waits, though all connections are closed meanwhile', async () => {
    await cluster.start()
    const clock = (wait: number) => asyncTask<number>('clock', [wait], { client })
    await clock(100).then((task) => task.result({ wait: 60_000 }))
    const task = await clock(1_000)
    const waiting = task.result({ wait: 60_000 })
    await server.control('close_all_connections', 'bye')
    expect(await waiting).to.be.a('number')
    expect(log).to.include('lost')
  })

  it('comes back when the server closes its channels', async () => {
    await cluster.start()
    await ledger(800, () => server.control('eval', SPOIL_CHANNELS))
    await isBack()
  })

  it('comes back when the network is cut', async () => {
    await cluster.start()
    await ledger(800, async () => wire.cut())
    await isBack()
  })

  it('notices a network that says nothing any more', async () => {
    await cluster.start()
    await ledger(800, async () => {
      wire.mute()
      await eventually(async () => log.includes('lost'), true)
      wire.unmute()
    })
  })

  it('makes its queue again when somebody deletes it', async () => {
    await cluster.start()
    await server.control('delete_queue', queueOf(options))
    await eventually(async () => log.includes('lost'), true)
    await ledger(500, async () => {})
  })

  it('notices that it is connected and not given anything any more', async () => {
    await cluster.start()
    await asyncTask('math.add', [1, 2] as never[], { client }).then((task) => task.result({ wait: 60_000 }))
    await server.control('eval', forgetConsumers(queueOf(options)))
    const task = await asyncTask('math.add', [3, 4] as never[], { client })
    expect(await task.result({ wait: 120_000 })).to.equal(7)
    expect(log).to.include.members(['lost', 'connected'])
  })

  it('goes on after a time without memory', async () => {
    await cluster.start()
    await ledger(800, async () => {
      await server.control('set_vm_memory_high_watermark', '0.000001')
      await eventually(hasAlarm, true)
      await server.control('set_vm_memory_high_watermark', '0.4')
    })
  })

  it('shows that RabbitMQ is out of memory, and says so to whoever enqueues', async () => {
    await cluster.start()
    await using hasty = new Client({ ...options, enqueueTimeout: 2 })
    // The server says so to those who publish: here the retries of a task.
    await asyncTask('boom', [], { client, maxAttempts: 1_000 })
    const isBlocked = async () => cluster.stat.blocked
    await server.control('set_vm_memory_high_watermark', '0.000001')
    await eventually(isBlocked, true)
    const refused = await asyncTask('math.add', [1, 2] as never[], { client: hasty }).catch((error) => error)
    expect(refused.message).to.match(/not taken by RabbitMQ .* takes none now: low on memory/)
    await server.control('set_vm_memory_high_watermark', '0.4')
    await eventually(isBlocked, false)
  })

  it('never keeps what it has refused without memory, not even when it has memory again', async () => {
    await using hasty = new Client({ ...options, enqueueTimeout: 2 })
    const add = (by: Client) => asyncTask('math.add', [1, 2] as never[], { client: by })
    await add(client)
    await server.control('set_vm_memory_high_watermark', '0.000001')
    await eventually(hasAlarm, true)
    const refusals = await Promise.allSettled(Array.from({ length: 50 }, () => add(hasty)))
    for (const refusal of refusals) {
      expect(refusal.status).to.equal('rejected')
      expect((refusal as PromiseRejectedResult).reason.message).to.include('and is not enqueued')
    }
    await server.control('set_vm_memory_high_watermark', '0.4')
    // It keeps what comes over the same connections afterwards.
    await add(hasty)
    await add(client)
    expect(await client.queueSize()).to.equal(3)
  })

  it('says at once that nobody can be asked while it is out of memory, and asks again afterwards', async () => {
    await cluster.start()
    await server.control('set_vm_memory_high_watermark', '0.000001')
    await eventually(hasAlarm, true)
    const { code, stderr } = await info()
    expect(stderr).to.match(NOBODY_CAN_BE_ASKED)
    expect(code).to.equal(3)
    const refused = await control('ping', { client }).catch((error) => error)
    expect(refused).to.have.property('code', 'QCLUSTER_BROKER')
    expect(refused.message).to.match(NOBODY_CAN_BE_ASKED)
    expect(log, 'the cluster').not.to.include('lost')
    await server.control('set_vm_memory_high_watermark', '0.4')
    await eventually(hasAlarm, false)
    expect(await control('ping', { client })).to.have.length(1)
  })

  it('keeps a run that outlasts the time the server gives it, and does not start it again', async () => {
    await server.control('eval', 'application:set_env(rabbit, consumer_timeout, 1000).')
    await server.control('eval', 'application:set_env(rabbit, channel_tick_interval, 500).')
    try {
      await cluster.start()
      const task = await asyncTask('ledger.long', [ledgerFile()] as never[], { client })
      expect(await task.result({ wait: 60_000 })).to.equal('done')
    } finally {
      await server.control('eval', 'application:set_env(rabbit, consumer_timeout, 1800000).')
      await server.control('eval', 'application:set_env(rabbit, channel_tick_interval, 60000).')
    }
    expect(log).to.include('lost')
    expect(await runs()).to.deep.equal([1])
  })

  it('F9: comes back by itself after 25 seconds, and does not go on about it', async () => {
    const told: string[] = []
    const logger = {
      levels: { fatal: 0, error: 1, warn: 2, info: 3, debug: 4 },
      log: ({ level, message }: { level: string; message: string }) => {
        if (level !== 'info' && level !== 'debug') told.push(`${level} ${message}`)
      },
    }
    cluster = new Cluster({ ...options, logger, logLevel: 'info' })
    await cluster.start()
    await ledger(200, async () => {
      wire.hangUp()
      await sleep(25_000)
      wire.pickUp()
    })
    expect(told.filter((line) => !/^error Process-\w+ lost the broker - /.test(line))).to.deep.equal([])
    expect(told, 'the pusher, and the scheduler if it had something to do').to.have.length.within(1, 2)
    expect(cluster.stat.reincarnations).to.equal(0)
  })

  it('runs once what was sent twice, since nobody heard that it was kept the first time', async () => {
    const note = (n: number) => asyncTask('ledger.note', [ledgerFile(), n] as never[], { client })
    await note(0)
    wire.muffle()
    const enqueued = Promise.all(Array.from({ length: 50 }, (_, n) => note(n + 1)))
    await using other = new Client({ ...options, broker: server.url })
    await eventually(() => other.queueSize(), 51)
    wire.unmuffle()
    wire.cut()
    const tasks = await enqueued
    expect(await other.queueSize(), 'copies and all').to.equal(101)
    await cluster.start()
    for (const task of tasks) await task.result({ wait: 60_000 })
    const inFlight = () =>
      other.atBroker(
        async (broker, { settings: { name } }) =>
          (await broker.queueSize(name)) + (await broker.lockSize(name)),
      )
    await eventually(inFlight, 0)
    expect(await runs()).to.have.length(51)
  })

  it('lets whoever enqueues wait until it is back', async () => {
    wire.hangUp()
    const task = asyncTask('math.add', [1, 2] as never[], { client })
    await eventually(async () => wire.refused > 1, true)
    wire.pickUp()
    await task
  })

  it('does not start where there is none, and says what to do', async () => {
    wire.hangUp()
    const refused = await cluster.start().catch((error) => error)
    expect(refused).to.have.property('exitCode', 3)
    expect(refused.message).to.match(/RabbitMQ at amqp:.* (hangs up|does not answer)/)
  })

  it('refuses a task that it could not take in time', async () => {
    wire.hangUp()
    await using hasty = new Client({ ...options, enqueueTimeout: 0.5 })
    const refused = await asyncTask('math.add', [1, 2] as never[], { client: hasty }).catch((error) => error)
    expect(refused).to.have.property('code', 'QCLUSTER_BROKER')
    expect(refused.message).to.match(/RabbitMQ at amqp:.* (hangs up|does not answer)/)
  })

  it('goes on when it was away for longer than anybody waits', async () => {
    await using hasty = new Client({ ...options, enqueueTimeout: 3 })
    const note = (n: number, by: Client) =>
      asyncTask('ledger.note', [ledgerFile(), n] as never[], { client: by })
    await cluster.start()
    await note(0, hasty).then((task) => task.result({ wait: 60_000 }))
    wire.hangUp()
    await eventually(async () => log.includes('lost'), true)
    const refused = await note(1, hasty).catch((error) => error)
    expect(refused).to.have.property('code', 'QCLUSTER_BROKER')
    wire.pickUp()
    await isBack()
    for (const by of [hasty, client]) await note(2, by).then((task) => task.result({ wait: 60_000 }))
    expect(await runs(), 'what was refused is not run').to.deep.equal([0, 2, 2])
  })

  it('is closed in seconds by a client that it does not answer, or that is cut off meanwhile', async () => {
    for (const happens of [() => wire.mute(), () => wire.cut()]) {
      const leaving = new Client(options)
      await asyncTask('math.add', [1, 2] as never[], { client: leaving })
      await control('ping', { client: leaving, patience: 10 })
      const closed = leaving.close()
      happens()
      await closed
      wire.unmute()
    }
  })

  it('is stopped while it is away, and the rest is done by the next cluster', async () => {
    await cluster.start()
    const note = (n: number) => asyncTask('ledger.note', [ledgerFile(), n] as never[], { client })
    const tasks = await Promise.all(Array.from({ length: 800 }, (_, n) => note(n)))
    await eventually(async () => (await runs()).length > 80, true)
    wire.hangUp()
    await eventually(async () => log.includes('lost'), true)
    await cluster.stop()
    wire.pickUp()
    cluster = new Cluster(options)
    await cluster.start()
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 120_000, final: true })))
    expect(records.filter((record) => record?.success)).to.have.length(800)
    expect(await runs(), 'what was saved is not run again').to.have.length(800)
  })
})
