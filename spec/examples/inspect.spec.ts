import { expect } from 'chai'
import { Example } from './example.ts'

describe('examples/inspect', function () {
  this.timeout(60_000)
  const example = new Example('inspect')

  after(() => example.remove())

  it('prints where every machine is, through a task, a kill and the stop, and ends by itself', async () => {
    const { stdout, stderr, left, ...end } = await example.run()
    expect(end, stderr).to.deep.equal({ code: 0, signal: null })
    expect(stderr).to.equal('')
    expect(left).to.deep.equal([])
    const lines = stdout.trimEnd().split('\n')
    const places = [
      ...[/^cluster \d+ \{"starting":"preparing"\}$/, /^sentinel \d+ \{"starting":"forking"\}$/],
      ...[/^cluster \d+ \{"running":"taking"\}$/, /^worker \d+ \{"running":"working"\}$/],
      ...[/^a cup of Assam is ready$/, /^kill -9 \d+$/, /^worker-1 "backingOff"$/],
      ...[/"stage":"stoppingPusher"/, /"stage":"stoppingWorkers"/, /"stage":"stoppingMonitor"/],
      ...[/"stage":"closingPusher"/, /^cluster \d+ "stopped"$/],
    ].map((pattern) => lines.findIndex((line) => pattern.test(line)))
    expect(places, stdout).not.to.include(-1)
    expect(places, stdout).to.deep.equal(places.toSorted((a, b) => a - b))
    const slot = lines
      .slice(lines.indexOf('worker-1 "backingOff"'))
      .filter((line) => line.startsWith('worker-1 '))
    expect(slot.slice(0, 3)).to.deep.equal([
      ...['worker-1 "backingOff"', 'worker-1 {"alive":"starting"}', 'worker-1 {"alive":"up"}'],
    ])
  })
})
