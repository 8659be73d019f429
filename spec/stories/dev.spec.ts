import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type Options } from 'qcluster'
import { BIN } from './stage.ts'

const TASKS = `import { version } from './version.mjs'
export const say = () => version
export const fail = () => { throw new Error('no') }`

describe('a cluster of somebody who writes tasks', function () {
  this.timeout(120_000)
  let folder: string
  let options: Options
  let client: Client
  let started: ChildProcess | undefined

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-dev-'))
    const tasks = [join(folder, 'tasks.mjs')]
    options = { name: 'dev', tasks, workers: 2, dataDir: folder, logLevel: 'silent', retry: 0.1 }
    client = new Client(options)
    await writeFile(tasks[0] as string, TASKS)
    await setVersion('"one"')
  })

  afterEach(async () => {
    if (started?.exitCode === null) {
      started.kill('SIGTERM')
      await once(started, 'close')
    }
    started = undefined
    await client.close()
    await rm(folder, { recursive: true })
  })

  const setVersion = (version: string) =>
    writeFile(join(folder, 'version.mjs'), `export const version = ${version}`)

  it('works off the queue and stops by itself when it runs once, retries included', async () => {
    const said = await asyncTask('tasks.say', [] as never[], { client })
    const failed = await asyncTask('tasks.fail', [] as never[], { client })
    const cluster = new Cluster({ ...options, runOnce: true })
    await cluster.start()
    await cluster.ended()
    expect(cluster.exitCode).to.equal(0)
    expect(await said.result()).to.equal('one')
    expect(await failed.fetch({ final: true })).to.include({ success: false, attempt: 3 })
  })

  it('runs what is written, and the old code while the new one cannot be loaded', async () => {
    const child = spawn(
      process.execPath,
      [
        BIN,
        'dev',
        '--name',
        'dev',
        '--data-dir',
        folder,
        '--workers',
        '2',
        '--tasks',
        join(folder, 'tasks.mjs'),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    started = child
    let log = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
    const lines = async (pattern: RegExp, count: number) => {
      while ((log.match(pattern)?.length ?? 0) < count) await once(child.stderr, 'data')
    }
    const say = async () => (await asyncTask('tasks.say', [] as never[], { client })).result({ wait: 20_000 })
    await lines(/running\./g, 1)
    expect(await say()).to.equal('one')
    await setVersion('"two"')
    await lines(/recycled worker/g, 2)
    // The line tells that the next one is ready; the old one may take a task until it has left.
    await lines(/stopped doing work/g, 2)
    expect(await say()).to.equal('two')
    await setVersion('')
    await lines(/the old workers go on/g, 1)
    expect(await say()).to.equal('two')
    child.kill('SIGTERM')
    expect(await once(child, 'close')).to.deep.equal([0, null])
  })
})
