import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import {
  asyncTask,
  asyncTasks,
  Client,
  Cluster,
  cancelGroup,
  cancelTask,
  queueSize,
  retryTask,
} from 'qcluster'
import { pause } from '../contracts/material.ts'

describe('a task that is cancelled', function () {
  this.timeout(90_000)
  let dataDir: string
  let file: string
  let cluster: Cluster
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-cancel-'))
    file = join(dataDir, 'notes')
    const options = {
      ...({ dataDir, workers: 1, logLevel: 'silent', retry: 0.05 } as const),
      tasks: [join(import.meta.dirname, 'fixtures', 'cancel.mjs')],
    }
    cluster = new Cluster(options)
    client = new Client(options)
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  const notes = () => readFile(file, 'utf8').catch(() => '')

  async function noted(word: string): Promise<void> {
    while (!(await notes()).includes(word)) await pause()
  }

  it('never starts while it waits, is delayed, or is of a group, and the others go on', async () => {
    const [one, late] = [
      await asyncTask('quick', [file], { client }),
      await asyncTask('quick', [file], { client, delay: 0.5 }),
    ]
    const group = await asyncTasks('quick', [[file], [file]], { client, group: 'g' })
    const other = await asyncTask('quick', [file], { client })
    await one.cancel()
    await cancelTask([late.id], { client })
    await cancelGroup('g', { client })
    await cluster.start()
    await other.result({ wait: 25_000 })
    for (const task of [one, late, ...group])
      expect(await task.fetch({ wait: 25_000 })).to.include({
        state: 'cancelled',
        success: false,
        final: true,
      })
    expect(await notes()).to.equal('quick\n')
    expect(await queueSize({ client })).to.equal(0)
    const later = await asyncTask('quick', [file], { client, group: 'g' })
    expect(await later.fetch({ wait: 25_000 }), 'a later one of the group').to.include({ state: 'success' })
    expect(await notes()).to.equal('quick\nquick\n')
  })

  it('is told by its signal while it runs, and is not tried again', async () => {
    await cluster.start()
    const task = await asyncTask('heeds', [file], { client })
    await noted('started')
    await task.cancel()
    expect(await task.fetch({ wait: 25_000 })).to.include({ state: 'cancelled', attempt: 1, final: true })
    expect(await notes()).to.equal('started\ncancelled\n')
    const error = await task.result().catch((failure: unknown) => failure)
    expect(error).to.have.nested.property('cause.code', 'QCLUSTER_TASK_CANCELLED')
  })

  it('is killed with its process where it does not heed that, and what waits behind it is run', async () => {
    await cluster.start()
    const task = await asyncTask('blocks', [file], { client })
    await noted('started')
    const next = await asyncTask('quick', [file], { client })
    await cancelTask(task.id, { client })
    expect(await task.fetch({ wait: 25_000 })).to.include({ state: 'cancelled', attempt: 1, final: true })
    await next.result({ wait: 25_000 })
    expect(await notes()).to.equal('started\nquick\n')
  })

  it('shows how far it is until then, to its caller and in the stat', async () => {
    await cluster.start()
    const task = await asyncTask('steps', [file], { client })
    const seen: unknown[] = []
    for await (const { progress, message, attempt } of task.progress({ interval: 50 })) {
      seen.push({ progress, message, attempt })
      expect(cluster.stat.processes.flatMap(({ tasks }) => tasks)[0]).to.include({ progress, message })
      await task.cancel()
    }
    expect(seen).to.deep.equal([{ progress: 0.25, message: 'page 1 of 4', attempt: 1 }])
    expect(await task.fetch()).to.include({ state: 'cancelled' })
  })

  it('is run once more when somebody wants it', async () => {
    await cluster.start()
    const task = await asyncTask('heeds', [file], { client })
    await noted('started')
    expect(await retryTask(task.id, { client })).to.equal(false)
    await task.cancel()
    await task.fetch({ wait: 25_000 })
    expect(await retryTask(task.id, { client })).to.equal(true)
    await noted('cancelled\nstarted')
    await task.cancel()
    while ((await task.fetch())?.run !== 2) await pause()
  })
})
