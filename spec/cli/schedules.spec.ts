import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { qcluster } from './terminal.ts'

describe('the command line, of schedules', function () {
  this.timeout(90_000)
  let folder: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-cli-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  const schedules = (...args: string[]) => qcluster(folder, ['schedules', ...args])

  const report = ['add', 'report', 'send', 'a', '{"b":1}', '--cron', '30 9 * * 1-5', '--time-zone', 'UTC']

  it('makes, shows and changes them', async () => {
    const added = await schedules(...report)
    expect(added).to.include({ code: 0, stderr: '' })
    expect(added.stdout).to.match(
      /^Name +Task +When[^\n]+\nreport +send +30 9 \* \* 1-5 \(UTC\) +active +always +\d{4}/,
    )

    const preview = await schedules('preview', 'report', '--count', '2')
    expect(preview.stdout).to.match(/^(\d{4}-\d\d-\d\dT09:30:00\.000Z\n){2}$/)
    expect((await schedules('pause', 'report')).stdout).to.include('paused')
    const run = await schedules('run', 'report')
    const listed = await schedules('list', '--json')
    expect(JSON.parse(listed.stdout)).to.have.length(1)
    expect(JSON.parse(listed.stdout)[0]).to.include({
      ...{ name: 'report', func: 'send', type: 'cron', state: 'paused', lastTask: run.stdout.trim() },
    })

    expect((await schedules('resume', 'report')).stdout).to.include('active')
    expect(await schedules('remove', 'report')).to.include({ code: 0 })
    expect((await schedules('list')).stdout).to.equal('No schedule in this queue.\n')
  })

  it('refuses what is wrong, and names it', async () => {
    await schedules(...report)
    for (const [args, words] of [
      [report, 'a schedule "report" already'],
      [['add', 'other', 'send', '--cron', '61 * * * *'], '"61 * * * *" is no cron pattern'],
      [['pause', 'other'], 'There is no schedule "other"'],
      [['preview', 'report', '--count', '0'], 'It must be a whole number above 0'],
      [['add', 'other', 'send', '--minutes', 'many'], 'whole number'],
      [['add', 'other', 'send', '--next-run', 'tomorrow'], 'It must be a time'],
    ] as const) {
      const { code, stderr } = await schedules(...args)
      expect(code, words).to.equal(2)
      expect(stderr).to.include(words)
    }
  })
})
