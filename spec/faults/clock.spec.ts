import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { asyncTask, Client } from 'qcluster'
import { Stage } from '../stories/stage.ts'

const TASKS = `import { existsSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const nap = defineTask('nap', (ms) => sleep(ms, 'rested'))
export const forever = defineTask({ name: 'forever', timeout: 4, maxAttempts: 1 }, () => sleep(60_000))
export const second = defineTask({ name: 'second', maxAttempts: 2, retry: 6 }, () => {
  if (existsSync('tried')) return 'done'
  writeFileSync('tried', '')
  throw new Error('not yet')
})
export const die = defineTask({ name: 'die', maxAttempts: 1 }, async (ms) => {
  await sleep(ms)
  process.kill(process.pid, 'SIGKILL')
})`

describe('a cluster whose clock is set back an hour', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  const preload = pathToFileURL(join(import.meta.dirname, 'fixtures', 'settable-clock.mjs')).href
  const qcluster = (...args: string[]) => stage.qcluster(...args)
  let client: Client

  beforeEach(() => {
    stage.environment = {
      ...process.env,
      NODE_OPTIONS: `--import=${preload}`,
      SET_BACK: join(stage.folder, 'set-back'),
    }
    client = new Client({ dataDir: stage.dataDir })
  })
  afterEach(() => client.close())

  it('runs what waits, retries and times out in time, and tells no negative time', async () => {
    const cluster = qcluster('start', '--workers', '3')
    await cluster.line(/running\./)
    const began = performance.now()
    const tasks = await Promise.all([
      asyncTask('second', [], { client }),
      asyncTask('forever', [], { client }),
      asyncTask('die', [2_000], { client }),
      // So many that most of them wait when the clock is set.
      ...Array.from({ length: 60 }, () => asyncTask('nap', [100], { client })),
    ])
    await cluster.line(/Failed 'second'/)
    await cluster.line(/'forever'/)
    await stage.write('set-back', '')
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 60_000, final: true })))
    expect(performance.now() - began, 'of an hour').to.be.below(60_000)
    const [second, forever, died, ...naps] = records
    expect(second).to.include({ success: true, attempt: 2 })
    expect(forever?.error?.message).to.include('exceeded maximum timeout value')
    expect(died?.error?.message).to.include('Worker process died')
    expect(naps.every((record) => record?.success)).to.equal(true)
    for (const record of records) {
      expect(Number(record?.stoppedAt) - Number(record?.startedAt)).to.be.at.least(0)
      expect(record?.timeTaken).to.be.at.least(0)
    }
  })

  it('takes new tasks and orders, is seen, and stops', async () => {
    const cluster = qcluster('start', '--workers', '1')
    await cluster.line(/running\./)
    expect(await qcluster('enqueue', 'nap', '10', '--wait').exit).to.deep.equal([0, null])
    await stage.write('set-back', '')
    const enqueue = qcluster('enqueue', 'nap', '10', '--wait=20')
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    const ping = qcluster('control', 'ping', '--all')
    expect(await ping.exit, ping.log()).to.deep.equal([0, null])
    const info = qcluster('info', '--json')
    expect(await info.exit, info.log()).to.deep.equal([0, null])
    expect(JSON.parse(info.log()).clusters[0]).to.include({ pid: cluster.process.pid })
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
  })
})
