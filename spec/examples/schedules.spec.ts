import { expect } from 'chai'
import { Example } from './example.ts'

describe('examples/schedules', function () {
  this.timeout(60_000)
  const example = new Example('schedules')

  after(() => example.remove())

  it('rings each second, never cleans twice at once, and leaves nothing behind', async () => {
    const { stdout, stderr, left, ...end } = await example.run()
    expect(end, stderr).to.deep.equal({ code: 0, signal: null })
    expect(stdout.match(/^report at \d{4}-\d\d-\d\dT0[78]:30:00\.000Z$/gm)).to.have.length(3)
    expect(stdout).to.match(/^bell is paused, and was rung by hand$/m)
    const rung = `${stdout}${stderr}`.match(/ding for \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/g) ?? []
    expect(rung.length).to.be.at.least(4)
    expect(stderr).to.match(/created task [\w-]+ from schedule \[bell\]$/m)
    expect(stderr).to.match(/skipped \d+ of schedule \[cleaning\]$/m)
    expect(left).to.deep.equal([])
  })
})
