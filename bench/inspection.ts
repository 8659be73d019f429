/** What it costs to be recorded and to be looked at: the same work with and without. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { deployment } from './embedded.ts'
import type { Row } from './table.ts'
import { measureThroughput, type Throughput } from './throughput.ts'

/** What a viewer may cost. */
const MOST_OF_THROUGHPUT = 0.05
/** Of each kind, in turns, so that what else the machine does meets all of them. */
const ROUNDS = 2

/** The rows of the suite: without even the flight recorder, as a cluster is otherwise, and with a viewer. */
export async function inspection(): Promise<Row[]> {
  const found: Record<'bare' | 'recorded' | 'seen', Throughput[]> = { bare: [], recorded: [], seen: [] }
  for (let round = 0; round < ROUNDS; round += 1) {
    found.bare.push(await measureThroughput({ ...deployment(), imported: RECORDER.off }, 'warn'))
    found.recorded.push(await measureThroughput({ ...deployment(), imported: RECORDER.on }, 'warn'))
    found.seen.push(await measureSeen())
  }
  const [bare, recorded, seen] = [bestOf(found.bare), bestOf(found.recorded), bestOf(found.seen)]
  const floor = { least: recorded.done * (1 - MOST_OF_THROUGHPUT) }
  return [
    { what: 'no-op tasks, 2 workers, no flight recorder', value: bare.done, unit: 'tasks/s' },
    ...spent(bare),
    {
      what: 'as it is: recorded, nobody looks',
      value: recorded.done,
      unit: 'tasks/s',
      ...beside(bare, 'done'),
    },
    ...spent(recorded, bare),
    { what: 'with a viewer', value: seen.done, unit: 'tasks/s', floor, ...beside(recorded, 'done') },
    ...spent(seen, recorded),
  ]
}

const RECORDER = {
  on: import.meta.resolve('./recorder.mjs?on'),
  off: import.meta.resolve('./recorder.mjs?off'),
}

type Measured = Omit<Throughput, 'cpuOf'>

const UNITS = { done: 'tasks/s', cpu: 'µs', memory: 'MiB' } as const

function spent(one: Measured, other?: Measured): Row[] {
  return [
    {
      what: '… processor time a task, all processes',
      value: one.cpu,
      unit: UNITS.cpu,
      ...beside(other, 'cpu'),
    },
    { what: '… memory, all processes', value: one.memory, unit: UNITS.memory, ...beside(other, 'memory') },
  ]
}

function beside(other: Measured | undefined, what: 'done' | 'cpu' | 'memory'): Pick<Row, 'beside'> {
  return other ? { beside: { what: 'without', value: other[what] } } : {}
}

/** Of each number the best: what disturbs only ever makes it worse. */
function bestOf(rounds: readonly Measured[]): Measured {
  const least = (key: keyof Measured) => Math.min(...rounds.map((one) => one[key]))
  const most = (key: keyof Measured) => Math.max(...rounds.map((one) => one[key]))
  return { enqueued: most('enqueued'), done: most('done'), cpu: least('cpu'), memory: least('memory') }
}

async function measureSeen(): Promise<Throughput> {
  const port = await freePort()
  const { flags, ...rest } = deployment()
  const seen = { ...rest, flags: [...flags, '--inspect', String(port)], imported: RECORDER.on }
  const viewer = new Viewer(port)
  const measured = await measureThroughput(seen, 'warn')
  if (viewer.close() === 0) throw new Error('The viewer saw nothing: what was measured is no inspection.')
  return measured
}

/** Looks as soon as there is something to look at, and counts what it is told. */
class Viewer {
  readonly #port: number
  readonly #left = new AbortController()
  #told = 0

  constructor(port: number) {
    this.#port = port
    void this.#look()
  }

  /** Returns how much it was told. */
  close(): number {
    this.#left.abort()
    return this.#told
  }

  async #look(): Promise<void> {
    while (!this.#left.signal.aborted) {
      const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/`)
      socket.on('message', () => {
        this.#told += 1
      })
      socket.on('error', () => {})
      this.#left.signal.addEventListener('abort', () => socket.terminate())
      await once(socket, 'close').catch(() => {})
      await sleep(50)
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
