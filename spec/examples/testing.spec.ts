import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect } from 'chai'
import { root } from './example.ts'

describe('examples/testing', () => {
  it('tests a task through an hour of delay, two failures and a hook, and a schedule through a change of the clocks', () => {
    const test = join(root, 'examples', 'testing', 'main.test.ts')
    // Of this test runner, whatever it is a child of.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    expect(execFileSync(process.execPath, ['--test', test], { encoding: 'utf8', env })).to.match(/pass 2\n/)
  }).timeout(60_000)
})
