import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { createStore } from '../../lib/stores/index.ts'
import type { Outcome, Store } from '../../lib/stores/store.ts'
import { encode } from '../../lib/tasks/codec.ts'
import { outcomeOf } from '../contracts/material.ts'
import { qcluster as run } from './terminal.ts'

describe('the command line, of results', function () {
  this.timeout(60_000)
  let folder: string
  let store: Store

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-cli-'))
    store = await createStore({ dataDir: join(folder, '.qcluster') })
    await store.connect()
  })
  afterEach(async () => {
    await store.close()
    await rm(folder, { recursive: true })
  })

  const qcluster = (...args: string[]) => run(folder, args)

  const id = 'a'.repeat(32)
  const success = (given: Partial<Outcome> = {}) => outcomeOf(id, { name: 'sum', ...given })
  const failure = (given: Partial<Outcome> = {}) =>
    outcomeOf('b'.repeat(32), {
      ...{ name: 'bang', func: 'boom', success: false, fate: 'deadLetter' },
      ...{
        result: '{"name":"Error","message":"boom\\u001b[31m","stack":"Error: boom\\u001b[31m\\n  at boom"}',
      },
      ...given,
    })

  it('prints what a task returned, by its id or its name', async () => {
    await store.save([success({ result: encode('text') })])

    expect(await qcluster('result', id)).to.deep.equal({ code: 0, stdout: 'text\n', stderr: '' })
    expect(await qcluster('result', 'sum')).to.include({ code: 0, stdout: 'text\n' })
  })

  it('prints what JSON cannot say as Node shows it', async () => {
    await store.save([success({ result: encode(new Map([[1, 2n]])) })])

    expect(await qcluster('result', id)).to.include({ stdout: 'Map(1) { 1 => 2n }\n' })
    const { stdout } = await qcluster('result', id, '--json')
    expect(JSON.parse(stdout)).to.deep.include({ id, state: 'success', result: [[1, '2']] })
  })

  it('waits for an outcome when it is told to', async () => {
    const waiting = qcluster('result', 'sum', '--wait=20')
    await store.save([success()])

    expect(await waiting).to.deep.equal({ code: 0, stdout: '3\n', stderr: '' })
  })

  it('says on stderr why there is no result, and ends with exit code 1', async () => {
    await store.save([failure({ fate: 'retry' })])

    const failed = await qcluster('result', 'bang')
    expect(failed).to.deep.equal({ code: 1, stdout: '', stderr: 'boom\\u001b[31m\n' })
    const early = await qcluster('result', 'bang', '--final')
    expect(early).to.include({ code: 1, stdout: '' })
    expect(early.stderr).to.match(/^The task "bang" had no outcome within 0 ms.*\n$/)
    expect(await qcluster('result', 'nobody', '--wait=0.1', '--json')).to.include({
      code: 1,
      stdout: 'null\n',
    })
  })

  it('refuses a wait that is no time with exit code 2', async () => {
    expect(await qcluster('result', id, '--wait=soon')).to.include({ code: 2, stdout: '' })
  })

  it('lists outcomes, the newest first, by group, function, state and number', async () => {
    await store.save([success({ group: 'g' }), failure({ group: 'g' }), outcomeOf('c'.repeat(32))])
    const ids = async (...flags: string[]) => {
      const { stdout } = await qcluster('tasks', 'list', '--json', ...flags)
      return (JSON.parse(stdout) as { id: string }[]).map(({ id: one }) => one[0]).join('')
    }

    expect(await ids()).to.equal('cba')
    expect(await ids('--group', 'g')).to.equal('ba')
    expect(await ids('--func', 'boom')).to.equal('b')
    expect(await ids('--state', 'success', '--limit', '1')).to.equal('c')
    const { stdout } = await qcluster('tasks', 'list')
    const lines = stdout.trimEnd().split('\n')
    expect(lines[0]).to.match(/^Id +Name +Func +Group +State +Attempt +Stopped +Seconds$/)
    expect(lines).to.have.lengthOf(4)
  })

  it('shows all of one task, and lets no error steer the terminal', async () => {
    await store.save([failure()])
    const { code, stdout } = await qcluster('tasks', 'show', 'bang')

    expect(code).to.equal(0)
    expect(stdout)
      .to.match(/^name +bang$/m)
      .and.to.match(/^error +Error: boom\\u001b\[31m$/m)
    expect(await qcluster('tasks', 'show', 'nobody')).to.include({ code: 1, stdout: '' })
  })

  it('enqueues with what the flags say of the task', async () => {
    await writeFile(join(folder, 'tasks.mjs'), 'export const add = (a, b) => a + b')
    const flags = ['--group', 'sums', '--task-name', 'sum', '--cached', '60', '--timeout', '5']
    const ran = await qcluster('enqueue', 'tasks.add', '1', '2', ...flags, '--sync', '--wait=0', '--json')
    expect(ran).to.include({ code: 0, stderr: '' })
    const record = JSON.parse(ran.stdout)
    expect(record).to.include({ name: 'sum', group: 'sums', result: 3, state: 'success' })
    expect(Date.parse(record.expiresAt) - Date.parse(record.stoppedAt)).to.equal(60_000)

    const later = ['enqueue', 'tasks.add', '--delay', '60', '--unique-key', 'a', '--json']
    const one = JSON.parse((await qcluster(...later)).stdout)
    expect(one).to.include({ isNew: true })
    expect(JSON.parse((await qcluster(...later)).stdout)).to.include({ id: one.id, isNew: false })
    const wrong = await qcluster('enqueue', 'tasks.add', '--delay', '60', '--run-at', '2100-01-01')
    expect(wrong.code).to.not.equal(0)
    expect(wrong.stderr).to.include('delay and runAt say the same thing')
  })
})
