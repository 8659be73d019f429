import { expect } from 'chai'
import { Example } from './example.ts'

describe('examples/processes', function () {
  this.timeout(60_000)
  const example = new Example('processes')

  after(() => example.remove())

  it('counts in a child process, which is killed half way and replaced, and ends by itself', async () => {
    const { stdout, stderr, left, ...end } = await example.run()
    expect(end).to.deep.equal({ code: 0, signal: null })
    expect(stderr).to.equal('')
    expect(left).to.deep.equal([])
    const counted = [...stdout.matchAll(/^counted (\d)$/gm)].map(([, n]) => Number(n))
    expect(counted).to.deep.equal([1, 2, 3, 4, 5, 6])
    const pids = [...stdout.matchAll(/lives in process (\d+)$/gm)].map(([, pid]) => pid)
    expect(new Set(pids)).to.have.property('size', 2)
    expect(stdout).to.include(`kill -9 ${pids[0]}\n`)
    expect(stdout).to.match(/ended by SIGKILL; another one goes on from \d\n/)
    expect(stdout).to.match(/left with exit code 0\n$/)
  })
})
