/** What it costs to be looked at: the same work with a viewer at the cluster's address, and without. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { deployment } from './embedded.ts'
import type { Row } from './table.ts'
import { measureThroughput } from './throughput.ts'

/** What a viewer may cost. */
const MOST_OF_THROUGHPUT = 0.05
/** Of each kind, in turns, so that what else the machine does meets both. */
const ROUNDS = 3

/** The rows of the suite: tasks a second, the best of some rounds each. */
export async function inspection(): Promise<Row[]> {
  const unseen: number[] = []
  const seen: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    unseen.push((await measureThroughput(deployment(), 'warn')).done)
    seen.push(await measureSeen())
  }
  const [without, value] = [Math.max(...unseen), Math.max(...seen)]
  return [
    { what: 'no-op tasks, 2 workers, nobody looks', value: without, unit: 'tasks/s' },
    {
      ...{ what: 'the same with a viewer', value, unit: 'tasks/s' },
      floor: { least: without * (1 - MOST_OF_THROUGHPUT) },
      beside: { what: 'nobody looks', value: without },
    },
  ]
}

async function measureSeen(): Promise<number> {
  const port = await freePort()
  const { flags, ...rest } = deployment()
  const viewer = new Viewer(port)
  const { done } = await measureThroughput({ ...rest, flags: [...flags, '--inspect', String(port)] }, 'warn')
  if (viewer.close() === 0) throw new Error('The viewer saw nothing: what was measured is no inspection.')
  return done
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
