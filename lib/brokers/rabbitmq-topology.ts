/**
 * What there is in RabbitMQ for a queue of tasks, and how it is declared, counted, purged and deleted:
 *
 * ```
 * default exchange ──▶ qcluster.queue.NAME   quorum queue; pushers consume it
 *                 ├──▶ qcluster.high.NAME    the same for what is urgent
 *                 └──▶ qcluster.dead.NAME    quorum queue; dead letters, for a person
 * qcluster.delay.K.NAME  (K = 0 … 29)        a ladder, built up as high as the longest delay needs
 * qcluster.delay-high.K.NAME                 the same for what is urgent, built with the first such delay
 * ```
 *
 * A rung of the ladder is a topic exchange and a queue that keeps what it gets for 2^K × 32 ms and passes it on to the
 * exchange of the next lower rung, the last one to NAME. The routing key says bit by bit at which rungs a package rests,
 * so delays need no plugin, and no package waits behind another that is delayed for longer. Each queue has a ladder of
 * its own, so that what is delayed can be counted and purged.
 */
import { randomUUID } from 'node:crypto'
import type { Channel, Options } from 'amqplib'
import { BrokerError } from '../errors.ts'
import type { Priority } from './broker.ts'

/** Levels of the ladder, and how long the lowest one keeps a package. Milliseconds; together a little over a year. */
const RUNGS = 30
const SHORTEST_REST = 32
const LONGEST_DELAY = 2 ** RUNGS * SHORTEST_REST
/** Significant bits of a delay: it is rounded up by 3 % at most, and rests at no more than seven rungs. */
const PRECISION = 6
/** Deliveries are counted and judged by the pusher; the server's own limit (20 from 4.0 on) must not come before. */
const NO_DELIVERY_LIMIT = 1_000_000
/** AMQP's names have 255 bytes at most; `qcluster.delay-high.29.` takes 23 of them. */
const LONGEST_NAME = 232

/** Where a package is published to. */
export interface Route {
  readonly exchange: string
  readonly key: string
  /** How many rungs of the ladder it may need. */
  readonly rungs: number
  readonly priority: Priority
}

export const workQueue = (queue: string, priority: Priority = 'normal'): string =>
  `qcluster.${priority === 'high' ? 'high' : 'queue'}.${queue}`
export const deadQueue = (queue: string): string => `qcluster.dead.${queue}`
const rungOf = (queue: string, priority: Priority, level: number): string =>
  `qcluster.delay${priority === 'high' ? '-high' : ''}.${level}.${queue}`

const PRIORITIES: readonly Priority[] = ['normal', 'high']

/** @throws {BrokerError} when its names would be too long for AMQP */
export function checkName(queue: string): void {
  if (Buffer.byteLength(queue) <= LONGEST_NAME) return
  throw new BrokerError(
    `RabbitMQ's names are shorter than that: expected a queue of at most ${LONGEST_NAME} bytes, got ${Buffer.byteLength(queue)}. Give the cluster a shorter name.`,
  )
}

/** The way to a queue's packages, at once or after a delay in milliseconds. */
export function routeTo(queue: string, priority: Priority = 'normal', delay = 0): Route {
  if (delay <= 0) return { exchange: '', key: workQueue(queue, priority), rungs: 0, priority }
  const rests = restsOf(delay)
  const key = [...rests.padStart(RUNGS, '0')].join('.')
  return { exchange: rungOf(queue, priority, rests.length - 1), key, rungs: rests.length, priority }
}

/** The way to its dead letters. */
export const routeToDead = (queue: string): Route => ({
  exchange: '',
  key: deadQueue(queue),
  rungs: 0,
  priority: 'normal',
})

/**
 * Declares what there must be for a queue, up to this height of a priority's ladder, or checks that it is as it should be.
 * `open` gives channels to do it on.
 */
