/** What one cluster lives through, of which it is never the cause: its RabbitMQ is killed, cut off, spoilt and starved. */
import { execFile } from 'node:child_process'
import { expect } from 'chai'
import { asyncTask, Client, control } from 'qcluster'
import type { RabbitmqServer } from '../../tools/services/rabbitmq.ts'
import { eventually, range } from '../contracts/material.ts'
import { randomOf } from '../random.ts'
import { BIN } from '../stories/stage.ts'
import { Line } from './line.ts'
import { ownServer } from './server.ts'

const NOBODY_CAN_BE_ASKED = /takes no messages now \(low on memory\), so nobody can be asked/

const KILLS = 5
/** 10,000 of them are said to survive it. */
const TASKS_UNDER_FIRE = Number(process.env.FAULTS_TASKS ?? 2_000)
const SEED = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 1e6))

/** Erlang that makes a queue forget its consumers without a word to them. */
function forgetConsumers(queue: string): string {
  return `Queue = {list_to_atom("%2F_${queue}"), node()},
    {ok, {_, Consumers}, _} = ra:local_query(Queue, fun rabbit_fifo:query_consumers/1),
    IdOf = fun(Consumer) -> {element(2, Consumer), element(1, Consumer)} end,
    [{ok, _, _} = ra:process_command(Queue, rabbit_fifo:make_checkout(IdOf(One), cancel, #{})) || One <- maps:values(Consumers)].`
}

/**
 * Erlang that acknowledges on every channel what was never delivered there, as a client with a fault does. Where a channel
 * is only just being opened, the server would close its whole connection for that.
 */
const SPOIL_CHANNELS = `Before = rabbit_channel:list(), timer:sleep(200),
  [One ! {'$gen_cast', {method, {'basic.ack', 1000000000, false}, none, noflow}}
    || One <- rabbit_channel:list(), lists:member(One, Before)].`

/** Erlang for the processes of the server that serve the connections of a queue's consumers. */
const connectionsOf = (queue: string) => `
  Channels = [proplists:get_value(channel_pid, One) || One <- rabbit_amqqueue:consumers_all(<<"/">>),
    element(4, proplists:get_value(queue_name, One)) =:= <<"${queue}">>],
  lists:usort([proplists:get_value(connection, rabbit_channel:info(One, [connection]))
    || One <- Channels, is_process_alive(One)]).`

/** Erlang that does what `rabbitmqctl close_all_connections` does. */
const CLOSE_CONNECTIONS = `[rabbit_networking:close_connection(One, "bye") || One <- rabbit_networking:connections()].`

/** Erlang that allows a consumer so many milliseconds for what it was given; it holds for connections that come. */
const allow = (timeout: number, look: number) =>
  `application:set_env(rabbit, consumer_timeout, ${timeout}), application:set_env(rabbit, channel_tick_interval, ${look}).`

