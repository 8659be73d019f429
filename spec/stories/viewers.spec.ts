import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import { asyncTasks, Client, Cluster } from 'qcluster'
import { WebSocket } from 'ws'
import type { Hub } from '../../lib/inspection/hub.ts'
import { type InspectionServer, serveInspection } from '../../lib/inspection/server.ts'
import { pause } from '../contracts/material.ts'

const TASKS = 1_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

describe('a cluster that ten look at', function () {
  this.timeout(120_000)
  let folder: string
  let cluster: Cluster
  let client: Client
  let server: InspectionServer

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-story-'))
    const tasks = [join(import.meta.dirname, 'fixtures', 'tasks.mjs')]
    const options = { tasks, workers: 1, dataDir: folder, logLevel: 'silent' } as const
    cluster = new Cluster(options)
    client = new Client(options)
    await cluster.start()
    while (cluster.stat.processes.some(({ pid }) => pid === null)) await pause()
    // The built package's hub; to TypeScript the class is another one than that of the sources.
    server = await serveInspection(cluster.hub as unknown as Hub, { port: 0 })
  })
  after(async () => {
    await server.close()
    await cluster.stop()
    await client.close()
    await rm(folder, { recursive: true })
  })

  /** Looks, and resolves when it has been told where the scheduler is, who comes last. */
  async function look(): Promise<WebSocket> {
    const viewer = new WebSocket(server.url)
    const { promise, resolve } = Promise.withResolvers<void>()
    viewer.on('message', (text: Buffer) => {
      if (text.includes('"name":"scheduler ')) resolve()
    })
    await promise
    return viewer
  }

  async function leave(viewer: WebSocket): Promise<void> {
    viewer.terminate()
    await once(viewer, 'close')
  }

  async function comeAgain(times: number): Promise<void> {
    for (let n = 0; n < times; n += 1) await leave(await look())
  }

  async function work(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    const numbers = Array.from({ length: TASKS }, (_, n) => [n, n])
    const tasks = await asyncTasks('math.add', numbers, { client })
    const [results] = await Promise.all([
      Promise.all(tasks.map((task) => task.result({ wait: 60_000 }))),
      meanwhile(),
    ])
    expect(results).to.deep.equal(numbers.map(([n = 0]) => 2 * n))
  }

  function memory(): number {
    collectGarbage()
    return process.memoryUsage().heapUsed
  }

  it('does its work, and takes no more memory though one of them comes again a hundred times', async () => {
    const viewers = await Promise.all(Array.from({ length: 9 }, look))
    await work(() => comeAgain(50))
    const before = memory()
    await work(() => comeAgain(100))
    const after = memory()
    await Promise.all(viewers.map(leave))
    expect(after - before).to.be.below(2_000_000)
  })
})
