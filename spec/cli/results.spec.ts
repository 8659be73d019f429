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
    expect(await ids('--state', 'failure')).to.equal('b')
    expect(await ids('--state', 'cancelled')).to.equal('')
    expect((await qcluster('tasks', 'list', '--state', 'sleepy')).code).to.equal(2)
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
    const nobody = await qcluster('tasks', 'show', 'nobody')
    expect(nobody).to.include({ code: 1, stdout: '' })
    expect(nobody.stderr).to.match(/^No task named "nobody" .* by its id only\.\n$/)
  })

  it('shows a task that waits as queued, and an id that nobody knows as unknown', async () => {
    const unknown = await qcluster('tasks', 'show', id, '--json')
    expect(unknown).to.include({ code: 1, stdout: '' })
    expect(unknown.stderr).to.match(new RegExp(`^The task "${id}" is unknown: `))
    const waiting = (await qcluster('enqueue', 'tasks.add', '--delay', '60')).stdout.trim()
    expect(await qcluster('tasks', 'show', waiting)).to.deep.equal({
      ...{ code: 0, stdout: `id     ${waiting}\nstate  queued\n`, stderr: '' },
    })
    const { code, stdout } = await qcluster('tasks', 'show', waiting, '--json')
    expect([code, JSON.parse(stdout)]).to.deep.equal([0, { id: waiting, state: 'queued' }])
  })

  it('retries, cancels and deletes all that it can, and says of what it cannot why', async () => {
    await store.save([failure(), success()])
    const other = 'c'.repeat(32)
    const told = async (...args: string[]) => {
      const { code, stdout, stderr } = await qcluster('tasks', ...args)
      return [
        code,
        stdout.trim(),
        stderr
          .trim()
          .split('\n')
          .map((line) => line.slice(0, 24)),
      ]
    }

    expect(await told('retry', other, 'sum', 'bang')).to.deep.equal([
      ...[1, 'enqueued 1', ['Nothing is saved of the ', 'Expected a task that has']],
    ])
    expect(await told('cancel', other, 'sum', 'nobody')).to.deep.equal([
      ...[1, 'cancelled 1', ['The task "sum" has ended', 'Expected the id of a tas']],
    ])
    expect(await told('cancel', '--group', 'g')).to.deep.equal([0, 'cancelled the group g', ['']])
    expect((await told('cancel', '--group', 'g', other))[0]).to.equal(2)
    expect(await told('delete', other, 'bang')).to.deep.equal([
      ...[1, 'deleted 1', ['Nothing is saved of the ']],
    ])
    const { code, stdout } = await qcluster('tasks', 'delete', 'sum', 'nobody', '--json')
    const { deleted, failed } = JSON.parse(stdout)
    expect([code, deleted, failed.map(({ task }: { task: string }) => task)]).to.deep.equal([
      ...[1, ['sum'], ['nobody']],
    ])
    expect((await qcluster('tasks', 'retry')).code).to.equal(2)
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
    const pieces = ['--group', 'g', '--iter-count', '1', '--iter-cached', '60', '--cached', '0', '--sync']
    const backOff = ['--retry-factor', '2', '--retry-cap', '60', '--retry-jitter', '0.5']
    expect(await qcluster('enqueue', 'tasks.add', '1', '2', ...pieces, ...backOff)).to.include({ code: 0 })
    const whole = JSON.parse((await qcluster('result', 'g', '--json')).stdout)
    expect(whole).to.deep.include({ name: 'g', result: [3] })
    expect(Date.parse(whole.expiresAt) - Date.parse(whole.stoppedAt)).to.equal(60_000)
    expect((await qcluster('enqueue', 'tasks.add', '--retry-jitter', '2')).stderr).to.include('from 0 to 1')
    const wrong = await qcluster('enqueue', 'tasks.add', '--delay', '60', '--run-at', '2100-01-01')
    expect(wrong.code).to.not.equal(0)
    expect(wrong.stderr).to.include('delay and runAt say the same thing')
  })
})
