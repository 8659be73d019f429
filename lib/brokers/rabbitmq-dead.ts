/** The dead letters of a queue in RabbitMQ. */
import { once } from 'node:events'
import type { Channel, Message } from 'amqplib'
import type { DeadLetter, DeadLetterFate, Package } from './broker.ts'
import { HEADERS } from './rabbitmq-publisher.ts'
import { deadQueue, isMissing, using } from './rabbitmq-topology.ts'

/** Milliseconds without another one after which all that can be had are there: somebody else looks through the rest. */
const QUIET = 500

/** The newest first. While one looks, another does not see what it looks at. */
export async function listDeadLetters(
  open: () => Promise<Channel>,
  queue: string,
  limit: number,
): Promise<DeadLetter[]> {
  const messages = await using(open, (channel) => browse(channel, deadQueue(queue))).catch(noneWhereMissing)
  return messages
    .slice(-limit)
    .reverse()
    .map((message) => deadLetterOf(message, queue))
}

/** Judges each, the oldest first; one is taken away only when `replay` has resolved. */
export async function reviewDeadLetters(
  open: () => Promise<Channel>,
  queue: string,
  judge: (letter: DeadLetter) => DeadLetterFate,
  replay: (sealed: Package) => Promise<void>,
): Promise<void> {
  const review = async (channel: Channel) => {
    let kept = 0
    for (const message of await takeAll(channel, deadQueue(queue))) {
      const fate = judge(deadLetterOf(message, queue))
      if (fate === 'keep') kept++
      else {
        if (fate !== 'remove') await replay(fate.replay)
        channel.ack(message)
      }
    }
    await giveBack(channel, deadQueue(queue), kept)
    return []
  }
  await using(open, review).catch(noneWhereMissing)
}

/** Takes all there is, and gives it back in the order in which it was. */
async function browse(channel: Channel, name: string): Promise<Message[]> {
  const messages = await takeAll(channel, name)
  await giveBack(channel, name, messages.length)
  return messages
}

/** Gives back what is left, and waits until it can be seen: whoever looks next is not to find less than there is. */
async function giveBack(channel: Channel, name: string, count: number): Promise<void> {
  if (count === 0) return
  channel.nackAll(true)
  const deadline = performance.now() + QUIET
  while ((await channel.checkQueue(name)).messageCount < count && performance.now() < deadline) {}
}

async function takeAll(channel: Channel, name: string): Promise<Message[]> {
  const { messageCount } = await channel.checkQueue(name)
  if (messageCount === 0) return []
  const messages: Message[] = []
  const { consumerTag } = await channel.consume(name, (message) => {
    if (message) messages.push(message)
    channel.emit('browsed')
  })
  while (messages.length < messageCount && (await isHeard(channel))) {}
  await channel.cancel(consumerTag)
  return messages
}

async function isHeard(channel: Channel): Promise<boolean> {
  return once(channel, 'browsed', { signal: AbortSignal.timeout(QUIET) }).then(
    () => true,
    () => false,
  )
}

function noneWhereMissing(error: unknown): Message[] {
  if (isMissing(error)) return []
  throw error
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
