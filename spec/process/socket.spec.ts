import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { connect as connectRaw, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { ConfigError, FrameError } from '../../lib/errors.ts'
import { connect, type FrameOptions, FrameSocket, listen, socketPath } from '../../lib/process/socket.ts'
import { rejection } from '../contracts/material.ts'
import { randomOf } from '../random.ts'

interface Batch {
  readonly kind: string
  readonly items: readonly unknown[]
}

type End = FrameSocket<Batch, Batch>

const batch = (...items: unknown[]): Batch => ({ kind: 'tasks', items })

describe('a frame socket', () => {
  let directory: string
  let path: string
  const owned: (() => unknown)[] = []

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'qc-spec-'))
    path = socketPath(directory, 'data')
  })
  afterEach(async () => {
    for (const stop of owned.splice(0).reverse()) await stop()
    await rm(directory, { recursive: true })
  })

  /** Two ends of one connection, the first one being the server's. */
  async function connected(options?: FrameOptions): Promise<[End, End]> {
    const { promise, resolve } = Promise.withResolvers<End>()
    const server = await listen<Batch, Batch>(path, resolve, options)
    owned.push(() => server.destroy())
    const near = await connect<Batch, Batch>(path, options)
    owned.push(() => near.destroy())
    return [await promise, near]
  }

  /** A frame socket whose other end is a bare socket, to send it what nobody should. */
  async function facing(options?: FrameOptions): Promise<[End, Socket]> {
    const { promise, resolve } = Promise.withResolvers<Socket>()
    const server = createServer(resolve).listen(path)
    owned.push(() => closed(server))
    const end = new FrameSocket<Batch, Batch>(connectRaw(path), options)
    owned.push(() => end.destroy())
    const stranger = await promise
    owned.push(() => stranger.destroy())
    return [end, stranger]
  }

  describe('that carries messages', () => {
    it('delivers them whole and in order, both ways', async () => {
      const [far, near] = await connected()
      far.onMessage((message) => far.send(batch('echo', ...message.items)))
      const echoes = collect(near, 1_000)
      for (let i = 0; i < 1_000; i += 1) near.send(batch(i, 'ä€😀'.repeat(i % 50)))
      const received = await echoes
      received.forEach((message, i) => {
        expect(message).to.deep.equal(batch('echo', i, 'ä€😀'.repeat(i % 50)))
      })
    })

    it('puts them together however the stream is cut', async () => {
      const random = below(randomOf(20_260_101))
      const messages = Array.from({ length: 200 }, (_, i) => batch(i, '€'.repeat(random(2_000))))
      const [end, peer] = await facing()
      const received = collect(end, messages.length)
      await writeInPieces(peer, frames(messages), () => 1 + random(random(2) ? 9 : 5_000))
      expect(await received).to.deep.equal(messages)
    })

    it('puts them together from single bytes', async () => {
      const messages = [batch('a'), batch(), batch('€')]
      const [end, peer] = await facing()
      const received = collect(end, messages.length)
      await writeInPieces(peer, frames(messages), () => 1)
      expect(await received).to.deep.equal(messages)
    })

    it('carries a frame of many megabytes, and one of the largest size', async () => {
      const [far, near] = await connected({ largestFrame: 5_000_000 })
      const received = collect(far, 2)
      const envelope = JSON.stringify(batch('')).length
      near.send(batch('x'.repeat(2_000_000)))
      near.send(batch('x'.repeat(5_000_000 - envelope)))
      expect((await received).map(({ items }) => (items[0] as string).length)).to.deep.equal([
        2_000_000,
        5_000_000 - envelope,
      ])
    })

    it('leaves in one write what is sent within one turn', async () => {
      const [end, peer] = await facing()
      const messages = Array.from({ length: 50 }, (_, i) => batch(i))
      for (const message of messages) end.send(message)
      const [chunk] = await once(peer, 'data')
      expect(chunk).to.deep.equal(frames(messages))
    })

    it('leaves before its process blocks when it is flushed', async () => {
      const [far, near] = await connected()
      const received = collect(far, 1)
      near.send(batch('last words'))
      expect(near.flush()).to.equal(true)
      near.destroy()
      expect(await received).to.deep.equal([batch('last words')])
    })

    it('misses nothing that came before anybody listened', async () => {
      const [end, peer] = await facing()
      peer.write(frames([batch('early')]))
      await new Promise(setImmediate)
      expect(await collect(end, 1)).to.deep.equal([batch('early')])
    })
  })

  describe('whose other end is slow', () => {
    it('says no above the high-water mark, and calls when there is room again', async () => {
      const [far, near] = await connected({ highWaterMark: 100_000 })
      const drained = new Promise<void>((resolve) => near.onDrain(resolve))
      let sent = 1
      while (near.send(batch('x'.repeat(10_000)))) sent += 1
      expect(near.send(batch('still taken'))).to.equal(false)
      const received = collect(far, sent + 2)
      await drained
      expect(near.send(batch('again'))).to.equal(true)
      expect((await received).slice(-2)).to.deep.equal([batch('still taken'), batch('again')])
    })

    it('does not take a large turn for a slow reader', async () => {
      const [far, near] = await connected({ highWaterMark: 65_536 })
      const received = collect(far, 30)
      // The kernel has room for all of this, though it is more than may wait.
      for (let i = 0; i < 30; i += 1) expect(near.send(batch('x'.repeat(5_000)))).to.equal(true)
      await received
    })
  })

  describe('that is closed', () => {
    it('hands over everything before it ends, and tells both ends once', async () => {
      const [far, near] = await connected()
      const closes: string[] = []
      far.onClose(() => closes.push('far'))
      near.onClose(() => closes.push('near'))
      const received = collect(far, 101)
      for (let i = 0; i < 100; i += 1) near.send(batch(i, 'x'.repeat(10_000)))
      near.send(batch('end'))
      await near.close()
      expect((await received).at(-1)).to.deep.equal(batch('end'))
      await Promise.all([near.close(), far.close()])
      expect(closes.toSorted()).to.deep.equal(['far', 'near'])
    })

    it('still gets what its other end had to say', async () => {
      const [far, near] = await connected()
      const answer = collect(near, 1)
      far.onMessage(() => far.send(batch('answer')))
      near.send(batch('question'))
      await near.close()
      expect(await answer).to.deep.equal([batch('answer')])
    })

    it('delivers nothing after it was destroyed by its own listener', async () => {
      const [end, peer] = await facing()
      const received: Batch[] = []
      const over = new Promise((resolve) => end.onClose(resolve))
      end.onMessage((message) => {
        received.push(message)
        end.destroy()
      })
      peer.write(frames([batch(1), batch(2), batch(3)]))
      expect(await over).to.equal(undefined)
      expect(received).to.deep.equal([batch(1)])
    })

    it('takes no more messages, and tells of its close whoever asks later', async () => {
      const [far, near] = await connected()
      far.onMessage(() => {})
      near.onMessage(() => {})
      await near.close()
      expect(near.send(batch('late'))).to.equal(false)
      expect(await new Promise((resolve) => near.onClose(resolve))).to.equal(undefined)
    })

    it('drops a frame that was cut off', async () => {
      const [end, peer] = await facing()
      const received: Batch[] = []
      end.onMessage((message) => received.push(message))
      const over = new Promise((resolve) => end.onClose(resolve))
      peer.end(frames([batch('whole'), batch('cut')]).subarray(0, -3))
      expect(await over).to.equal(undefined)
      expect(received).to.deep.equal([batch('whole')])
    })
  })

  describe('whose peer is killed', () => {
    const holder = `
      const socket = require('node:net').connect(process.argv[1], () => process.send('connected'))
      if (process.argv[2] === 'deaf') socket.pause()
      process.on('message', () => {})
    `

    async function peerProcess(manner: string) {
      const { promise, resolve } = Promise.withResolvers<End>()
      const server = await listen<Batch, Batch>(path, resolve)
      owned.push(() => server.destroy())
      const peer = spawn(process.execPath, ['-e', holder, path, manner], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
      owned.push(() => peer.kill('SIGKILL'))
      await once(peer, 'message')
      return { end: await promise, peer }
    }

    it('closes without a failure', async () => {
      const { end, peer } = await peerProcess('idle')
      end.onMessage(() => {})
      const over = new Promise((resolve) => end.onClose(resolve))
      peer.kill('SIGKILL')
      expect(await over).to.equal(undefined)
    })

    it('closes without a failure also when the peer left messages unread (ECONNRESET)', async () => {
      const { end, peer } = await peerProcess('deaf')
      end.onMessage(() => {})
      const over = new Promise((resolve) => end.onClose(resolve))
      while (end.send(batch('x'.repeat(100_000))));
      peer.kill('SIGKILL')
      expect(await over).to.equal(undefined)
      expect(end.send(batch('nobody there'))).to.equal(false)
    })
  })

  describe('that meets a broken protocol', () => {
    it('refuses to send what is larger than a frame may be, and goes on', async () => {
      const [far, near] = await connected({ largestFrame: 1_000 })
      const received = collect(far, 1)
      expect(() => near.send(batch('x'.repeat(1_000)))).to.throw(FrameError, /may have 1000 bytes.* has 1029/)
      near.send(batch('small'))
      expect(await received).to.deep.equal([batch('small')])
    })

    it('refuses a frame that announces too much, before it arrives', async () => {
      const [end, peer] = await facing({ largestFrame: 1_000 })
      const over = new Promise((resolve) => end.onClose(resolve))
      end.onMessage(() => {})
      peer.write(Buffer.from([0, 0, 4, 0]))
      expect(await over)
        .to.be.instanceOf(FrameError)
        .with.property('message')
        .that.matches(/may have 1000 bytes.* has 1024/)
    })

    for (const text of ['not JSON', '[]', 'null', '{"kind":1}', ''])
      it(`refuses a frame that carries ${JSON.stringify(text)}`, async () => {
        const [end, peer] = await facing()
        const over = new Promise((resolve) => end.onClose(resolve))
        const received = collect(end, 1)
        peer.write(Buffer.concat([frames([batch('good')]), frame(text), frames([batch('after')])]))
        expect(await over).to.be.instanceOf(FrameError)
        expect(await received).to.deep.equal([batch('good')])
      })
  })

  describe('that listens', () => {
    it('removes its path and ends its connections when it closes', async () => {
      const server = await listen<Batch, Batch>(path, (socket) => socket.onMessage(() => {}))
      const near = await connect<Batch, Batch>(path)
      near.onMessage(() => {})
      const over = new Promise((resolve) => near.onClose(resolve))
      await server.close()
      expect(await over).to.equal(undefined)
      expect(await rejection(access(path))).to.have.property('code', 'ENOENT')
      expect(await rejection(connect(path))).to.have.property('code', 'ENOENT')
    })

    it('closes also connections that nobody listens on', async () => {
      const server = await listen<Batch, Batch>(path, () => {})
      const near = await connect<Batch, Batch>(path)
      near.send(batch('unheard'))
      await Promise.all([server.close(), near.close()])
    })

    it('is hurried up by being destroyed while it closes', async () => {
      const accepted = Promise.withResolvers<void>()
      const server = await listen<Batch, Batch>(path, () => accepted.resolve())
      const deaf = connectRaw({ path, allowHalfOpen: true })
      owned.push(() => deaf.destroy())
      await accepted.promise
      const closing = server.close()
      await server.destroy()
      await closing
    })

    it('does not wait for deaf peers when it is destroyed', async () => {
      const server = await listen<Batch, Batch>(path, (socket) => socket.send(batch('x'.repeat(5_000_000))))
      const deaf = connectRaw(path)
      owned.push(() => deaf.destroy())
      await once(deaf, 'connect')
      await server.destroy()
    })

    it('refuses a path that is taken', async () => {
      await connected()
      expect(await rejection(listen(path, () => {}))).to.have.property('code', 'EADDRINUSE')
    })
  })
})

