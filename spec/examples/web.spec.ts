import { expect } from 'chai'
import { Example } from './example.ts'

describe('examples/web', function () {
  this.timeout(60_000)
  const example = new Example('web', 'main.ts', { PORT: '0' })

  after(() => example.remove())

  it('enqueues a report, streams its progress, and ends in order', async () => {
    const listening = Promise.withResolvers<string>()
    let pid = 0
    const running = example.run([], (child, _stderr, stdout) => {
      pid = child
      stdout.on('data', (chunk: Buffer) => listening.resolve(`${chunk}`.trim()))
    })
    running.then(({ stderr }) => listening.reject(new Error(`It has ended: ${stderr}`)), listening.reject)
    const address = await listening.promise
    const post = (pages: unknown) =>
      fetch(`${address}/reports`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ pages }),
      })

    expect(await (await fetch(address)).text()).to.include('EventSource')
    expect((await post('many')).status).to.equal(400)
    const waiting = fetch(`${address}/reports/${'0'.repeat(32)}/progress`).then((stream) => stream.text())
    const accepted = await post(3)
    expect(accepted.status).to.equal(202)
    const { id } = (await accepted.json()) as { id: string }

    const stream = await fetch(`${address}/reports/${id}/progress`)
    expect(stream.headers.get('content-type')).to.include('text/event-stream')
    const events = (await stream.text()).trim().split('\n\n')
    const done = events.pop()
    const steps = events.map((event) => JSON.parse(event.replace('data: ', '')))
    // On a busy machine not every page is seen.
    expect(steps).not.to.be.empty
    for (const { progress, message } of steps)
      expect(message).to.equal(`page ${Math.round(progress * 3) + 1} of 3`)
    const summary = { state: 'success', result: { pages: 3, words: 750 } }
    expect(done).to.equal(`event: done\ndata: ${JSON.stringify(summary)}`)
    expect(await (await fetch(`${address}/reports/${id}`)).json()).to.deep.equal(summary)

    process.kill(pid, 'SIGTERM')
    const { code, left, stderr } = await running
    expect(code, stderr).to.equal(0)
    expect(await waiting, 'of a task that is never heard of').to.equal(
      'event: done\ndata: {"state":"queued"}\n\n',
    )
    expect(left).to.deep.equal([])
  })
})
