/** What a cluster does about processes that are not dead and not well, and what is asked of its workers. */
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client } from 'qcluster'
import { eventually } from '../contracts/material.ts'
import { type Command, processesOf, Stage } from './stage.ts'

const TASKS = `import { getPriority } from 'node:os'
import { getHeapStatistics } from 'node:v8'
import { defineTask } from 'qcluster'
export const add = defineTask('add', (a, b) => a + b)
export const own = defineTask('own', () => ({
  pid: process.pid,
  priority: getPriority(),
  heap: Math.round(getHeapStatistics().heap_size_limit / 2 ** 20),
}))
export const hoard = defineTask({ name: 'hoard', maxAttempts: 1 }, () => {
  const hoard = []
  for (;;) hoard.push(Array.from({ length: 1e5 }, (_, n) => ({ n })))
})`

interface Own {
  readonly pid: number
  readonly priority: number
  readonly heap: number
}

describe('the health of a cluster', function () {
  this.timeout(90_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let client: Client

  beforeEach(() => {
    client = new Client({ dataDir: stage.dataDir })
  })
  afterEach(() => client.close())

  async function start(...flags: string[]): Promise<Command> {
    const cluster = stage.qcluster('start', '--workers', '1', ...flags)
    await cluster.line(/running\./)
    return cluster
  }

  const result = async (task: string, ...args: unknown[]) =>
    (await asyncTask(task, args, { client })).result({ wait: 60_000 })

  it('is mended where a pusher is alive and pushes nothing', async () => {
    const wedge = join(import.meta.dirname, 'fixtures', 'wedge.mjs')
    stage.environment = { ...process.env, NODE_OPTIONS: `--import ${wedge}` }
    const cluster = await start()
    const [wedged] = processesOf('pusher', cluster.process.pid as number)
    expect(await result('add', 1, 2)).to.equal(3)
    expect(await stage.lines('wedged')).to.deep.equal([String(wedged)])
    expect(cluster.log()).to.match(
      /ERROR \S+ is alive but not working: tasks wait, workers are idle, nothing moves; it is replaced[\s\S]*CRITICAL reincarnated pusher/,
    )
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
  })

  it('is kept by replacing a worker that is old', async () => {
    const cluster = await start('--max-age', '1')
    const { pid } = (await result('own')) as Own
    // Others may have been replaced before this one.
    await eventually(async () => ((await result('own')) as Own).pid !== pid, true)
    await cluster.line(/INFO recycled worker/)
    expect(cluster.log()).not.to.include('reincarnated')
  })

  it('is not spoilt by a task that takes all the memory that its worker may have', async () => {
    const cluster = await start('--max-heap', '64')
    const { heap } = (await result('own')) as Own
    // V8 counts its young generation on top; without a limit it would be gigabytes.
    expect(heap).to.be.within(64, 512)
    const task = await asyncTask('hoard', [], { client })
    const record = await task.fetch({ wait: 60_000, final: true })
    expect(record).to.include({ success: false, attempt: 1 })
    await cluster.line(/CRITICAL reincarnated worker \S+ after death while processing task/)
    expect(await result('add', 1, 2)).to.equal(3)
  })

  it('leaves the processor to others where its workers are to be nice', async () => {
    await start('--nice', '5')
    expect(await result('own')).to.include({ priority: getPriority() + 5 })
  })
})
