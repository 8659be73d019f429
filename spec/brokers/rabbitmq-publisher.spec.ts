import { EventEmitter, once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import type { Options } from 'amqplib'
import { expect } from 'chai'
import type { Link } from '../../lib/brokers/rabbitmq-link.ts'
import { letterOf, Publisher } from '../../lib/brokers/rabbitmq-publisher.ts'
import type { Letter } from '../../lib/brokers/rabbitmq-session.ts'
import { BrokerError } from '../../lib/errors.ts'

type Answer = (error: Error | null) => void

/** A channel that confirms what is published on it. */
class FakeConfirmChannel extends EventEmitter {
  readonly keys: string[] = []
  readonly headers: Record<string, unknown>[] = []
  /** It keeps to itself that it has kept what has a task id. */
  isSilent = false
  /** Milliseconds until it confirms. */
  pace = 0

  publish(
    _exchange: string,
    key: string,
    _content: Buffer,
    { messageId, headers = {} }: Options.Publish,
    answer: Answer,
  ): boolean {
    this.keys.push(key)
    if (messageId !== undefined) this.headers.push(headers)
    if (messageId !== undefined && this.isSilent) {
      this.once('close', () => answer(new Error('channel closed')))
      this.emit('kept')
      return true
    }
    const confirm = () => {
      answer(null)
      this.emit('confirmed')
    }
    if (this.pace > 0) setTimeout(confirm, this.pace)
    else setImmediate(confirm)
    return true
  }

  async close(): Promise<void> {
    this.emit('close')
  }
}

/** A connection whose server answers what is declared on it as soon as `answered` is resolved. */
class FakeLink extends EventEmitter {
  readonly traits = { largestMessage: 1_000 }
  readonly #answered: Promise<void>

  constructor(answered: Promise<void>) {
    super()
    this.#answered = answered
  }

  async channel() {
    const declare = () => this.#answered
    return { on: () => {}, close: async () => {}, checkQueue: declare, assertQueue: declare }
  }

  async confirmChannel() {
    const channel = new FakeConfirmChannel()
    this.emit('opened', channel)
    return channel
  }

  async nextChannel(): Promise<FakeConfirmChannel> {
    const [channel] = await once(this, 'opened')
    return channel
  }
}

describe('the publisher to RabbitMQ', () => {
  it('sends on the next channel what waited for its queue when the first one was lost', async () => {
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
    const link = new FakeLink(answered)
    const publisher = new Publisher({ connect: async () => link as unknown as Link, timeout: 2_000 })
    const sealed = { taskId: 't', run: 1, attempt: 1, body: '' }
    const first = link.nextChannel()
    const publishing = publisher.publish([letterOf({ queue: 'q', package: sealed })])
    await once(await first, 'confirmed')

    const second = link.nextChannel()
    await (await first).close()
    await once(await second, 'confirmed')
    answer()
    await publishing
    expect((await first).keys).to.deep.equal(['qcluster.nowhere'])
    expect((await second).keys).to.have.length(2)
  })

  it('says of what it sends again that a copy of it may be kept', async () => {
    const link = new FakeLink(Promise.resolve())
    const publisher = new Publisher({ connect: async () => link as unknown as Link, timeout: 2_000 })
    const sealed = { taskId: 't', run: 1, attempt: 1, body: '' }
    const opening = link.nextChannel()
    const publishing = publisher.publish([letterOf({ queue: 'q', package: sealed })])
    const first = await opening
    first.isSilent = true
    await once(first, 'kept')

    const second = link.nextChannel()
    await first.close()
    await publishing
    expect(first.headers).to.deep.equal([{ 'qcluster-run': 1, 'qcluster-attempt': 1 }])
    expect((await second).headers).to.deep.equal([
      { 'qcluster-run': 1, 'qcluster-attempt': 1, 'qcluster-resent': true },
    ])
  })

  it('gives what is in line its time, however long that takes, while the server confirms what is before it', async () => {
    const link = new FakeLink(Promise.resolve())
    const publisher = new Publisher({ connect: async () => link as unknown as Link, timeout: 600 })
    const [first, ...others] = Array.from({ length: 6_000 }, (_, i) =>
      letterOf({ queue: 'q', package: { taskId: `${i}`, run: 1, attempt: 1, body: '' } }),
    )
    const opening = link.nextChannel()
    await publisher.publish([first as Letter])
    const channel = await opening
    channel.pace = 150
    const startedAt = performance.now()
    await publisher.publish(others)
    // Six windows of a thousand, each confirmed 150 ms after it was sent.
    expect(performance.now() - startedAt).to.be.above(850)
  })

  it('gives up what is in line when the server has confirmed nothing for as long', async () => {
    const link = new FakeLink(Promise.resolve())
    const publisher = new Publisher({ connect: async () => link as unknown as Link, timeout: 400 })
    const opening = link.nextChannel()
    const letters = Array.from({ length: 1_500 }, (_, i) =>
      letterOf({ queue: 'q', package: { taskId: `${i}`, run: 1, attempt: 1, body: '' } }),
    )
    const publishing = Promise.allSettled(letters.map((letter) => publisher.publish([letter])))
    const channel = await opening
    channel.setMaxListeners(0).isSilent = true
    const fates = (await publishing).map((one) => String((one as PromiseRejectedResult).reason))
    expect(fates[0]).to.match(/was not confirmed by RabbitMQ within 0.4 seconds/)
    expect(fates.at(-1)).to.match(/was not taken by RabbitMQ within 0.4 seconds/)
  })

  it('does not blame a failure that is over for what is not confirmed in time', async () => {
    const { promise: triedAgain, resolve } = Promise.withResolvers<void>()
    let attempts = 0
    let connect = (): Promise<Link> => {
      attempts += 1
      if (attempts > 1) resolve()
      return Promise.reject(new BrokerError('Nobody answers.', { isTransient: true }))
    }
    const publisher = new Publisher({ connect: () => connect(), timeout: 20 })
    const publish = () =>
      publisher
        .publish([letterOf({ queue: 'q', package: { taskId: 't', run: 1, attempt: 1, body: '' } })])
        .then(String, String)
    expect(await publish()).to.include('Nobody answers.')
    await triedAgain
    // Now it notices that nobody waits any more.
    await turn()
    connect = () => new Promise(() => {})
    expect(await publish()).to.match(/was not taken by RabbitMQ within 0.02 seconds/)
  })
})
