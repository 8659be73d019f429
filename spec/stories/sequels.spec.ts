/** Chains, iters and hooks whose cluster loses its processes between any two steps. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncChain, asyncIter, Client, Cluster, link } from 'qcluster'
import { range } from '../contracts/material.ts'
import { note } from './fixtures/sequels.ts'

const tasks = [join(import.meta.dirname, 'fixtures', 'sequels.ts')]
const ROLES = ['monitor', 'pusher', 'worker'] as const

describe('what follows from tasks', function () {
  this.timeout(120_000)
  let dataDir: string
  let cluster: Cluster
  let client: Client
  let pids: Map<string, number>

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-sequels-'))
    const options = { name: 'sequels', tasks, workers: 1, dataDir, logLevel: 'silent' as const, retry: 0.01 }
    cluster = new Cluster({ ...options, maxRestarts: 100, maxAttempts: 20 })
    client = new Client(options)
    pids = new Map()
    for (const role of ROLES) cluster.on(`${role}.ready`, ({ pid }) => void pids.set(role, pid))
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  /** Kills one process of each role, one after the other, each as soon as the one before is replaced. */
  async function killAll(): Promise<void> {
    for (const role of ROLES) {
      const replaced = ready(role)
      process.kill(pids.get(role) as number, 'SIGKILL')
      await replaced
    }
  }

  function ready(role: (typeof ROLES)[number]): Promise<void> {
    return new Promise((resolve) => {
      const end = cluster.on(`${role}.ready`, () => {
        end()
        resolve()
      })
    })
  }

  /** How often each of these was noted. */
  async function noted(ledger: string): Promise<Map<number, number>> {
    const lines = (await readFile(ledger, 'utf8')).trim().split('\n').map(Number)
    return new Map([...Map.groupBy(lines, (line) => line)].map(([line, all]) => [line, all.length]))
  }

  it('is not lost when monitor, pusher and worker are killed between the links of a chain', async () => {
    const ledger = join(dataDir, 'chain')
    const links = range(40).map((n) => link(note, [ledger, n]))
    await cluster.start()
    const chain = await asyncChain(links, { client, hook: 'note_end' })
    await killAll()

    expect(await chain.result({ wait: 60_000 })).to.deep.equal(range(40))
    const counts = await noted(ledger)
    expect([...counts.keys()], 'in their order').to.deep.equal(range(40))
    const doubles = [...counts.values()].reduce((sum, count) => sum + count - 1, 0)
    expect(doubles, 'runs cut short are repeated').to.be.at.most(3)
  })

  it('is not lost when they are killed between the pieces of an iter', async () => {
    const ledger = join(dataDir, 'iter')
    const hooked = Promise.withResolvers<void>()
    cluster.on('task.finished', ({ func }) => {
      if (func === 'note_end') hooked.resolve()
    })
    await cluster.start()
    const items = range(40).map((n) => [ledger, n] as const)
    const iter = await asyncIter(note, items, { client, hook: 'note_end' })
    await killAll()

    expect(await iter.result({ wait: 60_000 })).to.deep.equal(range(40))
    await hooked.promise
    expect([...(await noted(ledger)).keys()].toSorted((a, b) => a - b)).to.deep.equal(range(40))
  })
})
