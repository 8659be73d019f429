import { expect } from 'chai'
import { Example } from './example.ts'

describe('examples/workflow', function () {
  this.timeout(60_000)
  const example = new Example('workflow')

  after(() => example.remove())

  it('chains, iterates, calls a hook, groups, and ends by itself', async () => {
    const { stdout, stderr, left, ...end } = await example.run()
    expect(stderr).to.equal('')
    expect(end).to.deep.equal({ code: 0, signal: null })
    expect(stdout.trim().split('\n')).to.deep.equal([
      'chain: 11 words, the longest are machine, human: "machine and human"',
      'iter: 11 + 8 + 7 words',
      'hook: 26 in all',
      'group: the longest text has 11 words',
    ])
    expect(left).to.deep.equal([])
  })
})
