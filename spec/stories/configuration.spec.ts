import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import { qcluster, type Ran } from '../cli/terminal.ts'
import { BIN } from './stage.ts'

describe('the configuration on the command line', function () {
  this.timeout(60_000)
  let folder: string

  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'qcluster-configuration-')))
  })
  afterEach(() => rm(folder, { recursive: true }))

  const write = (name: string, text: string) => writeFile(join(folder, name), text)

  const run = (args: readonly string[], env: Record<string, string> = {}) =>
    qcluster(folder, args, { PATH: process.env.PATH, ...env })

  /** The same in a process of its own: what loads task modules ends its process, or starts others. */
  function runAlone(args: readonly string[]): Promise<Ran> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [BIN, ...args],
        { cwd: folder, env: { PATH: process.env.PATH } },
        // One that a signal ends has no exit code.
        (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
      )
    })
  }

  describe('shown by info --config', () => {
    const CONFIG = `export default {
      workers: 2, secretKey: 'hush', altClusters: { long: { timeout: 60, secretKey: 'hush hush' } } }`

    it('tells each value, where it comes from and no secret', async () => {
      await write('qcluster.config.mjs', CONFIG)
      const args = ['info', '--config', '--json', '--data-dir', 'data']
      const { code, stdout } = await run(args, { Q_CLUSTER_NAME: 'long', QCLUSTER_GRACE: '5' })
      const { configFile, options } = JSON.parse(stdout)
      const file = join(folder, 'qcluster.config.mjs')

      expect(code).to.equal(0)
      expect(configFile).to.equal(file)
      expect(options.name).to.deep.equal({
        value: 'long',
        origin: 'env',
        place: 'the environment variable Q_CLUSTER_NAME',
      })
      expect(options.grace).to.deep.equal({
        value: 5,
        origin: 'env',
        place: 'the environment variable QCLUSTER_GRACE',
      })
      expect(options.dataDir).to.deep.equal({
        value: join(folder, 'data'),
        origin: 'flag',
        place: 'the flag --data-dir',
      })
      expect(options.workers).to.deep.equal({ value: 2, origin: 'file', place: file })
      expect(options.timeout).to.deep.equal({
        value: 60,
        origin: 'altClusters',
        place: `altClusters.long of ${file}`,
      })
      expect(options.retry).to.deep.equal({ value: 60, origin: 'default' })
      expect(stdout).not.to.contain('hush')
    })

    it('is a line an option for people', async () => {
      await write('qcluster.config.mjs', CONFIG)
      const { stdout } = await run(['info', '--config'])
      expect(stdout).to.match(/^workers +2 +\/.*qcluster\.config\.mjs$/m)
      expect(stdout).to.match(/^retry +60 +default$/m)
      expect(stdout).to.match(/^secretKey +\["••••"\] /m)
      expect(stdout).not.to.contain('hush')
    })

    it('makes nothing', async () => {
      await run(['info', '--config'])
      expect(existsSync(join(folder, '.qcluster'))).to.equal(false)
    })
  })

  describe('checked by check', () => {
    const report = async (...args: string[]) => {
      const { code, stdout } = await runAlone(['check', '--json', ...args])
      const { ok, exitCode, findings } = JSON.parse(stdout)
      expect({ ok, exitCode }).to.deep.equal({ ok: code === 0, exitCode: code })
      return { code, findings, codes: findings.map((one: { code: string }) => one.code) }
    }

    it('is fine when a cluster can be started, and nothing was made', async () => {
      await write('tasks.mjs', 'export const f = () => 1\nsetInterval(() => {}, 1000)')
      const { code, stdout } = await runAlone(['check', '--timeout', '20'])
      expect(code).to.equal(0)
      expect(stdout).to.match(/^A cluster can be started\. Node \d+.*, SQLite \d+.*\.\n$/)
      expect(existsSync(join(folder, '.qcluster'))).to.equal(false)
    })

    it('tells which broker and store it has reached', async () => {
      await write('tasks.mjs', 'export const f = () => 1')
      await mkdir(join(folder, '.qcluster'), { mode: 0o700 })
      const { stdout } = await runAlone(['check', '--timeout', '20'])
      expect(stdout).to.match(/ The broker is SQLite \d.*\. The store is SQLite \d.*\.\n$/)
    })

    it('is fine with warnings, which say what they mean', async () => {
      await write('tasks.mjs', 'export const f = () => 1')
      const { code, codes } = await report('--timeout', '60')
      expect(code).to.equal(0)
      expect(codes).to.deep.equal(['grace-under-timeout'])
    })

    it('is wrong with every fault of the options: 2', async () => {
      const { code, findings } = await report('--workers', 'many', '--grace', 'soon')
      expect(code).to.equal(2)
      expect(findings.map((one: { message: string }) => one.message)).to.deep.equal([
        'workers: expected a whole number of at least 1, got "many". Correct it in the flag --workers.',
        'grace: expected a number of seconds, 0 or more, got "soon". Correct it in the flag --grace.',
      ])
    })

    it('is wrong with the line of a config file that cannot be loaded: 2', async () => {
      await write('qcluster.config.ts', 'const a: number = 1\n\nexport default { workers: 1,, }')
      const { code, findings } = await report()
      expect(code).to.equal(2)
      expect(findings[0].message).to.contain('qcluster.config.ts cannot be loaded, line 3: ')
    })

    it('is wrong with a broker that cannot be reached, and the tasks are looked at all the same: 3', async () => {
      await write('tasks.mjs', 'export const a = 1')
      await mkdir(join(folder, '.qcluster'), { mode: 0o700 })
      await write('.qcluster/queue.db', 'this is not a database at all'.repeat(50))
      const { code, codes } = await report()
      expect(code).to.equal(3)
      expect(codes).to.include.members(['unreachable', 'tasks'])
    })

    it('is wrong with tasks that cannot be loaded: 4', async () => {
      await write('tasks.mjs', 'throw new Error("out of tea")')
      const { code, findings } = await report()
      expect(code).to.equal(4)
      expect(findings[0]).to.include({ severity: 'error', code: 'tasks' })
      expect(findings[0].message).to.contain('tasks.mjs cannot be loaded, line 1: Error: out of tea')
    })
  })

  describe('with files of a newer version', () => {
    for (const name of ['queue.db', 'results.db'])
      it(`refuses ${name} in a sentence, with exit code 3, in start, check and enqueue`, async () => {
        await write('tasks.mjs', 'export const f = () => 1')
        await run(['enqueue', 'any'])
        await mkdir(join(folder, '.qcluster'), { recursive: true, mode: 0o700 })
        const database = new DatabaseSync(join(folder, '.qcluster', name))
        database.exec('pragma user_version = 99')
        database.close()
        const commands = [['start'], ['check'], ...(name === 'queue.db' ? [['enqueue', 'any']] : [])]
        for (const command of commands) {
          const { code, stdout, stderr } = await runAlone(command)
          expect(code, command[0]).to.equal(3)
          expect(stdout + stderr).to.match(
            /was made by a newer qcluster \(file version 99, this one knows \d+\)/,
          )
        }
      })
  })

  it('tells once why a start failed', async () => {
    await write('tasks.mjs', 'throw new Error("out of tea")')
    const told = async (...flags: string[]) => {
      const { code, stderr } = await runAlone(['start', '--workers', '1', ...flags])
      expect(code, stderr).to.equal(4)
      // The stack below the line of the log begins with the sentence, too.
      return stderr.match(/^\S.*cannot be loaded, line 1/gm)?.length
    }
    expect(await told()).to.equal(1)
    expect(await told('--log-level', 'silent')).to.equal(1)
  })

  it('prints its version', async () => {
    const { code, stdout } = await run(['--version'])
    expect(code).to.equal(0)
    expect(stdout).to.match(/^\d+\.\d+\.\d+\n$/)
  })

  it('shows what is configured by any flag of start', async () => {
    const { code, stdout } = await run(['info', '--config', '--json', '--timeout', '7', '--workers', '3'])
    expect(code).to.equal(0)
    const { timeout, workers } = JSON.parse(stdout).options
    expect([timeout, workers]).to.deep.equal([
      { value: 7, origin: 'flag', place: 'the flag --timeout' },
      { value: 3, origin: 'flag', place: 'the flag --workers' },
    ])
  })

  it('refuses an unknown flag and an unknown command, naming the nearest: 2', async () => {
    expect(await run(['start', '--wrokers', '2'])).to.include({
      code: 2,
      stderr: "error: unknown option '--wrokers'\n(Did you mean --workers?)\n",
    })
    expect((await run(['strat'])).stderr).to.contain('Did you mean start?')
  })

  it('refuses hostile task names, and shows a terminal nothing of them that it would obey: 2', async () => {
    for (const name of ['a\u001b[2Jb', 'a\u009b2Jb', 'a\nb', '\ufffd', 'x'.repeat(10_000), '']) {
      const { code, stderr } = await run(['enqueue', name])
      expect(code, name).to.equal(2)
      expect(stderr).to.match(/^The name of a task must be 1 to 200 characters.*\n$/)
      expect(stderr)
        .to.have.length.below(300)
        .and.not.match(/[^\P{Cc}\n]/u)
    }
  })

  it('takes no secret from the command line, where everybody sees it', async () => {
    expect(await run(['start', '--secret-key', 'x'])).to.include({ code: 2 })
  })
})
