import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import { asyncTask, Client, SerializationError } from 'qcluster'
import { BIN, processesBelow, Stage } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { defineTask } from 'qcluster'
export const tick = defineTask('tick', () => appendFileSync('ledger', '.\\n'))
export const length = defineTask('length', (text) => text.length)
export const echo = defineTask('echo', (value) => value)
export const shout = defineTask({ name: 'shout', maxAttempts: 1 }, (text) => { throw new Error(text) })`

const PRODUCER = `import { asyncTask, close } from 'qcluster'
const many = Array.from({ length: 1_000 })
for (let i = 0; i < 100; i++) await Promise.all(many.map(() => asyncTask('tick')))
await close()`

/** What a terminal would obey, what ends a line or a text, and what is no character at all. */
const HOSTILE = '\u001b[2J\u009b31m\u0000\r\nERROR forged\u202e\u2028\ud800 😈 "\\'

describe('a cluster with bad input', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  let client: Client

  beforeEach(() => {
    client = new Client({ dataDir: stage.dataDir })
  })
  afterEach(() => client.close())

  it('runs all of 100,000 tasks that were queued while it was down, within bounded memory', async () => {
    const producer = stage.script(PRODUCER)
    expect(await producer.exit, producer.log()).to.deep.equal([0, null])
    const cluster = stage.qcluster('start', '--run-once', '--workers', '2', '--log-level', 'warn')
    const largest = await largestUntilExit(cluster.process.pid as number, once(cluster.process, 'exit'))
    expect(await cluster.exit, cluster.log()).to.deep.equal([0, null])
    expect(await stage.lines('ledger')).to.have.length(100_000)
    for (const [process, megabytes] of largest) expect(megabytes, `process ${process}`).to.be.below(250)
  }).timeout(300_000)

  it('refuses an argument of 50 MB at the caller, and takes it where that is allowed', async () => {
    const huge = 'x'.repeat(50_000_000)
    const refused = await asyncTask('length', [huge], { client }).catch((error: unknown) => error)
    expect(refused).to.be.instanceOf(SerializationError)
    expect((refused as Error).message).to.match(/The arguments of "length" .*maxPayload/)
    expect((refused as Error).message).to.have.length.below(300)

    await using generous = new Client({ dataDir: stage.dataDir, maxPayload: 60_000_000 })
    stage.environment = { ...process.env, QCLUSTER_MAX_PAYLOAD: '60000000' }
    const cluster = stage.qcluster('start', '--workers', '1')
    await cluster.line(/running\./)
    const task = await asyncTask('length', [huge], { client: generous })
    expect(await task.result({ wait: 60_000 })).to.equal(huge.length)
  })

  it('gives hostile texts back as they are, and lets none of them write into its log', async () => {
    const cluster = stage.qcluster('start', '--workers', '1')
    await cluster.line(/running\./)
    const echo = await asyncTask('echo', [HOSTILE], { client })
    expect(await echo.result({ wait: 30_000 })).to.equal(HOSTILE)
    const failed = await (await asyncTask('shout', [HOSTILE], { client })).fetch({ wait: 30_000 })
    expect(failed?.error?.message).to.equal(HOSTILE)
    await cluster.line(/Failed 'shout'/)
    expect(cluster.log()).not.to.match(/[^\P{Cc}\n]/u)
    expect(cluster.log()).not.to.match(/^ERROR forged/m)
  })

  it('refuses a name that is not UTF-8 on the command line', async function () {
    if (process.platform === 'win32') return this.skip()
    const script = `exec "$0" "$1" enqueue "$(printf 'na\\377me')"`
    const { status, stderr } = spawnSync('sh', ['-c', script, process.execPath, BIN], {
      cwd: stage.folder,
      encoding: 'utf8',
    })
    expect(status).to.equal(2)
    expect(stderr).to.match(/^The name of a task must be 1 to 200 characters/)
  })
})

/** The most megabytes that each process of a cluster had, by pid. */
async function largestUntilExit(cluster: number, exit: Promise<unknown>): Promise<Map<number, number>> {
  const largest = new Map<number, number>()
  const look = () => {
    for (const pid of [cluster, ...processesBelow(cluster)])
      largest.set(pid, Math.max(largest.get(pid) ?? 0, megabytesOf(pid)))
  }
  const looking = setInterval(look, 500)
  await exit
  clearInterval(looking)
  return largest
}

/** 0 when it has ended meanwhile. */
function megabytesOf(pid: number): number {
  try {
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', `${pid}`], { encoding: 'utf8' })) / 1024
  } catch {
    return 0
  }
}