describe('a cluster whose RabbitMQ fails', function () {
  this.timeout(240_000)
  const own = ownServer()
  let server: RabbitmqServer
  let line: Line

  before(async () => {
    server = own.server
    line = await Line.toRabbitmq(server)
    await line.cluster.start()
  })
  afterEach(async () => {
    if (line.log.length > 0) await line.isBack()
    line.turnPage()
  })
  after(() => line.end())

  const queue = () => `qcluster.queue.${line.options.name}`

  /** What serves the connections of those who take deliveries. The server names none for a moment now and then. */
  async function consumersConnections(): Promise<string> {
    for (;;) {
      const connections = await server.evaluate(connectionsOf(queue()))
      if (connections !== '[]') return connections
    }
  }

  it(`loses nothing and runs nothing twice when it is killed ${KILLS} times at random moments (seed ${SEED})`, async () => {
    const random = randomOf(SEED)
    const moments = range(KILLS).map(() => Math.floor(random() * TASKS_UNDER_FIRE))
    await line.ledger.survives(TASKS_UNDER_FIRE, async () => {
      for (const moment of moments.toSorted((a, b) => a - b)) {
        await line.ledger.atLeast(moment)
        await server.kill()
        await server.start()
      }
    })
    await line.isBack()
  }).timeout(360_000)

  it('does not stop for a clean restart', async () => {
    await line.ledger.survives(500, async () => {
      await server.stop()
      await server.start()
    })
  })

  it('comes back when an operator closes its connections', async () => {
    await line.ledger.survives(500, () => server.evaluate(CLOSE_CONNECTIONS))
    await line.isBack()
  })

  it('brings a result to whoever waits, though all connections are closed meanwhile', async () => {
    const clock = (wait: number) => asyncTask<number>('clock', [wait], { client: line.client })
    await clock(0).then((task) => task.result({ wait: 60_000 }))
    const task = await clock(1_000)
    const waiting = task.result({ wait: 60_000 })
    await server.evaluate(CLOSE_CONNECTIONS)
    expect(await waiting).to.be.a('number')
    expect(line.log).to.include('lost')
  })

  it('comes back when the server closes its channels, over the connection that it has', async () => {
    const before = await consumersConnections()
    expect(before, 'one connection').to.match(/^\[<[\d.]+>\]$/)
    await line.ledger.survives(500, () => server.evaluate(SPOIL_CHANNELS))
    await line.isBack()
    expect(await consumersConnections(), line.reasons.join()).to.equal(before)
  })

  it('comes back when the network is cut', async () => {
    await line.ledger.survives(500, async () => line.wire.cut())
    await line.isBack()
  })

  it('notices a network that says nothing any more', async () => {
    await line.ledger.survives(500, async () => {
      line.wire.mute()
      await line.isLost()
      line.wire.unmute()
    })
  })

  it('makes its queue again when somebody deletes it', async () => {
    await server.control('delete_queue', queue())
    await line.isLost()
    await line.ledger.survives(200, async () => {})
  })

  it('notices that it is connected and not given anything any more', async () => {
    await server.evaluate(forgetConsumers(queue()))
    const task = await asyncTask('math.add', [3, 4], { client: line.client })
    expect(await task.result({ wait: 120_000 })).to.equal(7)
    expect(line.log).to.include.members(['lost', 'connected'])
  })

  it('keeps a run that outlasts the time the server gives it, and does not start it again', async () => {
    await server.evaluate(allow(1_000, 500))
    try {
      await server.evaluate(CLOSE_CONNECTIONS)
      await line.isBack()
      line.log.length = 0
      const task = await asyncTask('ledger.long', [line.ledger.file], { client: line.client })
      expect(await task.result({ wait: 60_000 })).to.equal('done')
    } finally {
      await server.evaluate(allow(1_800_000, 60_000))
    }
    expect(line.log).to.include('lost')
    expect(await line.ledger.runs()).to.deep.equal([1])
    await server.evaluate(CLOSE_CONNECTIONS)
  })

  describe('for want of memory', () => {
    const hasAlarm = async () =>
      (await server.evaluate('rabbit_alarm:get_alarms().')).includes('resource_limit')

    async function memory(has: 'none' | 'enough'): Promise<void> {
      await server.evaluate(
        `vm_memory_monitor:set_vm_memory_high_watermark(${has === 'none' ? 0.000001 : 0.4}).`,
      )
      await eventually(hasAlarm, has === 'none')
    }
    afterEach(() => memory('enough'))

    const add = (client: Client) => asyncTask('math.add', [1, 2], { client })

    /** Runs `qcluster info` beside the cluster. */
    function info(): Promise<{ code: number; stderr: string }> {
      const { broker, name, dataDir } = line.options
      const flags = ['--broker', String(broker), '--name', name, '--data-dir', dataDir]
      return new Promise((resolve) => {
        const child = execFile(process.execPath, [BIN, 'info', ...flags], (_, _stdout, stderr) =>
          resolve({ code: child.exitCode as number, stderr }),
        )
      })
    }

    it('goes on when it has some again', async () => {
      await line.ledger.survives(500, async () => {
        await memory('none')
        await memory('enough')
      })
    })

    it('shows it, and says so to whoever enqueues', async () => {
      await using hasty = new Client({ ...line.options, enqueueTimeout: 1 })
      // The server says so to those who publish: here the retries of a task.
      const failing = await asyncTask('boom', [], { client: line.client, maxAttempts: 1_000 })
      const isBlocked = async () => line.cluster.stat.blocked
      await memory('none')
      await eventually(isBlocked, true)
      const refused = await add(hasty).catch((error) => error)
      expect(refused.message).to.match(/not taken by RabbitMQ .* takes none now: low on memory/)
      await memory('enough')
      await eventually(isBlocked, false)
      await failing.cancel()
      await failing.fetch({ wait: 60_000, final: true })
    })

    it('never keeps what it has refused, not even when it has memory again', async () => {
      const elsewhere = { ...line.options, name: `${line.options.name}-elsewhere` }
      await using client = new Client(elsewhere)
      await using hasty = new Client({ ...elsewhere, enqueueTimeout: 1 })
      await add(client)
      await memory('none')
      const refusals = await Promise.allSettled(range(50).map(() => add(hasty)))
      for (const refusal of refusals) {
        expect(refusal.status).to.equal('rejected')
        expect((refusal as PromiseRejectedResult).reason.message).to.include('and is not enqueued')
      }
      await memory('enough')
      // It keeps what comes over the same connections afterwards.
      await add(hasty)
      await add(client)
      expect(await client.queueSize()).to.equal(3)
    })

    it('says at once that nobody can be asked, and asks again afterwards', async () => {
      await memory('none')
      const { code, stderr } = await info()
      expect(stderr).to.match(NOBODY_CAN_BE_ASKED)
      expect(code).to.equal(3)
      const refused = await control('ping', { client: line.client }).catch((error) => error)
      expect(refused).to.have.property('code', 'QCLUSTER_BROKER')
      expect(refused.message).to.match(NOBODY_CAN_BE_ASKED)
      expect(line.log, 'the cluster').not.to.include('lost')
      await memory('enough')
      const answers = await control('ping', { client: line.client, cluster: line.cluster.clusterId })
      expect(answers).to.have.length(1)
    })
  })

  describe('in the end', () => {
    it('has needed no other process for all that', () => {
      expect(line.cluster.stat).to.include({ reincarnations: 0 })
    })
  })
})
