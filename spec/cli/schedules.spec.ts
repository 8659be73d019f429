import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'

const bin = join(import.meta.dirname, '..', '..', 'dist', 'lib', 'cli', 'bin.js')

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

describe('the command line, of schedules', function () {
  this.timeout(90_000)
  let folder: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-cli-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  function schedules(...args: string[]): Promise<Ran> {
    const { promise, resolve } = Promise.withResolvers<Ran>()
    execFile(process.execPath, [bin, 'schedules', ...args], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: (error?.code as number | undefined) ?? 0, stdout, stderr }),
    )
    return promise
  }

  const report = ['add', 'report', 'send', 'a', '{"b":1}', '--cron', '30 9 * * 1-5', '--time-zone', 'UTC']

  it('makes, shows and changes them', async () => {
    const added = await schedules(...report)
    expect(added).to.include({ code: 0, stderr: '' })
    expect(added.stdout).to.match(
      /^Name +Task +When[^\n]+\nreport +send +30 9 \* \* 1-5 \(UTC\) +active +always +\d{4}/,
    )

    const [preview, paused, run] = await Promise.all([
      schedules('preview', 'report', '--count', '2'),
      schedules('pause', 'report'),
      schedules('run', 'report'),
    ])
    expect(preview?.stdout).to.match(/^(\d{4}-\d\d-\d\dT09:30:00\.000Z\n){2}$/)
    expect(paused?.stdout).to.include('paused')
    const listed = await schedules('list', '--json')
    expect(JSON.parse(listed.stdout)).to.have.length(1)
    expect(JSON.parse(listed.stdout)[0]).to.include({
      ...{ name: 'report', func: 'send', type: 'cron', state: 'paused', lastTask: run?.stdout.trim() },
    })

    expect((await schedules('resume', 'report')).stdout).to.include('active')
    expect(await schedules('remove', 'report')).to.include({ code: 0 })
    expect((await schedules('list')).stdout).to.equal('No schedule in this queue.\n')
  })

  it('refuses what is wrong, and names it', async () => {
    await schedules(...report)
    const [twice, pattern, unknown, number, time] = await Promise.all([
      schedules(...report),
      schedules('add', 'other', 'send', '--cron', '61 * * * *'),
      schedules('pause', 'other'),
      schedules('add', 'other', 'send', '--minutes', 'many'),
      schedules('add', 'other', 'send', '--next-run', 'tomorrow'),
    ])
    expect([twice, pattern, unknown, number, time].map((ran) => ran?.code)).to.deep.equal([2, 2, 2, 2, 2])
    expect(twice?.stderr).to.include('a schedule "report" already')
    expect(pattern?.stderr).to.include('"61 * * * *" is no cron pattern')
    expect(unknown?.stderr).to.include('There is no schedule "other"')
    expect(number?.stderr).to.include('whole number')
    expect(time?.stderr).to.include('It must be a time')
  })
})
