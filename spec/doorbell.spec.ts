import { access, mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type Doorbell, hangDoorbell, Ringer } from '../lib/doorbell.ts'

describe('a doorbell', () => {
  let folder: string
  let owned: { close(): unknown }[]

  beforeEach(async () => {
    owned = []
    folder = await mkdtemp(join(tmpdir(), 'qcluster-bell-'))
  })

  afterEach(async () => {
    for (const one of owned.reverse()) await one.close()
    await rm(folder, { recursive: true })
  })

  /** A doorbell whose notes are waited for. */
  async function hang(name = 'door') {
    const notes: string[] = []
    let news = Promise.withResolvers<void>()
    const bell = await hangDoorbell(folder, name, (more) => {
      notes.push(...more)
      news.resolve()
      news = Promise.withResolvers<void>()
    })
    owned.push(bell)
    const hears = async (count: number) => {
      while (notes.length < count) await news.promise
      return notes
    }
    return { bell, notes, hears }
  }

  function ringer() {
    const dead: string[] = []
    const told = Promise.withResolvers<string>()
    const one = new Ringer((path) => {
      dead.push(path)
      told.resolve(path)
    })
    owned.push(one)
    return { ringer: one, dead, someoneDead: told.promise }
  }

  async function visitor({ path }: Doorbell): Promise<Socket> {
    const socket = connect(path)
    owned.push({ close: () => socket.destroy() })
    await new Promise((resolve) => socket.once('connect', resolve))
    return socket
  }

  it('is heard, with a note or without one, in the order of the rings', async () => {
    const { bell, hears } = await hang()
    const { ringer: one } = ringer()
    one.ring(bell.path)
    one.ring(bell.path, 'two')
    one.ring(bell.path, 'drei €')
    expect(await hears(3)).to.deep.equal(['', 'two', 'drei €'])
  })

  it('is rung over one connection, also after a while', async () => {
    const path = join(folder, 'counted')
    const heard = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let visitors = 0
    let notes = ''
    const server = createServer((socket) => {
      visitors += 1
      socket.setEncoding('utf8').on('data', (text) => {
        notes += text
        heard[notes.length / 2 - 1]?.resolve()
      })
    })
    owned.push({ close: () => new Promise((resolve) => server.close(resolve)) })
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const { ringer: one } = ringer()
    one.ring(path, 'a')
    await heard[0]?.promise
    one.ring(path, 'b')
    await heard[1]?.promise
    expect([visitors, notes]).to.deep.equal([1, 'a\nb\n'])
  })

  it('puts together a note that comes in pieces, also where a letter is cut', async () => {
    const { bell, hears } = await hang()
    const socket = await visitor(bell)
    const bytes = Buffer.from('grüße\nnext\n')
    socket.write(bytes.subarray(0, 3))
    await new Promise(setImmediate)
    socket.write(bytes.subarray(3))
    expect(await hears(2)).to.deep.equal(['grüße', 'next'])
  })

  it('is another one by another name, in the same directory', async () => {
    const [front, back] = [await hang('front'), await hang('back')]
    const { ringer: one } = ringer()
    one.ring(back.bell.path, 'back')
    expect(await back.hears(1)).to.deep.equal(['back'])
    expect(front.notes).to.deep.equal([])
    expect(front.bell.path).not.to.equal(back.bell.path)
  })

  it('has a short path, however long its name is', async () => {
    const { bell } = await hang('x'.repeat(1_000))
    expect(bell.path.length - folder.length).to.be.below(30)
  })

  it('hangs once at one place', async () => {
    await hang()
    const second = await hang().then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    )
    expect(second).to.equal('EADDRINUSE')
  })

  it('is gone when it is taken down, with its socket, and whoever rings is told so', async () => {
    const { bell, hears } = await hang()
    const { ringer: one } = ringer()
    one.ring(bell.path, 'here')
    await hears(1)
    const socket = await visitor(bell)
    const hungUp = new Promise((resolve) => socket.once('close', resolve))
    await bell.close()
    await hungUp
    const missing = await access(bell.path).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    )
    expect(missing).to.equal('ENOENT')
    const { ringer: other, someoneDead } = ringer()
    other.ring(bell.path)
    expect(await someoneDead).to.equal(bell.path)
  })

  it('is found dead once, however often it was rung before that is known', async () => {
    const { ringer: one, someoneDead, dead } = ringer()
    one.ring(join(folder, 'nobody'), 'a')
    one.ring(join(folder, 'nobody'), 'b')
    expect(await someoneDead).to.equal(join(folder, 'nobody'))
    await new Promise(setImmediate)
    expect(dead).to.have.length(1)
  })

  it('is not broken by visitors that come and go without a word, or die with half a note', async () => {
    const { bell, hears } = await hang()
    const silent = await visitor(bell)
    silent.end()
    const cut = await visitor(bell)
    cut.write('half a no', () => cut.destroy())
    const { ringer: one } = ringer()
    one.ring(bell.path, 'whole')
    expect(await hears(1)).to.deep.equal(['whole'])
  })

  it('hangs up on a visitor whose note does not end', async () => {
    const { bell } = await hang()
    const socket = await visitor(bell)
    const hungUp = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.write('x'.repeat(2 * 1024 * 1024))
    await hungUp
  })

  it('gets what was said before the ringer hangs up', async () => {
    const { bell, hears } = await hang()
    const { ringer: one } = ringer()
    for (let n = 0; n < 1_000; n += 1) one.ring(bell.path, String(n))
    one.close()
    expect((await hears(1_000)).at(-1)).to.equal('999')
  })

  it('is not rung by a ringer that it is far behind', async () => {
    const path = join(folder, 'deaf')
    const visitors: Socket[] = []
    const deaf = createServer((socket) => visitors.push(socket.pause()))
    owned.push({
      close: () => {
        for (const one of visitors) one.destroy()
        return new Promise((resolve) => deaf.close(resolve))
      },
    })
    await new Promise<void>((resolve) => deaf.listen(path, resolve))
    const { ringer: one } = ringer()
    const before = process.memoryUsage().external + process.memoryUsage().heapUsed
    for (let n = 0; n < 1_000; n += 1) {
      one.ring(path, 'x'.repeat(100_000))
      if (n % 100 === 0) await new Promise(setImmediate)
    }
    const grown = process.memoryUsage().external + process.memoryUsage().heapUsed - before
    expect(grown, '100 MB were rung').to.be.below(30_000_000)
  })
})
