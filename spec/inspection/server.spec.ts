import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createWebSocketReceiver } from '@statelyai/inspect'
import { expect } from 'chai'
import { WebSocket } from 'ws'
import { Hub } from '../../lib/inspection/hub.ts'
import { type InspectionServer, type ServerOptions, serveInspection } from '../../lib/inspection/server.ts'
import type { InspectionNote } from '../../machines/protocol.ts'
import { Script } from './script.ts'

interface Frame {
  readonly type: string
  readonly _version: string
  readonly createdAt: string
  readonly rootId: string
  readonly sessionId: string
  readonly parentId?: string
  readonly name?: string
  readonly event?: { readonly type: string; readonly count?: number }
  readonly snapshot?: { readonly value?: unknown; readonly status: string }
}

const registered = (id: string, parent: string | null = null): InspectionNote => ({
  ...{ type: 'actor.registered', id, at: 1, parent, name: id },
  definition: { id, description: '<script>alert(1)</script>' },
})
const changed = (id: string, value: string): InspectionNote => ({
  ...{ type: 'actor.changed', id, at: 2, event: { type: 'turn' }, lasting: false },
  snapshot: { status: 'active', value },
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

describe('the server of an inspection', function () {
  this.timeout(60_000)
  let script: Script
  let server: InspectionServer
  let sockets: (WebSocket | Socket)[]

  beforeEach(() => {
    sockets = []
    script = new Script([registered('root'), changed('root', 'idle'), registered('child', 'root')])
  })
  afterEach(async () => {
    for (const socket of sockets) 'terminate' in socket ? socket.terminate() : socket.destroy()
    await server?.close()
  })

  async function serve(options: ServerOptions = {}): Promise<void> {
    server = await serveInspection(new Hub(script), { port: 0, ...options })
  }

  function view(url = server.url, headers: Record<string, string> = {}) {
    const socket = new WebSocket(url, { headers })
    sockets.push(socket)
    const frames: Frame[] = []
    let news = Promise.withResolvers<void>()
    socket.on('message', (text) => {
      frames.push(JSON.parse(String(text)))
      news.resolve()
      news = Promise.withResolvers()
    })
    socket.on('error', () => {})
    const reaches = async (condition: () => unknown) => {
      while (!condition()) await news.promise
    }
    return { socket, frames, reaches }
  }

  /** The status with which a viewer is refused, or 101. */
  async function statusOf(url: string, headers: Record<string, string> = {}): Promise<number> {
    const { socket } = view(url, headers)
    return new Promise((resolve) => {
      socket.on('unexpected-response', (_, { statusCode }) => resolve(statusCode as number))
      socket.on('open', () => resolve(101))
    })
  }

  /** Whatever bytes somebody sends; resolves with the answer when the connection is closed. */
  async function raw(text: string): Promise<string> {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1', () => socket.write(text))
    sockets.push(socket)
    let answer = ''
    socket.on('data', (part) => {
      answer += part
    })
    socket.on('error', () => {})
    await once(socket, 'close')
    return answer
  }

  it('shows everything to the receiver of the Stately inspector, in its format', async () => {
    await serve()
    const frames: Frame[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const receiver = createWebSocketReceiver({ server: server.url })
    receiver.subscribe((event) => {
      frames.push(event as unknown as Frame)
      if (frames.length === 3) resolve()
    })
    await promise
    expect(frames).to.deep.equal([
      {
        ...{
          type: '@xstate.actor',
          _version: '0.7.2',
          createdAt: '1',
          id: null,
          rootId: 'root',
          sessionId: 'root',
        },
        definition: '{"id":"root","description":"<script>alert(1)</script>"}',
        ...{ name: 'root', snapshot: { status: 'active' } },
      },
      {
        ...{
          type: '@xstate.snapshot',
          _version: '0.7.2',
          createdAt: '2',
          id: null,
          rootId: 'root',
          sessionId: 'root',
        },
        event: { type: 'turn' },
        snapshot: { status: 'active', value: 'idle', context: {}, children: {}, historyValue: {}, tags: [] },
      },
      {
        ...{
          type: '@xstate.actor',
          _version: '0.7.2',
          createdAt: '1',
          id: null,
          rootId: 'root',
          sessionId: 'child',
        },
        definition: '{"id":"child","description":"<script>alert(1)</script>"}',
        ...{ name: 'child', parentId: 'root', snapshot: { status: 'active' } },
      },
    ])
  })

  it('gives the present to whoever comes late or again, and looks only while somebody does', async () => {
    await serve()
    const first = view()
    await first.reaches(() => first.frames.length === 3)
    script.take?.([changed('root', 'busy')])
    const second = view()
    await second.reaches(() => second.frames.length === 3)
    expect(second.frames.find(({ type }) => type === '@xstate.snapshot')?.snapshot?.value).to.equal('busy')
    for (const { socket } of [first, second]) {
      socket.terminate()
      await once(socket, 'close')
    }
    while (script.take) await new Promise(setImmediate)
    const again = view()
    await again.reaches(() => again.frames.length === 3)
  })

  it('lets no page of a foreign origin look, nor under a name that is not its own', async () => {
    await serve({ page: 'https://stately.ai/inspect' })
    const { port } = new URL(server.url)
    expect(await statusOf(server.url, { origin: 'https://evil.example' })).to.equal(403)
    expect(await statusOf(server.url, { origin: 'null' })).to.equal(403)
    expect(
      await statusOf(server.url, { host: `evil.example:${port}`, origin: `http://evil.example:${port}` }),
    ).to.equal(403)
    expect(await statusOf(server.url, { host: `evil.example:${port}` })).to.equal(403)
    expect(await statusOf(server.url, { origin: `http://127.0.0.1:${port}` })).to.equal(101)
    expect(await statusOf(server.url, { origin: 'https://stately.ai' })).to.equal(101)
    expect(script.take).not.to.equal(undefined)
  })

  it('demands a token at any address but the loopback one', async () => {
    await serve({ host: '0.0.0.0' })
    // Which 0.0.0.0 is not for a browser.
    expect(new URL(server.url).hostname).to.equal(hostname().toLowerCase())
    expect(server.url).to.match(/:\d+\/\?token=[0-9a-f]{32}$/)
    const url = server.url.replace(hostname(), '127.0.0.1')
    expect(await statusOf(url.replace(/\?.*/, ''))).to.equal(401)
    expect(await statusOf(url.replace(/token=.{8}/, 'token=00000000'))).to.equal(401)
    expect(await statusOf(`${url}0`)).to.equal(401)
    expect(await statusOf(url)).to.equal(101)
    expect(await statusOf(url, { origin: 'https://evil.example' })).to.equal(403)
  })

  it('has nothing at any other path, however it is written', async () => {
    await serve()
    for (const path of ['/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/package.json', '//', '/\\..\\x'])
      expect(await raw(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`)).to.match(
        /^HTTP\/1\.1 404 [\s\S]*\r\nNot here\.\n/,
      )
    for (const path of ['/../x', '//', '/x'])
      expect(
        await raw(
          `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
        ),
      ).to.match(/^HTTP\/1\.1 404 /)
    for (const path of [
      '/assets/../../hub.js',
      '/assets/..%2f..%2fhub.js',
      '/assets',
      '/index.html',
      '/hub.js',
    ])
      expect(
        await raw(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`),
        path,
      ).to.match(/^HTTP\/1\.1 404 /)
    expect(await raw('GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n')).to.match(
      /^HTTP\/1\.1 200 /,
    )
  })

  it('gives its page to be read only, under its own name only, and lets it load nothing from elsewhere', async () => {
    await serve()
    const { port } = new URL(server.url)
    const get = (path: string, lines = '') =>
      raw(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${lines}connection: close\r\n\r\n`)
    const page = await get('/')
    expect(page).to.match(/^HTTP\/1\.1 200 /)
    expect(page).to.match(
      /^content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';/m,
    )
    expect(page).not.to.match(/<script(?![^>]*\bsrc=)|\bon\w+=|<style|https?:/i)
    const [script = ''] = /\/assets\/[^"]+\.js/.exec(page) ?? []
    expect(await get(script)).to.match(/^HTTP\/1\.1 200 [\s\S]*^content-type: text\/javascript/m)
    expect(await get('/', 'origin: https://evil.example\r\n')).to.match(/^HTTP\/1\.1 403 /)
    expect(await raw('GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n')).to.match(
      /^HTTP\/1\.1 403 /,
    )
    expect(await raw(`POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`)).to.match(
      /^HTTP\/1\.1 405 /,
    )
  })

  it('shuts out who sends huge, malformed or no frames at all, and goes on for the others', async () => {
    await serve()
    const good = view()
    await good.reaches(() => good.frames.length === 3)
    const huge = view()
    await once(huge.socket, 'open')
    huge.socket.send('x'.repeat(1_000_000))
    expect((await once(huge.socket, 'close'))[0]).to.equal(1009)
    const malformed = view()
    await once(malformed.socket, 'open')
    const { _socket: wire } = malformed.socket as unknown as { _socket: Socket }
    wire.write(Buffer.from([0xff, 0xff, 0xff, 0xff]))
    await once(malformed.socket, 'close')
    await raw('\u0000\u0001 this is no HTTP\r\n\r\n')
    const talker = view()
    await once(talker.socket, 'open')
    talker.socket.send('{"type":"@xstate.event"}')
    script.take?.([changed('root', 'busy')])
    await good.reaches(() => good.frames.at(-1)?.snapshot?.value === 'busy')
    expect(good.frames).to.have.length(4)
  })

  it('waits for no slow viewer, who has the present in the end and is told what is missing', async () => {
    await serve()
    const [slow, quick] = [view(), view()]
    await Promise.all([slow, quick].map(({ frames, reaches }) => reaches(() => frames.length === 3)))
    slow.socket.pause()
    const text = 'x'.repeat(10_000)
    const event = (n: number): InspectionNote => ({
      ...{ type: 'event.sent', id: 'root', at: 3, from: null, event: { type: `${n}`, text } },
    })
    for (let n = 0; n < 3_000; n += 100) {
      script.take?.(Array.from({ length: 100 }, (_, m) => event(n + m)))
      script.take?.([changed('root', `${n}`)])
      await new Promise(setImmediate)
    }
    script.take?.([changed('root', 'end')])
    const atEnd = ({ frames }: typeof slow) => frames.findLast(({ snapshot }) => snapshot?.value === 'end')
    await quick.reaches(() => atEnd(quick))
    expect(atEnd(slow)).to.equal(undefined)
    slow.socket.resume()
    await slow.reaches(() => atEnd(slow))
    await slow.reaches(() => slow.frames.some(({ event: got }) => got?.type === 'inspection.dropped'))
    const missing = slow.frames.reduce((sum, { event: got }) => sum + (got?.count ?? 0), 0)
    const got = slow.frames.filter(({ event: one }) => one && /^\d+$/.test(one.type)).length
    expect(got + missing).to.equal(3_000)
  })

  it('bears a hundred reconnections and ten viewers', async () => {
    await serve()
    const viewers = Array.from({ length: 10 }, () => view())
    for (let n = 0; n < 100; n += 1) {
      const { socket, frames, reaches } = view()
      await reaches(() => frames.length === 3)
      socket.terminate()
    }
    script.take?.([changed('root', 'busy')])
    await Promise.all(
      viewers.map(({ frames, reaches }) => reaches(() => frames.at(-1)?.snapshot?.value === 'busy')),
    )
  })

  it('tells whoever comes late also when each came to where it is', async () => {
    await serve()
    const first = view()
    await first.reaches(() => first.frames.length === 3)
    script.take?.([
      { ...changed('root', 'busy'), at: 5 },
      { ...changed('root', 'busy'), at: 6 },
    ])
    const late = view()
    await late.reaches(() => late.frames.length === 4)
    const times = late.frames.filter(({ type }) => type === '@xstate.snapshot').map((one) => one.createdAt)
    expect(times).to.deep.equal(['5', '6'])
  })

  it('takes no more memory with each viewer that comes again', async () => {
    await serve()
    const again = async (times: number) => {
      for (let n = 0; n < times; n += 1) {
        const { socket, frames, reaches } = view()
        await reaches(() => frames.length === 3)
        socket.terminate()
        await once(socket, 'close')
        sockets = []
      }
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    await again(100)
    const before = await again(50)
    expect((await again(100)) - before).to.be.below(1_000_000)
  })

  it('says which address it cannot have', async () => {
    await serve()
    const port = Number(new URL(server.url).port)
    const refusal = await serveInspection(new Hub(script), { port }).catch((error: Error) => error)
    expect(refusal).to.have.property('message').that.includes(`EADDRINUSE for 127.0.0.1:${port}`)
  })
})
