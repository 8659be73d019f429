import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, NotRunningError, TaskLoadError } from 'qcluster'

/** A task that writes a line for each of its runs into the ledger, and what code it ran. */
const code = (version: string) => `import { appendFileSync } from 'node:fs'
export async function note(ledger, n) {
  appendFileSync(ledger, n + '\\n')
  await new Promise((resolve) => setTimeout(resolve, 5))
  return '${version}'
}`

describe('a cluster that is steered under load', function () {
  this.timeout(120_000)
  let folder: string
  let cluster: Cluster
  let client: Client
  let ledger: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-steering-'))
    ledger = join(folder, 'ledger')
    const tasks = [join(folder, 'tasks.mjs')]
    await writeFile(tasks[0] as string, code('old'))
    const options = { name: 'steering', tasks, workers: 2, dataDir: folder, logLevel: 'silent' } as const
    cluster = new Cluster(options)
    client = new Client(options)
    await cluster.start()
  })

  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(folder, { recursive: true })
  })

  const enqueue = (from: number, count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        asyncTask('tasks.note', [ledger, from + n] as never[], { client }),
      ),
    )
  type Tasks = Awaited<ReturnType<typeof enqueue>>
  const results = (tasks: Tasks) => Promise.all(tasks.map((task) => task.result({ wait: 60_000 })))

  /** Each task ran, and ran once. */
  const expectLedger = async (count: number) => {
    const runs = (await readFile(ledger, 'utf8')).trim().split('\n').map(Number)
    expect(runs.toSorted((a, b) => a - b)).to.deep.equal(Array.from({ length: count }, (_, n) => n))
  }

  it('finishes what it has taken when it is paused, and the rest when it is resumed', async () => {
    const tasks = await enqueue(0, 2_000)
    await tasks[0]?.result({ wait: 20_000 })
    await cluster.pause()
    expect(cluster.actor.getSnapshot().value).to.deep.equal({ running: 'paused' })
    const late = await enqueue(2_000, 10)
    await cluster.pause()
    await cluster.resume()
    await results([...tasks, ...late])
    await expectLedger(2_010)
  })

  it('loses nothing and runs nothing twice while workers come and leave', async () => {
    const tasks = await enqueue(0, 1_000)
    await tasks[0]?.result({ wait: 20_000 })
    for (const workers of [3, 1, 2]) await cluster.scale(workers)
    await results(tasks)
    await expectLedger(1_000)
  })

  it('runs new code after a reload, without losing a task or running one twice', async () => {
    const before = await enqueue(0, 500)
    await before[0]?.result({ wait: 20_000 })
    await writeFile(join(folder, 'tasks.mjs'), code('new'))
    await cluster.reload()
    const after = await enqueue(500, 50)
    expect(new Set(await results(after))).to.deep.equal(new Set(['new']))
    await results(before)
    await expectLedger(550)
  })

  it('goes on with the old code when the new one cannot be loaded', async () => {
    await writeFile(join(folder, 'tasks.mjs'), 'export const')
    const error = await cluster.reload().catch((reason: unknown) => reason)
    expect(error).to.be.instanceOf(TaskLoadError)
    expect((error as Error).message).to.include('tasks.mjs')
    expect(await results(await enqueue(0, 20))).to.include('old')
  })

  it('takes no orders before it runs, nor after', async () => {
    await cluster.stop()
    for (const one of [cluster, new Cluster({ dataDir: folder, logLevel: 'silent' })])
      for (const order of [one.pause(), one.resume(), one.scale(2), one.reload()])
        expect(await order.catch((reason: unknown) => reason)).to.be.instanceOf(NotRunningError)
  })
})
