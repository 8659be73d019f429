/** Shows what a hub sees: over a WebSocket in the wire format of the Stately inspector, and as a page of our own. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { InspectionNote } from '../../machines/protocol.ts'
import { ConfigError } from '../errors.ts'
import { Notes } from '../process/notes.ts'
import type { Hub } from './hub.ts'
import { PAGE_HEADERS, type PageFile, readPage } from './page.ts'
import { toStately } from './stately.ts'

/** Where it listens, and which page may look. */
export interface ServerOptions {
  /** 8080 by default, which is where the receivers of `@statelyai/inspect` look; 0 is any. */
  readonly port?: number
  /** The loopback address by default. Any other one demands a token. */
  readonly host?: string
  /** A page elsewhere that may look: its address. */
  readonly page?: string
}

export interface InspectionServer extends AsyncDisposable {
  /** Where viewers connect, with the token where one is demanded. */
  readonly url: string
  /** The page that shows it, with the token where one is demanded. */
  readonly pageUrl: string
  close(): Promise<void>
}

const LOOPBACK = ['127.0.0.1', 'localhost', '::1']
/** Listened at, they are all addresses of this machine, and for a browser none. */
const EVERYWHERE = ['0.0.0.0', '::']
/** Bytes that may wait in a viewer's socket; what comes meanwhile is coalesced, or dropped and counted. */
const MOST_WAITING = 1_000_000
const MOST_VIEWERS = 50
/** Viewers have nothing to say. */
const LARGEST_FRAME = 1_024
/** Milliseconds within which a viewer answers that it is there. */
const HEARTBEAT = 10_000
/** Milliseconds that viewers get to take what is left. */
const FAREWELL = 1_000

/**
 * Opens the server. Each viewer gets the present first, also one that comes again.
 * @throws {ConfigError} when the address cannot be had
 */
export async function serveInspection(hub: Hub, options: ServerOptions = {}): Promise<InspectionServer> {
  const { WebSocketServer } = await import('ws')
  const door = new Door(options)
  const page = await readPage(door.page)
  const sockets = new WebSocketServer({
    ...{ noServer: true, maxPayload: LARGEST_FRAME, perMessageDeflate: false, clientTracking: true },
  })
  const server = createServer((request, response) => answer(request, response, door, page))
  server.on('upgrade', (request, socket, head) => {
    const refusal = door.refusal(request) ?? (sockets.clients.size >= MOST_VIEWERS ? 503 : undefined)
    if (refusal) refuse(socket, refusal)
    else sockets.handleUpgrade(request, socket, head, (viewer) => show(hub, viewer, socket))
  })
  server.on('clientError', (_, socket) => socket.destroy())
  await listen(server, options)
  const heartbeat = setInterval(() => {
    for (const viewer of sockets.clients) beat(viewer)
  }, HEARTBEAT).unref()
  const close = async () => {
    clearInterval(heartbeat)
    // What was told last is still on its way to them.
    for (const viewer of sockets.clients) viewer.close(1001)
    const patience = setTimeout(() => {
      for (const viewer of sockets.clients) viewer.terminate()
      server.closeAllConnections()
    }, FAREWELL)
    await new Promise((resolve) => server.close(resolve))
    clearTimeout(patience)
  }
  const url = door.urlOf(server)
  return { url, pageUrl: url.replace(/^ws/, 'http'), close, [Symbol.asyncDispose]: close }
}

/** Who may look. A page of another origin could read what runs on its visitor's machine, so origins are checked everywhere. */
class Door {
  readonly #host: string
  /** The page elsewhere that may look. */
  readonly page: URL | undefined
  readonly #token: string | undefined

  constructor({ host = '127.0.0.1', page }: ServerOptions) {
    this.#host = host
    this.page = page === undefined ? undefined : addressOf(page)
    this.#token = LOOPBACK.includes(host) ? undefined : randomBytes(16).toString('hex')
  }

