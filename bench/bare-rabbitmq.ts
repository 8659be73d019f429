/** What amqplib alone does on the same queue, so that a slow server can be told from a slow program. */
import { type ChannelModel, connect } from 'amqplib'
import { byCallers, TASKS } from './throughput.ts'

const BODY = Buffer.from('x'.repeat(256))
const PREFETCH = 1_000

/** Messages a second that are published and confirmed, a thousand on their way all the time. */
export function bareConfirms(url: string, queue: string): Promise<number> {
  return rateOf(url, async (connection) => {
    const channel = await connection.createConfirmChannel()
    const publish = () =>
      new Promise((resolve) =>
        channel.sendToQueue(queue, BODY, { persistent: true, mandatory: true }, resolve),
      )
    await byCallers(publish)
  })
}

/** Messages a second that are consumed and acknowledged one by one. */
export function bareConsume(url: string, queue: string): Promise<number> {
  return rateOf(url, async (connection) => {
    const channel = await connection.createChannel()
    const { promise, resolve } = Promise.withResolvers<void>()
    let consumed = 0
    await channel.prefetch(PREFETCH)
    await channel.consume(queue, (message) => {
      if (message) channel.ack(message)
      consumed += 1
      if (consumed === TASKS) resolve()
    })
    await promise
    // It is answered after the acknowledgements.
    await channel.close()
  })
}

async function rateOf(url: string, work: (connection: ChannelModel) => Promise<void>): Promise<number> {
  const connection = await connect(url)
  try {
    const began = performance.now()
    await work(connection)
    return (TASKS / (performance.now() - began)) * 1_000
  } finally {
    await connection.close()
  }
}
