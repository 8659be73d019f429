import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect } from 'chai'
import { WebSocketServer } from 'ws'
import { Stage } from '../stories/stage.ts'
import { Example, root } from './example.ts'

const FOLDER = join(root, 'examples', 'inspect')

describe('examples/inspect', function () {
  this.timeout(60_000)
  const stage = new Stage({})
  let example: Example
  let temporary: string

  beforeEach(() => {
    temporary = join(stage.folder, 'tmp')
    mkdirSync(temporary)
    example = new Example('inspect', 'main.ts', { TMPDIR: temporary })
  })
  afterEach(() => example.remove())

  it('prints where every machine is, through a task, a kill and the stop, and ends by itself', async () => {
    const { stdout, stderr, left, ...end } = await example.run()
    expect(end, stderr).to.deep.equal({ code: 0, signal: null })
    expect(stderr).to.equal('')
    expect(left).to.deep.equal([])
    expect(readdirSync(temporary)).to.deep.equal([])
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

  it('has an inspector of @statelyai/inspect send all of it to a server', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    try {
      await once(server, 'listening')
      const told: { readonly type: string; readonly name?: string; readonly snapshot?: object }[] = []
      server.on('connection', (socket) =>
        socket.on('message', (text) => void told.push(JSON.parse(String(text)))),
      )
      const { port } = server.address() as AddressInfo
      const { code, stderr, left } = await example.run([`ws://127.0.0.1:${port}`])
      expect([code, stderr, left]).to.deep.equal([0, '', []])
      const machines = new Set(told.flatMap(({ name }) => (name ? name.replace(/ \d+$/, '') : [])))
      expect([...machines]).to.include.members(['cluster', 'sentinel', 'worker-1', 'worker', 'pusher'])
      expect(told.some(({ snapshot }) => JSON.stringify(snapshot)?.includes('"backingOff"'))).to.equal(true)
    } finally {
      for (const socket of server.clients) socket.terminate()
      server.close()
    }
  })

  it('prints what a cluster in another terminal tells a receiver, beside which the viewer is', async () => {
    const cluster = stage.qcluster(
      ...['start', '--tasks', join(FOLDER, 'tasks.ts'), '--workers', '1', '--inspect=0'],
    )
    const [page, , wire] = (await cluster.line(/http:\S+ or ws:\S+/)).split(' ')
    const receiver = stage.run([join(FOLDER, 'receiver.ts'), wire as string])
    await receiver.line(/^worker \d+ \{"running":"idle"\}$/m)
    await stage.qcluster('enqueue', 'brew', 'Assam', '--wait').line(/a cup of Assam/)
    await receiver.line(/^worker \d+ \{"running":"working"\}$/m)
    expect(await (await fetch(page as string)).text()).to.include('<title>qcluster</title>')
    cluster.process.kill('SIGTERM')
    await receiver.line(/^cluster \d+ "stopped"$/m)
  })

  it('leaves no folder and no process behind where it fails', async () => {
    const { code, stderr, left } = await example.run(['no url'])
    expect(code).to.equal(1)
    expect(stderr).to.include('Invalid URL')
    expect(left).to.deep.equal([])
    expect(readdirSync(temporary)).to.deep.equal([])
  })
})