  urlOf(server: Server): string {
    const { port } = server.address() as AddressInfo
    const host = EVERYWHERE.includes(this.#host) ? hostname() : this.#host
    const name = host.includes(':') ? `[${host}]` : host
    return `ws://${name}:${port}/${this.#token === undefined ? '' : `?token=${this.#token}`}`
  }

  /** Why this one may not come in, as a status of HTTP. */
  refusal(request: IncomingMessage): number | undefined {
    const address = URL.parse(request.url ?? '', 'ws://viewer')
    if (address?.pathname !== '/') return 404
    if (this.#token !== undefined && !isSame(address.searchParams.get('token') ?? '', this.#token)) return 401
    return this.foreign(request)
  }

  /** Why this one may not even have the page, which itself tells nothing. */
  foreign({ headers: { origin, host = '' } }: IncomingMessage): number | undefined {
    // A name that points here but is not ours is how a page reaches a loopback address under its own origin.
    if (this.#token === undefined && !LOOPBACK.includes(nameOf(host))) return 403
    if (origin === undefined || origin === this.page?.origin || origin === `http://${host}`) return undefined
    return 403
  }
}

function isSame(given: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(token))
}

/** `[::1]:8080` and `localhost:8080` without their port. */
function nameOf(host: string): string {
  return host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}

function addressOf(page: string): URL {
  const address = URL.parse(page)
  if (address && /^https?:$/.test(address.protocol)) return address
  throw new ConfigError(`Expected the address of a page, such as https://stately.ai/inspect, got "${page}".`)
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  door: Door,
  page: ReadonlyMap<string, PageFile>,
): void {
  const file = page.get(request.url?.split('?')[0] ?? '')
  const isReading = request.method === 'GET' || request.method === 'HEAD'
  const refusal = door.foreign(request) ?? (file ? undefined : 404) ?? (isReading ? undefined : 405)
  if (refusal === undefined && file) {
    response.writeHead(200, { ...file.headers, 'content-type': file.type }).end(file.body)
    return
  }
  response.writeHead(refusal ?? 404, { ...PAGE_HEADERS, 'content-type': 'text/plain; charset=utf-8' })
  response.end(refusal === 404 ? 'Not here.\n' : 'Not for you.\n')
}

function refuse(socket: Duplex, status: number): void {
  socket.on('error', () => {})
  socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}

async function listen(server: Server, { port = 8080, host = '127.0.0.1' }: ServerOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen(port, host, resolve)
  try {
    await promise
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new ConfigError(
      `Expected a free port to inspect at, got ${code} for ${host}:${port}; name another one.`,
      {
        cause,
      },
    )
  }
}

const answered = new WeakSet<WebSocket>()

/** Whoever has not answered since the last beat is gone, or stands still. */
function beat(viewer: WebSocket): void {
  if (!answered.delete(viewer)) viewer.terminate()
  else viewer.ping()
}

/** Shows everything to one viewer, as fast as it takes it. */
function show(hub: Hub, viewer: WebSocket, socket: Duplex): void {
  const notes = new Notes()
  const flush = () => {
    // What is told together leaves by one call of the system.
    socket.cork()
    process.nextTick(() => socket.uncork())
    while (!notes.isEmpty && viewer.bufferedAmount < MOST_WAITING)
      for (const note of notes.take(100, hub.root)) viewer.send(frameOf(note, hub.root), onSent)
  }
  const onSent = () => {
    if (viewer.bufferedAmount === 0) flush()
  }
  const end = hub.watch((told) => {
    for (const note of told) notes.add(note)
    flush()
  })
  answered.add(viewer)
  viewer.on('pong', () => answered.add(viewer))
  // A frame that is too large or malformed closes the socket by itself.
  viewer.on('error', () => {})
  viewer.on('close', end)
}

const frames = new WeakMap<InspectionNote, string>()

/** Written once, however many look. */
function frameOf(note: InspectionNote, root: string): string {
  const frame = frames.get(note) ?? JSON.stringify(toStately(note, root))
  frames.set(note, frame)
  return frame
}
