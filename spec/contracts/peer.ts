/** Another process at the same broker or store: does one order (in argv) and tells its parent about it. */
import { type BrokerOptions, createBroker, type Package } from '../../lib/brokers/index.ts'
import { createStore, type StoreOptions } from '../../lib/stores/index.ts'
import { outcomeOf, packageOf, range } from './material.ts'

export type PeerOrder =
  /** Enqueue packages, many at a time, and end by itself. */
  | {
      readonly do: 'enqueue'
      readonly at: BrokerOptions
      readonly queue: string
      readonly prefix: string
      readonly count: number
    }
  /** Take this many and never settle them. */
  | { readonly do: 'hold'; readonly at: BrokerOptions; readonly queue: string; readonly count: number }
  /** Retry all that comes, again and again. */
  | { readonly do: 'churn'; readonly at: BrokerOptions; readonly queue: string }
  /** Show a stat again and again, and answer every order with its text in capitals. */
  | { readonly do: 'appear'; readonly at: BrokerOptions; readonly clusterId: string; readonly ttl: number }
  /** Save outcomes, and end by itself. */
  | { readonly do: 'save'; readonly at: StoreOptions; readonly prefix: string; readonly count: number }
  /** Watch for outcomes, and end by itself. */
  | { readonly do: 'watch'; readonly at: StoreOptions }

export type PeerReport =
  | { readonly type: 'holding'; readonly taskIds: readonly string[] }
  | { readonly type: 'churned' }
  | { readonly type: 'watching' }
  | { readonly type: 'appeared' }
  | { readonly type: 'lost'; readonly code: unknown }

const report = (message: PeerReport) => process.send?.(message)

async function enqueue({ at, queue, prefix, count }: PeerOrder & { do: 'enqueue' }): Promise<void> {
  const broker = await createBroker(at)
  await broker.connect()
  const packages = range(count).map((i) => packageOf(`${prefix}${i}`))
  await inParts(packages, 50, (sealed) => broker.enqueue([{ queue, package: sealed }]))
}

async function hold({ at, queue, count }: PeerOrder & { do: 'hold' }): Promise<void> {
  const broker = await createBroker(at)
  await broker.connect()
  const taskIds: string[] = []
  await broker.consume({
    queue,
    prefetch: count,
    onDeliveries: (deliveries) => {
      taskIds.push(...deliveries.map(({ taskId }) => taskId))
      if (taskIds.length === count) report({ type: 'holding', taskIds })
    },
    onLost: ({ code }: Error & { code?: unknown }) => report({ type: 'lost', code }),
  })
}

async function churn({ at, queue }: PeerOrder & { do: 'churn' }): Promise<void> {
  const broker = await createBroker(at)
  await broker.connect()
  const consumer = await broker.consume({
    queue,
    prefetch: 5,
    onDeliveries: (deliveries) => {
      const again = (sealed: Package) => ({ ...packageOf(sealed.taskId), run: sealed.run + 1 })
      const retries = deliveries.map((delivery) => ({ ...delivery, package: again(delivery) }))
      void consumer
        .settle(retries.map((retry) => ({ type: 'retry' as const, delay: 0, reason: 'again', ...retry })))
        .then(() => report({ type: 'churned' }))
    },
    onLost: (error) => {
      throw error
    },
  })
}

async function appear({ at, clusterId, ttl }: PeerOrder & { do: 'appear' }): Promise<void> {
  const broker = await createBroker(at)
  await broker.connect()
  await broker.onControl({
    clusterId,
    onOrder: async (body) => `${clusterId} ${body.toUpperCase()}`,
    onLost: (error) => {
      throw error
    },
  })
  await broker.publishStat(clusterId, `stat of ${clusterId}`, ttl)
  setInterval(() => void broker.publishStat(clusterId, `stat of ${clusterId}`, ttl), ttl / 4)
  report({ type: 'appeared' })
}

async function save({ at, prefix, count }: PeerOrder & { do: 'save' }): Promise<void> {
  const store = await createStore(at)
  await store.connect()
  await inParts(
    range(count).map((i) => outcomeOf(`${prefix}${i}`)),
    20,
    (outcome) => store.save([outcome]),
  )
}

async function watch({ at }: PeerOrder & { do: 'watch' }): Promise<void> {
  const store = await createStore(at)
  await store.connect()
  await store.watch(() => {})
  report({ type: 'watching' })
}

async function inParts<T>(items: readonly T[], size: number, act: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += size) await Promise.all(items.slice(i, i + size).map(act))
}

const order = JSON.parse(process.argv[2] ?? '') as PeerOrder
if (order.do === 'enqueue') await enqueue(order)
if (order.do === 'hold') await hold(order)
if (order.do === 'churn') await churn(order)
if (order.do === 'appear') await appear(order)
if (order.do === 'save') await save(order)
if (order.do === 'watch') await watch(order)
