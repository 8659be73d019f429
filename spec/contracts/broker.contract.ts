import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import {
  type Broker,
  type BrokerOptions,
  type ConsumeOptions,
  type Consumer,
  type ControlRequest,
  createBroker,
  type Delivery,
  type Listener,
  type Settlement,
} from '../../lib/brokers/index.ts'
import { BrokerError } from '../../lib/errors.ts'
import { eventually, Inbox, type Peer, packageOf, peer, range, rejection, taskIds } from './material.ts'
import type { PeerOrder } from './peer.ts'

/** Where a broker lives, and how to clean up after it. */
export interface BrokerPlace {
  /** What `createBroker` is given, here and in other processes; absent where no other process gets there. */
  readonly options?: BrokerOptions
  /** One more broker there, where `createBroker` makes none. */
  readonly make?: () => Broker
  remove(): Promise<void>
}

/** A broker of a place; nothing is opened before `connect()`. */
export async function brokerAt({ make, options }: BrokerPlace): Promise<Broker> {
  return make?.() ?? createBroker(options as BrokerOptions)
}

/**
 * The contract of every broker. `makeBroker` makes the place for one; each spec gets its own and a queue of its own. Where
 * other processes cannot get there, `ofOneProcess` says so.
 */
export function describeBroker(
  name: string,
  makeBroker: () => Promise<BrokerPlace>,
  { ofOneProcess = false } = {},
): void {
  describe(`${name}, as a broker`, function () {
    // Another process takes seconds to start on a busy machine.
    this.timeout(30_000)
    let place: BrokerPlace
    let options: BrokerOptions
    let broker: Broker
    let queue: string
    let brokers: Broker[]
    let peers: Peer[]

    beforeEach(async () => {
      place = await makeBroker()
      options = place.options as BrokerOptions
      queue = `contract-${randomUUID()}`
      brokers = []
      peers = []
      broker = await open()
    })
    afterEach(async () => {
      for (const one of peers) await one.kill()
      // Nobody consumes a queue any more when it is deleted: that would be a loss to tell of.
      for (const one of brokers) await one.close()
      await broker.connect()
      await broker.deleteQueue(queue)
      await broker.close()
      await place.remove()
    })

    async function open(): Promise<Broker> {
      const opened = await brokerAt(place)
      brokers.push(opened)
      await opened.connect()
      return opened
    }

    function start(order: PeerOrder): Peer {
      const started = peer(order)
      peers.push(started)
      return started
    }

    const enqueue = (...ids: string[]) =>
      broker.enqueue(ids.map((taskId) => ({ queue, package: packageOf(taskId) })))

    async function consume(given: Partial<ConsumeOptions> = {}, from = broker) {
      const inbox = new Inbox<Delivery>()
      const onLost = (error: Error) => {
        throw error
      }
      const consumer = await from.consume({ queue, prefetch: 10, onDeliveries: inbox.put, onLost, ...given })
      return { inbox, consumer }
    }

    /** Takes all that is in the queue, acknowledging it. */
    async function drain(count: number, from = broker): Promise<Delivery[]> {
      const drained = new Inbox<Delivery>()
      const { consumer } = await consume({ onDeliveries: takeAll }, from)
      function takeAll(deliveries: Delivery[]) {
        void consumer.settle(acks(deliveries)).then(() => drained.put(deliveries))
      }
      await drained.atLeast(count)
      await consumer.stop()
      return drained.items
    }

    const isEmpty = async (): Promise<void> => {
      await eventually(() => broker.queueSize(queue), 0)
      await eventually(() => broker.lockSize(queue), 0)
    }

    describe('connecting', () => {
      it('answers a ping and says in a line what it is', async () => {
        await broker.ping()
        expect(await broker.info()).to.match(/^\S.* \d+\.\d+/)
      })

      it('can be connected twice', async () => {
        await broker.connect()
        await enqueue('a')
        expect(await broker.queueSize(queue)).to.equal(1)
      })

      it('rejects everything before connect() and after close() with a sentence', async () => {
        const early = await brokerAt(place)
        const late = await open()
        await late.close()
        for (const one of [early, late]) {
          expect(await rejection(one.ping())).to.be.instanceOf(BrokerError)
          const refused = await rejection(one.enqueue([{ queue, package: packageOf('a') }]))
          expect(refused).to.be.instanceOf(BrokerError)
          expect(refused.message).to.include('connect')
        }
      })

      it('can be closed twice, and connected again', async () => {
        await broker.close()
        await broker.close()
        await broker.connect()
        await broker.ping()
      })
    })

    describe('enqueueing', () => {
      it('hands out what was enqueued, as it was and in order', async () => {
        const sent = range(300).map((i) =>
          packageOf(`t${i}`, { run: i + 1, attempt: 2, body: `Grüße\n${i} 🎉` }),
        )
        await broker.enqueue(sent.map((sealed) => ({ queue, package: sealed })))
        const { inbox } = await consume({ prefetch: 1_000 })
        const received = await inbox.atLeast(300)
        expect(received.map(({ receipt, deliveries, ...sealed }) => sealed)).to.deep.equal(sent)
        expect(received.every(({ deliveries }) => deliveries === 1)).to.equal(true)
      })

      it('carries a body of a megabyte', async () => {
        const body = 'x'.repeat(1_000_000)
        await broker.enqueue([{ queue, package: packageOf('large', { body }) }])
        const [delivery] = await drain(1)
        expect(delivery?.body === body).to.equal(true)
      })

      it('keeps queues apart', async () => {
        const other = `${queue}-other`
        await broker.enqueue([
          { queue, package: packageOf('ours') },
          { queue: other, package: packageOf('theirs') },
        ])
        expect(taskIds(await drain(1))).to.deep.equal(['ours'])
        expect(await broker.queueSize(other)).to.equal(1)
        await broker.deleteQueue(other)
      })

      it('keeps what was enqueued when everybody leaves', async () => {
        await enqueue('a')
        await broker.close()
        await broker.connect()
        expect(taskIds(await drain(1))).to.deep.equal(['a'])
      })

      it('serves many callers at once, each in its order', async () => {
        await Promise.all(range(200).map((i) => enqueue(`t${i}`)))
        expect(taskIds(await drain(200))).to.deep.equal(range(200).map((i) => `t${i}`))
      })

      if (!ofOneProcess)
        it('loses nothing of four processes that enqueue at once and end by themselves', async () => {
          const producers = range(4).map((i) =>
            start({ do: 'enqueue', at: options, queue, prefix: `p${i}-`, count: 300 }),
          )
          const received = await drain(1_200)
          expect(await Promise.all(producers.map((producer) => producer.ended()))).to.deep.equal([0, 0, 0, 0])
          expect(new Set(taskIds(received)).size).to.equal(1_200)
          await isEmpty()
        })
    })

    describe('delaying', () => {
      it('hands out a package when its time has come, and no sooner', async () => {
        const { inbox } = await consume()
        const before = Date.now()
        await broker.enqueue([{ queue, package: packageOf('later'), delay: 120 }])
        await inbox.atLeast(1)
        expect(Date.now() - before).to.be.within(120, 5_000)
      })

      it('lets nobody wait behind one that is delayed', async () => {
        await broker.enqueue([
          { queue, package: packageOf('later'), delay: 60_000 },
          { queue, package: packageOf('now') },
        ])
        expect(taskIds(await drain(1))).to.deep.equal(['now'])
        expect(await broker.queueSize(queue)).to.equal(1)
      })
    })

    describe('consuming', () => {
      it('hands out what comes while it listens', async () => {
        const { inbox } = await consume()
        await enqueue('a')
        await inbox.atLeast(1)
        await enqueue('b')
        expect(taskIds(await inbox.atLeast(2))).to.deep.equal(['a', 'b'])
      })

      it('never hands one package to two consumers', async () => {
        const other = await open()
        await enqueue(...range(500).map((i) => `t${i}`))
        const all = new Inbox<string>()
        for (const from of [broker, other, other]) {
          const { consumer } = await consume({ onDeliveries: take, prefetch: 7 }, from)
          function take(deliveries: Delivery[]) {
            void consumer.settle(acks(deliveries)).then(() => all.put(taskIds(deliveries)))
          }
        }
        await all.atLeast(500)
        await isEmpty()
        expect(all.items).to.have.lengthOf(500)
        expect(new Set(all.items).size).to.equal(500)
      })

      it('never leaves more than the prefetch unsettled', async () => {
        await enqueue(...range(60).map((i) => `t${i}`))
        let unsettled = 0
        let most = 0
        const all = new Inbox<Delivery>()
        const { consumer } = await consume({ prefetch: 4, onDeliveries: take })
        function take(deliveries: Delivery[]) {
          unsettled += deliveries.length
          most = Math.max(most, unsettled)
          for (const delivery of deliveries) setImmediate(() => void finish(delivery))
        }
        async function finish(delivery: Delivery) {
          unsettled--
          await consumer.settle(acks([delivery]))
          all.put([delivery])
        }
        await all.atLeast(60)
        expect(most).to.equal(4)
      })

      it('takes more when the prefetch is raised, and fewer when it is lowered', async () => {
        await enqueue(...range(10).map((i) => `t${i}`))
        const { inbox, consumer } = await consume({ prefetch: 2 })
        await inbox.atLeast(2)
        await eventually(() => broker.queueSize(queue), 8)
        consumer.setPrefetch(5)
        await inbox.atLeast(5)
        await eventually(() => broker.queueSize(queue), 5)
        consumer.setPrefetch(1)
        await consumer.settle(acks(inbox.items.slice(0, 4)))
        await eventually(() => broker.lockSize(queue), 1)
        expect(inbox.items).to.have.lengthOf(5)
        await consumer.settle(acks(inbox.items.slice(4)))
        expect(await inbox.atLeast(6)).to.have.lengthOf(6)
      })

      it('lets nothing urgent wait for room, or behind what is not urgent', async () => {
        await enqueue('a', 'b')
        await broker.enqueue(['u', 'v'].map((taskId) => ({ queue, package: urgent(taskId) })))
        const { inbox, consumer } = await consume({ prefetch: 1 })
        const [first, second] = (await inbox.atLeast(2)).toSorted(byId)
        expect(taskIds([first as Delivery, second as Delivery])).to.deep.equal(['a', 'u'])
        await consumer.settle(acks([second as Delivery]))
        expect(taskIds(await inbox.atLeast(3)).at(-1)).to.equal('v')
        expect(await broker.queueSize(queue)).to.equal(1)
        expect(await broker.lockSize(queue)).to.equal(2)
        expect(await broker.purge(queue)).to.equal(1)
        await consumer.settle(acks([first as Delivery]))
      })

      it('keeps what is urgent so when it is delayed, retried, requeued or given back', async () => {
        await enqueue('a')
        const holder = await open()
        const { inbox, consumer } = await consume({ prefetch: 1 }, holder)
        await broker.enqueue([{ queue, package: urgent('u'), delay: 50 }])
        const [first, delayed] = (await inbox.atLeast(2)) as [Delivery, Delivery]
        expect(taskIds([first, delayed])).to.deep.equal(['a', 'u'])
        const again = { type: 'retry', package: urgent('u', 2), delay: 50, reason: 'failed' } as const
        await consumer.settle([{ ...again, receipt: delayed.receipt }])
        const [, , retried] = (await inbox.atLeast(3)) as Delivery[]
        expect(retried).to.include({ taskId: 'u', run: 2 })
        await consumer.settle([{ type: 'requeue', receipt: (retried as Delivery).receipt }])
        expect((await inbox.atLeast(4)).at(-1)).to.include({ taskId: 'u', run: 2, deliveries: 2 })
        await enqueue('b')
        await holder.close()
        const next = await consume({ prefetch: 1 })
        expect(taskIds(await next.inbox.atLeast(2))).to.have.members(['a', 'u'])
      })

      it('takes no more once stopped, and still settles what it has', async () => {
        await enqueue('a', 'b', 'c')
        const { inbox, consumer } = await consume({ prefetch: 2 })
        await inbox.atLeast(2)
        await consumer.stop()
        const [a, b] = inbox.items as [Delivery, Delivery]
        expect(await consumer.settle([ack(a)])).to.deep.equal({ void: 0 })
        expect(await consumer.settle([{ type: 'requeue', receipt: b.receipt }])).to.deep.equal({ void: 0 })
        await eventually(() => broker.queueSize(queue), 2)
        expect(inbox.items).to.have.lengthOf(2)
        expect(taskIds(await drain(2))).to.deep.equal(['b', 'c'])
      })

      it('gives back what is unsettled when it is closed', async () => {
        const other = await open()
        await enqueue('a', 'b')
        const { inbox } = await consume({}, other)
        await inbox.atLeast(2)
        await other.close()
        const received = await drain(2)
        expect(taskIds(received)).to.deep.equal(['a', 'b'])
        expect(received.map(({ deliveries }) => deliveries)).to.deep.equal([2, 2])
      })

      if (!ofOneProcess)
        it('gives back at once what a process held that was killed', async () => {
          await enqueue('a', 'b')
          const holder = start({ do: 'hold', at: options, queue, count: 2 })
          expect(await holder.report()).to.deep.equal({ type: 'holding', taskIds: ['a', 'b'] })
          const { inbox } = await consume()
          await holder.kill()
          const killed = performance.now()
          const received = await inbox.atLeast(2)
          expect(performance.now() - killed, 'a lease would last for ten seconds').to.be.below(5_000)
          expect(received.map(({ deliveries }) => deliveries)).to.deep.equal([2, 2])
        })
    })

    describe('settling', () => {
      async function held(...ids: string[]): Promise<{ consumer: Consumer; deliveries: Delivery[] }> {
        await enqueue(...ids)
        const { consumer, inbox } = await consume()
        const deliveries = [...(await inbox.atLeast(ids.length))]
        consumer.setPrefetch(1)
        return { consumer, deliveries }
      }

      it('forgets what is acknowledged', async () => {
        const { consumer, deliveries } = await held('a', 'b', 'c')
        expect(await consumer.settle(acks(deliveries))).to.deep.equal({ void: 0 })
        await isEmpty()
      })

      it('gives back what a consumer holds that lets go, whose receipts are void then', async () => {
        const { consumer, deliveries } = await held('a', 'b')
        await consumer.leave()
        await consumer.leave()
        expect(await consumer.settle(acks(deliveries))).to.deep.equal({ void: 2 })
        expect(taskIds(await drain(2))).to.have.members(['a', 'b'])
        await isEmpty()
      })

      it('replaces what is retried by the new package, after its delay', async () => {
        await enqueue('a')
        const { consumer, inbox } = await consume()
        const [first] = (await inbox.atLeast(1)) as [Delivery]
        const next = packageOf('a', { run: 2, attempt: 2, body: 'second' })
        const before = Date.now()
        await consumer.settle([
          { type: 'retry', receipt: first.receipt, package: next, delay: 80, reason: 'boom' },
        ])
        const [, second] = (await inbox.atLeast(2)) as [Delivery, Delivery]
        expect(Date.now() - before).to.be.at.least(80)
        expect(second).to.include({ ...next, deliveries: 1 })
        expect(await consumer.settle(acks([second]))).to.deep.equal({ void: 0 })
        await isEmpty()
      })

      it('hands out again what is requeued, and counts it', async () => {
        await enqueue('a')
        const { consumer, inbox } = await consume()
        const [first] = (await inbox.atLeast(1)) as [Delivery]
        await consumer.settle([{ type: 'requeue', receipt: first.receipt }])
        const [, second] = (await inbox.atLeast(2)) as [Delivery, Delivery]
        expect(second).to.include({ ...packageOf('a'), deliveries: 2 })
      })

      it('enqueues what follows before it forgets, in whatever queue', async () => {
        const other = `${queue}-other`
        const { consumer, deliveries } = await held('a', 'b')
        const [a, b] = deliveries as [Delivery, Delivery]
        await consumer.stop()
        const follow = (...ids: string[]) => ids.map((taskId) => ({ queue, package: packageOf(taskId) }))
        const elsewhere = { queue: other, package: packageOf('elsewhere') }
        expect(
          await consumer.settle([
            { type: 'ack', receipt: a.receipt, follow: [...follow('next', 'hook'), elsewhere] },
            { ...b, type: 'deadLetter', package: packageOf('b'), reason: 'boom', follow: follow('last') },
          ]),
        ).to.deep.equal({ void: 0 })
        expect(new Set(taskIds(await drain(3)))).to.deep.equal(new Set(['next', 'hook', 'last']))
        await eventually(() => broker.queueSize(other), 1)
        expect(taskIds(await broker.deadLetters(queue))).to.deep.equal(['b'])
        await broker.deleteQueue(other)
      })

      it('enqueues nothing that follows on a receipt that is void', async () => {
        const { consumer, deliveries } = await held('a')
        const [{ receipt }] = deliveries as [Delivery]
        await consumer.stop()
        const follow = [{ queue, package: packageOf('next') }]
        await consumer.settle([{ type: 'ack', receipt, follow }])
        expect(await consumer.settle([{ type: 'ack', receipt, follow }])).to.deep.equal({ void: 1 })
        expect(taskIds(await drain(1))).to.deep.equal(['next'])
        await isEmpty()
      })

      it('keeps dead letters with their reason, the newest first', async () => {
        const { consumer, deliveries } = await held('a', 'b', 'c')
        const before = Date.now()
        await consumer.settle(deliveries.map((delivery) => deadLetter(delivery)))
        await isEmpty()
        const dead = await broker.deadLetters(queue)
        expect(dead.map(({ taskId, reason }) => [taskId, reason])).to.deep.equal([
          ['c', 'c is poison'],
          ['b', 'b is poison'],
          ['a', 'a is poison'],
        ])
        expect(dead[0]).to.include({ ...packageOf('c', { run: 2 }), queue })
        expect(dead[0]?.diedAt).to.be.within(before, Date.now())
        expect((await broker.deadLetters(queue, 2)).map(({ taskId }) => taskId)).to.deep.equal(['c', 'b'])
      })

      it('keeps, removes and replays dead letters as it is told, the oldest first', async () => {
        const { consumer, deliveries } = await held('a', 'b', 'c')
        await consumer.settle(deliveries.map((delivery) => deadLetter(delivery)))
        await isEmpty()
        // The replay is for the consumer that comes below.
        await consumer.stop()
        const judged: string[] = []
        const again = packageOf('c', { run: 3 })
        await broker.reviewDeadLetters(queue, ({ taskId }) => {
          judged.push(taskId)
          if (taskId === 'a') return 'keep'
          return taskId === 'b' ? 'remove' : { replay: again }
        })
        expect(judged).to.deep.equal(['a', 'b', 'c'])
        await eventually(
          async () => (await broker.deadLetters(queue)).map(({ taskId }) => taskId).join(),
          'a',
        )
        const { inbox } = await consume()
        expect((await inbox.atLeast(1))[0]).to.include({ ...again, deliveries: 1 })
      })

      it('goes through more dead letters than it takes at a time, and leaves the others', async () => {
        const { inbox, consumer } = await consume({ prefetch: 250 })
        await enqueue(...range(250).map(String))
        const deliveries = await inbox.atLeast(250)
        await consumer.settle(deliveries.map((delivery) => deadLetter(delivery)))
        const judged: string[] = []
        await broker.reviewDeadLetters(queue, ({ taskId }) => {
          judged.push(taskId)
          return Number(taskId) % 2 === 0 ? 'remove' : 'keep'
        })
        const kept = deliveries.map(({ taskId }) => taskId).filter((taskId) => Number(taskId) % 2 === 1)
        expect(judged).to.have.members(range(250).map(String))
        await eventually(async () => (await broker.deadLetters(queue, 1_000)).length, kept.length)
        expect(taskIds(await broker.deadLetters(queue, 1_000))).to.have.members(kept)
      })

      it('has no dead letters to go through in a queue that nobody has used', async () => {
        await broker.reviewDeadLetters(queue, () => 'remove')
        expect(await broker.deadLetters(queue)).to.deep.equal([])
      })

      it('carries out different settlements in one go', async () => {
        const { consumer, deliveries } = await held('a', 'b', 'c', 'd')
        const [a, b, c, d] = deliveries as [Delivery, Delivery, Delivery, Delivery]
        const retry = {
          type: 'retry',
          receipt: b.receipt,
          package: packageOf('b', { run: 2 }),
          reason: '',
        } as const
        await consumer.stop()
        const settled = await consumer.settle([
          ack(a),
          { ...retry, delay: 60_000 },
          { type: 'requeue', receipt: c.receipt },
          deadLetter(d),
        ])
        expect(settled).to.deep.equal({ void: 0 })
        await eventually(() => broker.queueSize(queue), 2)
        await eventually(() => broker.lockSize(queue), 0)
        expect(await broker.deadLetters(queue)).to.have.lengthOf(1)
      })

      it('settles nothing twice', async () => {
        const { consumer, deliveries } = await held('a')
        const [a] = deliveries as [Delivery]
        expect(await consumer.settle([ack(a), ack(a)])).to.deep.equal({ void: 1 })
        expect(await consumer.settle([deadLetter(a)])).to.deep.equal({ void: 1 })
        expect(await broker.deadLetters(queue)).to.be.empty
      })

      it('does nothing for a receipt of an earlier connection, and says so', async () => {
        const { consumer, deliveries } = await held('a', 'b')
        const [a, b] = deliveries as [Delivery, Delivery]
        await broker.close()
        await broker.connect()
        const again = await consume()
        await again.inbox.atLeast(2)
        const next = packageOf('a', { run: 2 })
        const stale: Settlement[] = [
          { type: 'retry', receipt: a.receipt, package: next, delay: 0, reason: '' },
          deadLetter(b),
        ]
        expect(await again.consumer.settle(stale)).to.deep.equal({ void: 2 })
        expect(await consumer.settle(stale)).to.deep.equal({ void: 2 })
        expect(await again.consumer.settle(acks(again.inbox.items))).to.deep.equal({ void: 0 })
        await isEmpty()
        expect(await broker.deadLetters(queue)).to.be.empty
      })

      if (!ofOneProcess)
        it('loses none when the process that retries them is killed', async () => {
          const ids = range(20).map((i) => `t${i}`)
          await enqueue(...ids)
          const churner = start({ do: 'churn', at: options, queue })
          for (const _ of range(5)) await churner.report()
          await churner.kill()
          // A copy may be there beside its original.
          const found = new Set<string>()
          const { consumer } = await consume({ onDeliveries: take })
          function take(deliveries: Delivery[]) {
            for (const taskId of taskIds(deliveries)) found.add(taskId)
            void consumer.settle(acks(deliveries))
          }
          await eventually(async () => found.size, 20)
          expect([...found]).to.have.members(ids)
        })
    })

    describe('showing stats', () => {
      let cluster: string

      beforeEach(() => {
        cluster = randomUUID()
      })

      const isShown = async (body: string, at = broker) => (await at.stats()).includes(body)

      it('shows what a cluster published last to everybody', async () => {
        const other = await open()
        await broker.publishStat(cluster, `${cluster} 1`, 60_000)
        await broker.publishStat(cluster, `${cluster} 2 "Grüße" 🎉`, 60_000)
        await eventually(() => isShown(`${cluster} 2 "Grüße" 🎉`, other), true)
        expect(await isShown(`${cluster} 1`, other)).to.equal(false)
        await broker.withdrawStat(cluster)
      })

      it('shows the stats of several clusters', async () => {
        const others = [randomUUID(), randomUUID()]
        const other = await open()
        await broker.publishStat(others[0] as string, 'a', 60_000)
        await other.publishStat(others[1] as string, 'b', 60_000)
        await eventually(async () => (await isShown('a')) && (await isShown('b')), true)
        await broker.withdrawStat(others[0] as string)
        await other.withdrawStat(others[1] as string)
      })

      it('forgets a stat when its time is over', async () => {
        await broker.publishStat(cluster, cluster, 60_000)
        await eventually(() => isShown(cluster), true)
        await broker.publishStat(cluster, cluster, 300)
        await eventually(() => isShown(cluster), false)
      })

      it('forgets a stat that is withdrawn', async () => {
        await broker.publishStat(cluster, cluster, 60_000)
        await eventually(() => isShown(cluster), true)
        await broker.withdrawStat(cluster)
        await eventually(() => isShown(cluster), false)
        await broker.withdrawStat(cluster)
      })

      if (!ofOneProcess)
        it('shows the stat of another process, and forgets it after that one is killed', async () => {
          const one = start({ do: 'appear', at: options, clusterId: cluster, ttl: 1_000 })
          await one.report()
          await eventually(() => isShown(`stat of ${cluster}`), true)
          await one.kill()
          await eventually(() => isShown(`stat of ${cluster}`), false)
        })
    })

    describe('steering clusters', () => {
      let listeners: Listener[]

      beforeEach(() => {
        listeners = []
      })
      afterEach(async () => {
        for (const listener of listeners) await listener.stop()
      })

      /** A cluster that answers every order, by default with its own id. */
      async function cluster(
        onOrder: (body: string, clusterId: string) => Promise<string | undefined> = async (_, id) => id,
        at = broker,
      ): Promise<string> {
        const clusterId = randomUUID()
        const onLost = (error: Error) => {
          throw error
        }
        listeners.push(await at.onControl({ clusterId, onOrder: (body) => onOrder(body, clusterId), onLost }))
        return clusterId
      }

      /** The answers to an order, until there are this many. */
      async function answers(given: Partial<ControlRequest>, count: number, at = broker): Promise<string[]> {
        const got: string[] = []
        const onAnswer = (body: string) => got.push(body) >= count
        await at.control({ to: null, body: 'order', patience: 30_000, onAnswer, ...given })
        return got
      }

      it('brings an order to the cluster that is meant, and its answer back', async () => {
        const heard: string[] = []
        const note = async (body: string, id: string) => {
          heard.push(body)
          return `answer of ${id}`
        }
        const to = await cluster(note)
        await cluster(note)
        const body = 'Grüße\n"🎉"'
        expect(await answers({ to, body }, 1)).to.deep.equal([`answer of ${to}`])
        expect(heard).to.deep.equal([body])
      })

      it('brings an order to every cluster, at whatever connection', async () => {
        const other = await open()
        const ids = [await cluster(), await cluster(undefined, other)]
        expect(await answers({}, 2, await open())).to.have.members(ids)
      })

      it('brings each order once, in their order', async () => {
        const heard: string[] = []
        const to = await cluster(async (body) => {
          heard.push(body)
          return body
        })
        const orders = range(20).map((n) => `order ${n}`)
        for (const body of orders) expect(await answers({ to, body }, 1)).to.deep.equal([body])
        expect(heard).to.deep.equal(orders)
      })

      it('keeps the answers to several who ask at once apart', async () => {
        const to = await cluster(async (body) => `to ${body}`)
        const asked = range(10).map((n) => answers({ to, body: `${n}` }, 1))
        expect(await Promise.all(asked)).to.deep.equal(range(10).map((n) => [`to ${n}`]))
      })

      it('waits no longer than its patience for a cluster that does not answer', async () => {
        const to = await cluster(async () => undefined)
        const before = performance.now()
        expect(await answers({ to, patience: 150 }, 1)).to.deep.equal([])
        expect(performance.now() - before).to.be.within(145, 5_000)
      })

      it('does not wait where nobody listens', async () => {
        expect(await answers({ to: randomUUID(), patience: 120_000 }, 1)).to.deep.equal([])
        const to = await cluster()
        await listeners.pop()?.stop()
        expect(await answers({ to, patience: 120_000 }, 1)).to.deep.equal([])
      })

      if (!ofOneProcess)
        it('steers a cluster in another process', async () => {
          const clusterId = randomUUID()
          const one = start({ do: 'appear', at: options, clusterId, ttl: 1_000 })
          await one.report()
          expect(await answers({ to: clusterId, body: 'order' }, 1)).to.deep.equal([`${clusterId} ORDER`])
          await one.kill()
          expect(await answers({ to: clusterId, patience: 200 }, 1)).to.deep.equal([])
        })
    })

    describe('looking after a queue', () => {
      it('counts what waits, the delayed too, apart from what is handed out', async () => {
        await enqueue('a', 'b', 'c')
        await broker.enqueue([{ queue, package: packageOf('later'), delay: 60_000 }])
        await eventually(() => broker.queueSize(queue), 4)
        const { inbox } = await consume({ prefetch: 2 })
        await inbox.atLeast(2)
        await eventually(() => broker.queueSize(queue), 2)
        await eventually(() => broker.lockSize(queue), 2)
      })

      it('knows nothing of a queue that nobody has used', async () => {
        expect(await broker.queueSize(queue)).to.equal(0)
        expect(await broker.lockSize(queue)).to.equal(0)
        expect(await broker.purge(queue)).to.equal(0)
        expect(await broker.deadLetters(queue)).to.be.empty
      })

      it('purges what waits and leaves what is handed out', async () => {
        await enqueue(...range(1_200).map((i) => `t${i}`))
        await broker.enqueue([{ queue, package: packageOf('later'), delay: 60_000 }])
        const { inbox, consumer } = await consume({ prefetch: 2 })
        await inbox.atLeast(2)
        await eventually(() => broker.queueSize(queue), 1_199)
        expect(await broker.purge(queue)).to.equal(1_199)
        expect(await consumer.settle(acks(inbox.items))).to.deep.equal({ void: 0 })
        await isEmpty()
      })

      it('deletes a queue with all that is in it', async () => {
        await enqueue('a', 'b', 'c')
        const { inbox, consumer } = await consume({ prefetch: 1 })
        const [a] = (await inbox.atLeast(1)) as [Delivery]
        await consumer.stop()
        await consumer.settle([deadLetter(a)])
        await broker.deleteQueue(queue)
        await isEmpty()
        expect(await broker.deadLetters(queue)).to.be.empty
      })
    })
  })
}

const ack = ({ receipt }: Delivery): Settlement => ({ type: 'ack', receipt })
const urgent = (taskId: string, run = 1) => packageOf(taskId, { priority: 'high', run })
const byId = (a: Delivery, b: Delivery) => a.taskId.localeCompare(b.taskId)

const acks = (deliveries: readonly Delivery[]): Settlement[] => deliveries.map(ack)

function deadLetter({ taskId, receipt }: Delivery): Settlement {
  return {
    type: 'deadLetter',
    receipt,
    package: packageOf(taskId, { run: 2 }),
    reason: `${taskId} is poison`,
  }
}
