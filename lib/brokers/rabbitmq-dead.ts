/** The dead letters of a queue in RabbitMQ. */
import { once } from 'node:events'
import type { Channel, Message } from 'amqplib'
import type { DeadLetter, DeadLetterFate, Package } from './broker.ts'
import { HEADERS } from './rabbitmq-session.ts'
import { deadQueue, isMissing, using } from './rabbitmq-topology.ts'

/** Milliseconds without another one after which all that can be had are there: somebody else looks through the rest. */
const QUIET = 500
/** Dead letters that are in memory at a time; of those that were looked at the server keeps the texts. */
const PAGE = 100

/** How the server is reached. There may be many dead letters, so its time to answer is limited for each page. */
export interface Server {
  readonly open: () => Promise<Channel>
  readonly inTime: <T>(answer: Promise<T>) => Promise<T>
}

/** The newest first. While one looks, another does not see what it looks at. */
export async function listDeadLetters(server: Server, queue: string, limit: number): Promise<DeadLetter[]> {
  const newest: DeadLetter[] = []
  const note = async (messages: readonly Message[]) => {
    newest.push(...messages.map((message) => deadLetterOf(message, queue)))
    newest.sort((a, b) => a.diedAt - b.diedAt)
    newest.splice(0, newest.length - limit)
    return messages.length
  }
  await turnOver(server, queue, note)
  return newest.reverse()
}

/** Judges each, in the order of the queue; one is taken away only when `replay` has resolved. */
export async function reviewDeadLetters(
  server: Server,
  queue: string,
  judge: (letter: DeadLetter) => DeadLetterFate,
  replay: (sealed: Package) => Promise<void>,
): Promise<void> {
  const review = async (message: Message, channel: Channel) => {
    const fate = judge(deadLetterOf(message, queue))
    if (fate === 'keep') return true
    if (fate !== 'remove') await replay(fate.replay)
    channel.ack(message)
    return false
  }
  await turnOver(server, queue, async (messages, channel) => {
    const isKept = await Promise.all(messages.map((message) => review(message, channel)))
    return isKept.filter(Boolean).length
  })
}

/**
 * Takes all there is, page by page, and gives back what `turn` has left of it, whose number that returns. A consumer is
 * given no more than its prefetch, so each page has a consumer of its own. What comes back has no order any more: the
 * server keeps what a consumer holds in a map.
 */
async function turnOver(
  server: Server,
  queue: string,
  turn: (messages: readonly Message[], channel: Channel) => Promise<number>,
): Promise<void> {
  const name = deadQueue(queue)
  const turnAll = async (channel: Channel) => {
    let left = 0
    for await (const page of pagesOf(channel, name, server)) left += await turn(page, channel)
    if (left > 0) channel.nackAll(true)
    await untilThere(channel, name, left)
  }
  await using(server.open, turnAll).catch(unlessMissing)
}

async function* pagesOf(
  channel: Channel,
  name: string,
  { inTime }: Server,
): AsyncGenerator<readonly Message[]> {
  let { messageCount: rest } = await inTime(channel.checkQueue(name))
  await channel.prefetch(PAGE)
  while (rest > 0) {
    const wanted = Math.min(PAGE, rest)
    const page = await inTime(takePage(channel, name, wanted))
    yield page
    rest = page.length < wanted ? 0 : rest - page.length
  }
}

async function takePage(channel: Channel, name: string, wanted: number): Promise<readonly Message[]> {
  const messages: Message[] = []
  const { consumerTag } = await channel.consume(name, (message) => {
    if (message) messages.push(message)
    channel.emit('browsed')
  })
  while (messages.length < wanted && (await isHeard(channel))) {}
  await channel.cancel(consumerTag)
  return messages
}

async function isHeard(channel: Channel): Promise<boolean> {
  return once(channel, 'browsed', { signal: AbortSignal.timeout(QUIET) }).then(
    () => true,
    () => false,
  )
}

/** Waits until what was given back can be seen: whoever looks next is not to find less than there is. */
async function untilThere(channel: Channel, name: string, count: number): Promise<void> {
  let [most, grownAt] = [-1, performance.now()]
  while (most < count && performance.now() - grownAt < QUIET) {
    const { messageCount } = await channel.checkQueue(name)
    if (messageCount > most) [most, grownAt] = [messageCount, performance.now()]
  }
}

function unlessMissing(error: unknown): void {
  if (!isMissing(error)) throw error
}

function deadLetterOf({ properties, content }: Message, queue: string): DeadLetter {
  const { messageId, headers = {} } = properties
  return {
    queue,
    taskId: String(messageId ?? ''),
    run: Number(headers[HEADERS.run] ?? 0),
    attempt: Number(headers[HEADERS.attempt] ?? 0),
    body: content.toString(),
    reason: String(headers[HEADERS.reason] ?? headers['x-first-death-reason'] ?? 'unknown'),
    diedAt: Number(headers[HEADERS.diedAt] ?? 0),
  }
}
