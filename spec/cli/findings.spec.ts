import { expect } from 'chai'
import { exitCodeOf, type Finding, findingsOf } from '../../lib/cli/findings.ts'
import { type Options, resolveConfig } from '../../lib/config.ts'
import { optionNames } from '../../lib/options.ts'
import type { TaskDefinition } from '../../lib/tasks/define.ts'

const QUIET: Options = { secretKey: 'a secret that nobody guesses', timeout: 20, workers: 2 }

async function found(options: Options, tasks: readonly TaskDefinition[] = []): Promise<Finding[]> {
  const config = await resolveConfig({ ...QUIET, ...options }, { file: null, env: {} })
  return findingsOf({ ...config, tasks })
}

describe('the findings of a check', () => {
  it('are none where all fits', async () => {
    expect(await found({})).to.deep.equal([])
  })

  const cases: [string, string, Options, RegExp, RegExp][] = [
    ['note', 'no-timeout', { timeout: null }, /keeps its worker for ever/, /Set timeout/],
    ['warning', 'grace-under-timeout', { timeout: 60 }, /60 s .* 25 s/, /Set grace to 60 or more/],
    [
      'warning',
      'endless-retries',
      { maxAttempts: 0, retry: 0, timeout: null },
      /without a pause/,
      /Set retry/,
    ],
    [
      'note',
      'retry-under-timeout',
      { timeout: 10, retry: 5 },
      /after 5 s .*timeout 10 s/,
      /retry to timeout/,
    ],
    [
      'warning',
      'consumer-timeout',
      { broker: 'amqp://localhost', timeout: 900, grace: 900, retry: 900 },
      /900 s \(timeout\).* gives a consumer 1800 s/,
      /consumer_timeout = 1860000 or more/,
    ],
    ['warning', 'milliseconds', { retry: 60_000 }, /16.7 hours/, /Set retry to 60,/],
    [
      'warning',
      'queue-limit-raised',
      { queueLimit: 2, concurrency: 3 },
      /2 workers × 3 tasks .* need 7/,
      /to 7/,
    ],
    ['warning', 'many-workers', { workers: 5000 }, /5000 workers take about 300000 MB/, /concurrency/],
    ['warning', 'few-deliveries', { maxDeliveries: 2 }, /2 is under maxAttempts 3/, /default of 50/],
    [
      'warning',
      'short-secret',
      { secretKey: ['a secret that nobody guesses', 'hush'] },
      /fewer than 16/,
      /randomBytes/,
    ],
    [
      'note',
      'separate-cluster',
      { altClusters: { long: { dataDir: 'x' }, mail: {} } },
      /altClusters\.long/,
      /'long'/,
    ],
  ]
  for (const [severity, code, options, meaning, remedy] of cases)
    it(`tell ${code} and what to do about it`, async () => {
      const finding = (await found(options)).find((one) => one.code === code)
      expect(finding).to.include({ severity })
      expect(finding?.message).to.match(meaning)
      expect(finding?.remedy).to.match(remedy)
      expect(JSON.stringify(finding)).not.to.contain('hush')
    })

  it('look at the limits of each task', async () => {
    const [finding, ...others] = await found({}, [{ name: 'report', timeout: 60 }, { name: 'add' }])
    expect(finding).to.include({ code: 'grace-under-task-timeout' })
    expect(finding?.message).to.contain('"report" may take 60 s')
    expect(others).to.deep.equal([])
  })

  it('name only options that exist', async () => {
    for (const [, , options] of cases) expect(optionNames).to.include.members(Object.keys(options))
  })
})

describe('the exit code of a check', () => {
  const finding = (exitCode?: number): Finding => ({
    ...{ severity: 'error', code: 'x', message: '', remedy: '' },
    ...(exitCode !== undefined && { exitCode }),
  })

  it('is 0 for warnings, else that of what a start would meet first', () => {
    expect(exitCodeOf([])).to.equal(0)
    expect(exitCodeOf([finding()])).to.equal(0)
    expect(exitCodeOf([finding(), finding(4)])).to.equal(4)
    expect(exitCodeOf([finding(4), finding(3)])).to.equal(3)
    expect(exitCodeOf([finding(4), finding(3), finding(2)])).to.equal(2)
  })
})