describe('a socket’s path', () => {
  it('is a file in its directory', () => {
    expect(socketPath('/tmp/qc-1', 'pusher', 'linux')).to.equal('/tmp/qc-1/pusher')
  })

  it('is a named pipe on Windows', () => {
    expect(socketPath('C:\\Temp\\qc-1', 'pusher', 'win32')).to.equal('\\\\?\\pipe\\C:\\Temp\\qc-1\\pusher')
  })

  it('is refused when it is longer than the system allows, which counts bytes', () => {
    const most = process.platform === 'linux' ? 107 : 103
    expect(socketPath('/tmp', 'x'.repeat(most - 5), 'linux')).to.have.length(most)
    expect(() => socketPath('/tmp', `${'x'.repeat(most - 6)}ä`, 'linux')).to.throw(
      ConfigError,
      `may have ${most} bytes`,
    )
  })
})

function collect(end: End, count: number): Promise<Batch[]> {
  const received: Batch[] = []
  return new Promise((resolve) =>
    end.onMessage((message) => {
      received.push(message)
      if (received.length === count) resolve(received)
    }),
  )
}

function frame(text: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(text))
  return Buffer.concat([length, Buffer.from(text)])
}

const frames = (messages: readonly Batch[]): Buffer =>
  Buffer.concat(messages.map((message) => frame(JSON.stringify(message))))

/** Writes pieces far enough apart that the reader gets them apart. */
async function writeInPieces(socket: Socket, bytes: Buffer, size: () => number): Promise<void> {
  socket.setNoDelay(true)
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + size())
    await new Promise((resolve) => socket.write(bytes.subarray(at, end), resolve))
    await new Promise(setImmediate)
    at = end
  }
}

const below = (random: () => number) => (end: number) => Math.floor(random() * end)

const closed = (server: Server) => new Promise((resolve) => server.close(resolve))