export async function declareAll(
  open: () => Promise<Channel>,
  queue: string,
  { rungs, priority }: Pick<Route, 'rungs' | 'priority'> = { rungs: 0, priority: 'normal' },
): Promise<void> {
  const last = rungs === 0 ? workQueue(queue, 'high') : rungOf(queue, priority, rungs - 1)
  const isNew = !(await isThere(open, last))
  await using(open, async (channel) => {
    await declareQueue(channel, queue)
    await declareLadder(channel, queue, { rungs, priority })
    if (isNew) await settleNewest(channel)
  })
}

async function declareQueue(channel: Channel, queue: string): Promise<void> {
  await declare(channel, deadQueue(queue), quorum())
  for (const priority of PRIORITIES)
    await declare(channel, workQueue(queue, priority), quorum(passingOn('', deadQueue(queue))))
}

/**
 * A server that is killed within seconds of making a quorum queue may forget that it had a leader: its newest queue, and
 * only that one, then elects none, and keeps what is in it but neither takes nor hands out any. So the newest is one that
 * nobody needs. (Seen with RabbitMQ 3.10 on one node: the last record of its file of terms is not written yet.)
 */
async function settleNewest(channel: Channel): Promise<void> {
  const { queue } = await channel.assertQueue(`qcluster.newest.${randomUUID()}`, quorum())
  await channel.deleteQueue(queue)
}

/** Declares these rungs of the ladder, from below: whoever finds a rung finds all below it. */
async function declareLadder(
  channel: Channel,
  queue: string,
  { rungs, priority }: Pick<Route, 'rungs' | 'priority'>,
): Promise<void> {
  for (let level = 0; level < rungs; level++) {
    const rung = rungOf(queue, priority, level)
    const next = rungOf(queue, priority, level - 1)
    const below = level === 0 ? passingOn('', workQueue(queue, priority)) : passingOn(next)
    await declare(channel, rung, quorum({ ...below, 'x-message-ttl': 2 ** level * SHORTEST_REST }))
    await channel.assertExchange(rung, 'topic', { durable: true })
    await channel.bindQueue(rung, rung, keyWith(level, '1'))
    // The way past this rung; there is none past the lowest.
    if (level > 0) await channel.bindExchange(next, rung, keyWith(level, '0'))
  }
}

/** Counts what waits, the delayed too. */
export async function countWaiting(open: () => Promise<Channel>, queue: string): Promise<number> {
  let count = 0
  for await (const { messageCount } of waitingQueues(open, queue)) count += messageCount
  return count
}

/** Forgets what waits; returns how many. */
export async function purgeWaiting(open: () => Promise<Channel>, queue: string): Promise<number> {
  const queues: string[] = []
  for await (const { queue: name } of waitingQueues(open, queue)) queues.push(name)
  return using(open, async (channel) => {
    let count = 0
    for (const name of queues) count += (await channel.purgeQueue(name)).messageCount
    return count
  })
}

/** Deletes all that there is for a queue. Deleting what is not there is no error. */
export function deleteAll(open: () => Promise<Channel>, queue: string): Promise<void> {
  return using(open, async (channel) => {
    for (const priority of PRIORITIES) await deleteLane(channel, queue, priority)
    await channel.deleteQueue(deadQueue(queue))
  })
}

async function deleteLane(channel: Channel, queue: string, priority: Priority): Promise<void> {
  for (let level = RUNGS - 1; level >= 0; level--) {
    await channel.deleteExchange(rungOf(queue, priority, level))
    await channel.deleteQueue(rungOf(queue, priority, level))
  }
  await channel.deleteQueue(workQueue(queue, priority))
}

/** Does something on a channel of its own: what fails there closes it. */
export async function using<T>(
  open: () => Promise<Channel>,
  work: (channel: Channel) => Promise<T>,
): Promise<T> {
  const channel = await open()
  // A failed operation rejects; without a listener it would be thrown as well.
  channel.on('error', () => {})
  try {
    const result = await work(channel)
    await channel.close()
    return result
  } catch (error) {
    void channel.close().catch(() => {})
    throw error
  }
}

