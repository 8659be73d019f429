import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { NoCurrentTaskError, TaskShutdownError, TaskTimeoutError } from '../../lib/errors.ts'
import { currentTask, Execution, type TaskContext } from '../../lib/tasks/current.ts'

const header = { id: 'a'.repeat(32), run: 2, attempt: 1, name: 'four words', func: 'add', enqueuedAt: 1 }
const execution = (name = 'n') => new Execution({ ...header, name }, null)

describe('currentTask()', () => {
  it('tells the run that it is called in', () => {
    const run = new Execution(header, 1234)
    const { id, name, func, run: copy, attempt, deadline, signal } = run.call(currentTask, [])
    expect({ id, name, func, run: copy, attempt, deadline }).to.deep.equal({
      ...{ id: header.id, name: 'four words', func: 'add', run: 2, attempt: 1, deadline: 1234 },
    })
    expect(signal.aborted).to.equal(false)
  })

  it('tells each of several runs apart, after promises and timers too', async () => {
    const tell = async () => {
      await sleep(1)
      return new Promise<string>((resolve) => setImmediate(() => resolve(currentTask().name)))
    }
    const runs = ['one', 'two', 'three'].map((name) => execution(name).call(tell, []))
    expect(await Promise.all(runs)).to.deep.equal(['one', 'two', 'three'])
  })

  it('refuses whoever is no part of a run', () => {
    expect(currentTask).to.throw(NoCurrentTaskError, 'Expected currentTask() to be called by a task')
  })

  it('is known to another copy of this package in the same process', async () => {
    const other = (await import(
      `${'../../lib/tasks/current.ts'}?copy`
    )) as typeof import('../../lib/tasks/current.ts')
    expect(other.currentTask).not.to.equal(currentTask)
    const run = execution()
    expect(run.call(other.currentTask, [])).to.equal(run)
  })

  it('lets its functions be taken apart', () => {
    const told: unknown[] = []
    const run = new Execution(header, null, (...progress) => told.push(progress))
    run.call(() => {
      const { progress } = currentTask()
      progress(0.4, 'page 4 of 10')
      progress(7)
      progress(Number.NaN, 'no share')
    }, [])
    expect(told).to.deep.equal([
      [0.4, 'page 4 of 10'],
      [1, ''],
    ])
  })

  it('passes on the arguments, the result and what is thrown', () => {
    expect(execution().call((a, b) => [a, b], [1, 2])).to.deep.equal([1, 2])
    const fail = () => {
      throw new RangeError('no')
    }
    expect(() => execution().call(fail, [])).to.throw(RangeError, 'no')
  })
})

describe('the signal of a run', () => {
  it('is aborted with a reason that says why', () => {
    const run = execution()
    const { signal }: TaskContext = run
    run.abort(new TaskTimeoutError({ seconds: 0.25 }))
    expect(signal.aborted).to.equal(true)
    expect(signal.reason).to.be.instanceOf(TaskTimeoutError)
    expect(signal.reason).to.include({ why: 'timeout', code: 'QCLUSTER_TASK_TIMEOUT' })
    expect(signal.reason?.message).to.equal('Task exceeded maximum timeout value (0.25 seconds)')
  })

  it('is aborted already where it is asked for too late', () => {
    const run = execution()
    run.abort(new TaskShutdownError())
    expect(run.signal.aborted).to.equal(true)
    expect(run.signal.reason?.why).to.equal('shutdown')
  })

  it('keeps its first reason', () => {
    const run = execution()
    run.abort(new TaskTimeoutError({ seconds: 1 }))
    run.abort(new TaskShutdownError())
    expect(run.signal.reason?.why).to.equal('timeout')
    expect(run.abortedBy?.why).to.equal('timeout')
  })
})
