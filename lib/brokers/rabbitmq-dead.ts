/** The dead letters of a queue in RabbitMQ, looked through without taking any away. */
import { once } from 'node:events'
import type { Channel, Message } from 'amqplib'
import type { DeadLetter } from './broker.ts'
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

/** Takes all there is, and gives it back in the order in which it was. */
async function browse(channel: Channel, name: string): Promise<Message[]> {
  const { messageCount } = await channel.checkQueue(name)
  if (messageCount === 0) return []
  const messages: Message[] = []
  const { consumerTag } = await channel.consume(name, (message) => {
    if (message) messages.push(message)
    channel.emit('browsed')
  })
  while (messages.length < messageCount && (await isHeard(channel))) {}
  await channel.cancel(consumerTag)
  channel.nackAll(true)
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