/** True where the server says that there is no such queue or exchange. */
export function isMissing(error: unknown): boolean {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } }
  return code === 404 || cause?.code === 404
}

function isThere(open: () => Promise<Channel>, name: string): Promise<boolean> {
  return using(open, (channel) => channel.checkQueue(name)).then(
    () => true,
    (error) => {
      if (isMissing(error)) return false
      throw error
    },
  )
}

async function* waitingQueues(open: () => Promise<Channel>, queue: string) {
  for (const priority of PRIORITIES) yield* waitingQueuesOf(open, queue, priority)
}

/** From below: where one is missing there is none above it. */
async function* waitingQueuesOf(open: () => Promise<Channel>, queue: string, priority: Priority) {
  const rungs = Array.from({ length: RUNGS }, (_, level) => rungOf(queue, priority, level))
  const names = [workQueue(queue, priority), ...rungs]
  const channel = await open()
  channel.on('error', () => {})
  try {
    for (const name of names) yield await channel.checkQueue(name)
  } catch (error) {
    if (!isMissing(error)) throw error
  } finally {
    await channel.close().catch(() => {})
  }
}

/** The bits of a delay, the highest first: at which rungs it rests. */
function restsOf(delay: number): string {
  const units = Math.ceil(delay / SHORTEST_REST)
  const unit = 2 ** Math.max(0, units.toString(2).length - PRECISION)
  const rounded = Math.ceil(units / unit) * unit
  if (rounded >= 2 ** RUNGS) throw tooLong(delay)
  // Always at the lowest rung too: only from there a package gets to its queue, whatever became of that meanwhile.
  return (rounded % 2 === 0 ? rounded + 1 : rounded).toString(2)
}

function tooLong(delay: number): BrokerError {
  const days = (milliseconds: number) => Math.round(milliseconds / 86_400_000)
  return new BrokerError(
    `Expected a delay of at most ${days(LONGEST_DELAY)} days, got ${days(delay)}: use a schedule.`,
  )
}

function keyWith(level: number, bit: '0' | '1'): string {
  return `${'*.'.repeat(RUNGS - 1 - level)}${bit}${level === 0 ? '' : '.#'}`
}

/** Safe on the death of a server of a RabbitMQ cluster, and older than any `default_queue_type`. */
function quorum(args: Record<string, unknown> = {}): Options.AssertQueue {
  return {
    durable: true,
    arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': NO_DELIVERY_LIMIT, ...args },
  }
}

/** What leaves the queue by itself goes on, confirmed by the next one before it is forgotten here. */
function passingOn(exchange: string, key?: string): Record<string, unknown> {
  return {
    'x-dead-letter-exchange': exchange,
    ...(key !== undefined && { 'x-dead-letter-routing-key': key }),
    'x-dead-letter-strategy': 'at-least-once',
    // Asked for by that strategy.
    'x-overflow': 'reject-publish',
  }
}

async function declare(channel: Channel, name: string, options: Options.AssertQueue): Promise<void> {
  try {
    await channel.assertQueue(name, options)
  } catch (error) {
    throw clash(error as Error, name)
  }
}

/** The server tells of the first argument that differs. */
const DIFFERENCE = /inequivalent arg '([^']+)'.*?received (.*?) but current is (.*?)"?$/

function clash(cause: Error, name: string): Error {
  const [, argument, ...values] = DIFFERENCE.exec(cause.message) ?? []
  if (argument === undefined) return cause
  const [ours, theirs] = values.map((value) => value.replace(/^the value (.*) of type .*$/, '$1'))
  return new BrokerError(
    `The queue "${name}" exists, but its ${argument} differs: expected ${ours}, got ${theirs}. Delete the queue when it is empty (rabbitmqctl delete_queue '${name}') and it is made as it should be, or give the cluster another name.`,
    { cause },
  )
}
