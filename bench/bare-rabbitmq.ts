/** What amqplib alone does on the same queue, so that a slow server can be told from a slow program. */
import { type ChannelModel, connect } from 'amqplib'
import { type Percentiles, percentilesOf, timesOf } from './latency.ts'
import { byCallers, TASKS, WARM_UP } from './throughput.ts'

const BODY = Buffer.from('x'.repeat(256))
const PREFETCH = 1_000

/** Messages a second that are published and confirmed, a thousand on their way all the time. */
export function bareConfirms(url: string, queue: string): Promise<number> {
  return connected(url, async (connection) => {
    const began = performance.now()
    const channel = await connection.createConfirmChannel()
    const publish = () =>
      new Promise((resolve) =>
        channel.sendToQueue(queue, BODY, { persistent: true, mandatory: true }, resolve),
      )
    await byCallers(publish)
    return rateOf(TASKS, began)
  })
}

/** Messages a second that are consumed and acknowledged one by one, the first ones not counted. */
export function bareConsume(url: string, queue: string): Promise<number> {
  return connected(url, async (connection) => {
    const channel = await connection.createChannel()
    const { promise, resolve } = Promise.withResolvers<void>()
    let [consumed, began] = [0, 0]
    await channel.prefetch(PREFETCH)
    await channel.consume(queue, (message) => {
      if (message) channel.ack(message)
      consumed += 1
      if (consumed === WARM_UP) began = performance.now()
      if (consumed === TASKS) resolve()
    })
    await promise
    // It is answered after the acknowledgements.
    await channel.close()
    return rateOf(TASKS - WARM_UP, began)
  })
}

/**
 * Milliseconds from the publishing of a persistent message until it is confirmed and its consumer's answer, which nobody keeps,
 * has come back. Caller and consumer are one process with two connections.
 */
export async function bareRoundTrips(url: string, queue: string): Promise<Percentiles> {
  const quick = { noDelay: true }
  const [here, there] = await Promise.all([connect(url, quick), connect(url, quick)])
  try {
    const [publisher, ear] = await Promise.all([here.createConfirmChannel(), here.createChannel()])
    const consumer = await there.createChannel()
    await consumer.consume(queue, (message) => {
      if (!message) return
      consumer.sendToQueue(message.properties.replyTo, BODY)
      consumer.ack(message)
    })
    const { queue: replyTo } = await ear.assertQueue('', { exclusive: true })
    let answered = () => {}
    await ear.consume(replyTo, () => answered(), { noAck: true })
    const roundTrip = async () => {
      const answer = new Promise<void>((resolve) => {
        answered = resolve
      })
      publisher.sendToQueue(queue, BODY, { persistent: true, mandatory: true, replyTo })
      await Promise.all([publisher.waitForConfirms(), answer])
    }
    return percentilesOf(await timesOf(roundTrip))
  } finally {
    await Promise.all([here.close(), there.close()])
  }
}

async function connected(
  url: string,
  measure: (connection: ChannelModel) => Promise<number>,
): Promise<number> {
  const connection = await connect(url)
  try {
    return await measure(connection)
  } finally {
    await connection.close()
  }
}

const rateOf = (count: number, began: number): number => (count / (performance.now() - began)) * 1_000
