import { expect } from 'chai'
import { Progresses } from '../../lib/roles/progresses.ts'
import type { RunProgress } from '../../machines/worker.ts'

describe('how far the runs of a worker are', () => {
  const run = (taskId: string, progress: number): RunProgress => ({ taskId, progress, message: '' })

  /** Resolves with what is told next. */
  function heard() {
    const told: (readonly RunProgress[])[] = []
    let news = Promise.withResolvers<void>()
    const progresses = new Progresses((runs) => {
      told.push(runs)
      news.resolve()
      news = Promise.withResolvers()
    })
    return { progresses, told, next: () => news.promise }
  }

  it('is told at once, and then as it is in the end, however often it is said', async () => {
    const { progresses, told, next } = heard()
    progresses.say('a/1', run('a', 0))
    expect(told).to.deep.equal([[run('a', 0)]])
    for (let n = 1; n <= 1_000; n += 1) progresses.say('a/1', run('a', n / 1_000))
    progresses.say('b/1', run('b', 0.5))
    expect(told).to.have.length(1)
    await next()
    expect(told.slice(1)).to.deep.equal([[run('a', 1), run('b', 0.5)]])
  })

  it('is forgotten with the run, and of others nothing is told', async () => {
    const { progresses, told, next } = heard()
    progresses.end('a/1')
    expect(told).to.deep.equal([])
    progresses.say('a/1', run('a', 0.5))
    progresses.end('a/1')
    await next()
    expect(told).to.deep.equal([[run('a', 0.5)], []])
  })
})
