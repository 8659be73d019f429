import { connect as connectSocket, createServer, type Server, type Socket } from 'node:net'
import { posix, win32 } from 'node:path'
import { ConfigError, FrameError } from '../errors.ts'

/** What a frame carries: one message of some kind, with many items at best. All of it must survive JSON. */
export interface FrameMessage {
  readonly kind: string
}

export interface FrameOptions {
  /** The most bytes one frame may have, sent or received; 480 MiB, near the longest text of V8. Both ends must agree. */
  readonly largestFrame?: number
  /** Bytes that may wait for the other end before `send` says no; 1 MiB, and never less than Node's own 64 KiB. */
  readonly highWaterMark?: number
}

/** What a connection is to whoever talks over it. */
export type Line<TIn extends FrameMessage, TOut extends FrameMessage> = Pick<
  FrameSocket<TIn, TOut>,
  'onMessage' | 'onClose' | 'send' | 'flush' | 'destroy'
>

/** How those who work together reach one another: over {@link sockets}, or in one process. */
export interface Peers {
  listen<TIn extends FrameMessage, TOut extends FrameMessage>(
    path: string,
    onConnection: (line: Line<TIn, TOut>) => void,
  ): Promise<Pick<FrameServer, 'destroy'>>
  /** Undefined where nobody listens. */
  connect<TIn extends FrameMessage, TOut extends FrameMessage>(
    path: string,
  ): Promise<Line<TIn, TOut> | undefined>
}

/** A socket file that is listened on. */
export interface FrameServer {
  readonly path: string
  /** Takes no more connections, closes those it has (see {@link FrameSocket.close}), and removes the path. */
  close(): Promise<void>
  /** The same, but cuts connections off instead of waiting for their other ends; also to hurry up a `close`. */
  destroy(): Promise<void>
}

const MEBIBYTE = 1024 * 1024
const LARGEST_FRAME = 480 * MEBIBYTE
const HIGH_WATER_MARK = MEBIBYTE

/** A frame is its length, four bytes big-endian, and then so many bytes of UTF-8 JSON. */
const LENGTH_BYTES = 4

/** What `sockaddr_un` has room for, without its closing zero. */
const LONGEST_PATH = process.platform === 'linux' ? 107 : 103

/**
 * One end of a connection that carries whole messages, in order. Messages sent within one turn of the event loop leave
 * together in one write. Nothing is lost silently: either a message was handed over, or both ends see the close.
 */
export class FrameSocket<TIn extends FrameMessage = FrameMessage, TOut extends FrameMessage = FrameMessage> {
  readonly #socket: Socket
  readonly #largestFrame: number
  readonly #highWaterMark: number
  readonly #frames: FrameReader
  #closed = false
  #failure: Error | undefined
  #isFull = false
  #flushing: NodeJS.Immediate | undefined
  #onMessage: (message: TIn) => void = () => {}
  #onDrain: () => void = () => {}
  #onClose: (failure: Error | undefined) => void = () => {}

  constructor(socket: Socket, options: FrameOptions = {}) {
    this.#socket = socket
    this.#largestFrame = options.largestFrame ?? LARGEST_FRAME
    // Below the socket's own mark Node never says `drain`.
    this.#highWaterMark = Math.max(options.highWaterMark ?? HIGH_WATER_MARK, socket.writableHighWaterMark)
    this.#frames = new FrameReader(this.#largestFrame)
    socket.on('drain', () => this.#drained())
    socket.on('error', (error) => this.#failed(error))
    socket.on('close', () => this.#left())
  }

  /** Takes messages, one by one, in order. Reading starts with this call, so nothing that came before it is missed. */
  onMessage(listener: (message: TIn) => void): void {
    this.#onMessage = listener
    if (this.#socket.listenerCount('data') === 0) this.#socket.on('data', (chunk) => this.#receive(chunk))
  }

  /** Called each time there is room again after a `send` that said no. */
  onDrain(listener: () => void): void {
    this.#onDrain = listener
  }

  /**
   * Called once, when the connection is over, whoever ended it; afterwards no message is delivered. A peer that was
   * killed is an ordinary close; `failure` is a {@link FrameError} when it broke the protocol, or a system error.
   */
  onClose(listener: (failure: Error | undefined) => void): void {
    this.#onClose = listener
    if (this.#closed) queueMicrotask(() => listener(this.#failure))
  }

  /**
   * Sends a message. False when so much waits for the other end that the caller should pause until `onDrain`; the
   * message was taken all the same. On a connection that is closing it does nothing: `onClose` tells.
   *
   * @throws {FrameError} when the message is larger than a frame may be; the connection goes on.
   */
  send(message: TOut): boolean {
    const frame = encodeFrame(message, this.#largestFrame)
    if (!this.#socket.writable) return false
    this.#corkThisTurn()
    this.#socket.write(frame)
    return this.#hasRoom()
  }

  /**
   * Writes what was sent in this turn now, for a caller that is about to block the event loop.
   * True when nothing is left in this process.
   */
  flush(): boolean {
    clearImmediate(this.#flushing)
    this.#flushing = undefined
    this.#socket.uncork()
    return this.#socket.writableLength === 0
  }

  /**
   * Writes all that was sent, then says that no more will come. What the other end still sends is delivered, until it
   * closes as well. Resolves when the connection is over; an owner who cannot wait calls `destroy`.
   */
  async close(): Promise<void> {
    if (this.#closed) return
    this.flush()
    // Where nobody listens, the other end's close would wait behind what it sent.
    this.#socket.resume()
    await new Promise<void>((resolve) => this.#socket.once('close', () => resolve()).end())
  }

  /** Cuts the connection off. What has not left is dropped, and no message is delivered any more. */
  destroy(): void {
    this.#socket.destroy()
  }

  #corkThisTurn(): void {
    if (this.#flushing) return
    this.#socket.cork()
    this.#flushing = setImmediate(() => this.flush())
  }

  /** A turn that sends a lot is written in pieces; only what the kernel does not take counts as waiting. */
  #hasRoom(): boolean {
    if (this.#socket.writableLength >= this.#highWaterMark) this.flush()
    this.#isFull ||= this.#socket.writableLength >= this.#highWaterMark
    return !this.#isFull
  }

  #drained(): void {
    if (!this.#isFull) return
    this.#isFull = false
    this.#onDrain()
  }

  #receive(chunk: Buffer): void {
    this.#frames.push(chunk)
    // A listener may destroy the connection; what the same chunk carried behind its message is then nobody's.
    while (!this.#socket.destroyed) {
      const message = this.#nextMessage()
      if (!message) return
      this.#onMessage(message)
    }
  }

  #nextMessage(): TIn | undefined {
    try {
      return this.#frames.next() as TIn | undefined
    } catch (error) {
      this.#socket.destroy(error as FrameError)
      return undefined
    }
  }

  /** A killed peer shows as ECONNRESET, or as EPIPE to whoever writes: that is how it closes, not a failure of ours. */
  #failed(error: NodeJS.ErrnoException): void {
    if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') this.#failure = error
  }

  #left(): void {
    clearImmediate(this.#flushing)
    this.#closed = true
    this.#onClose(this.#failure)
  }
}

/**
 * Listens on a path that {@link socketPath} made. Each connection is handed over before anything is read from it.
 *
 * @throws The system's error when the path is taken or may not be made.
 */
export async function listen<TIn extends FrameMessage, TOut extends FrameMessage>(
  path: string,
  onConnection: (socket: FrameSocket<TIn, TOut>) => void,
  options: FrameOptions = {},
): Promise<FrameServer> {
  const connections = new Set<FrameSocket<TIn, TOut>>()
  const server = createServer((socket) => {
    const connection = new FrameSocket<TIn, TOut>(socket, options)
    connections.add(connection)
    socket.once('close', () => connections.delete(connection))
    onConnection(connection)
  })
  await settled(server, 'listening', () => server.listen(path))

  let closed: Promise<void> | undefined
  const leave = (end: (connection: FrameSocket<TIn, TOut>) => void) => {
    closed ??= closeServer(server)
    for (const connection of connections) end(connection)
    return closed
  }
  return {
    path,
    close: () => leave((connection) => void connection.close()),
    destroy: () => leave((connection) => connection.destroy()),
  }
}

/**
 * Connects to a path that another process listens on.
 *
 * @throws The system's error when nobody does.
 */
export async function connect<TIn extends FrameMessage, TOut extends FrameMessage>(
  path: string,
  options: FrameOptions = {},
): Promise<FrameSocket<TIn, TOut>> {
  const socket = connectSocket(path)
  const connection = new FrameSocket<TIn, TOut>(socket, options)
  await settled(socket, 'connect')
  return connection
}

const NOBODY_THERE = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET'])

/**
 * Connects to a peer that may be gone by now; undefined then. Whoever follows it is introduced as well.
 *
 * @throws The system's error when it fails for any other reason.
 */
async function connectIfThere<TIn extends FrameMessage, TOut extends FrameMessage>(
  path: string,
): Promise<FrameSocket<TIn, TOut> | undefined> {
  try {
    return await connect<TIn, TOut>(path)
  } catch (error) {
    if (NOBODY_THERE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

/** Peers in processes of their own. */
export const sockets: Peers = { listen, connect: connectIfThere }

/**
 * Where the socket `name` of a runtime directory is: a file in it, on Windows the named pipe of that file's path.
 *
 * @throws {ConfigError} when the path is longer than the system lets a socket's be.
 */
export function socketPath(directory: string, name: string, platform = process.platform): string {
  if (platform === 'win32') return win32.join('\\\\?\\pipe', directory, name)
  const path = posix.join(directory, name)
  const bytes = Buffer.byteLength(path)
  if (bytes <= LONGEST_PATH) return path
  throw new ConfigError(
    `A socket's path may have ${LONGEST_PATH} bytes, ${path} has ${bytes}; set TMPDIR to a folder with a shorter path.`,
  )
}

/** Cuts a stream of bytes into messages. A byte is copied at most twice, however small the pieces are that it comes in. */
class FrameReader {
  readonly #largestFrame: number
  #chunks: Buffer[] = []
  #size = 0
  /** Bytes to have before it is worth looking: a length, or a length and all that it announces. */
  #wanted = LENGTH_BYTES
  #offset = 0

  constructor(largestFrame: number) {
    this.#largestFrame = largestFrame
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
  }

  /**
   * The next whole message, or undefined when more bytes are needed.
   * @throws {FrameError} when a frame is too large or carries no message.
   */
  next(): FrameMessage | undefined {
    if (this.#size - this.#offset < this.#wanted) return this.#wait()
    const bytes = this.#joined()
    const start = this.#offset + LENGTH_BYTES
    const length = bytes.readUInt32BE(this.#offset)
    refuseLarge(length, this.#largestFrame, 'received')
    if (this.#size - start < length) {
      this.#wanted = LENGTH_BYTES + length
      return this.#wait()
    }
    this.#wanted = LENGTH_BYTES
    this.#offset = start + length
    return parseMessage(bytes.toString('utf8', start, this.#offset))
  }

  /** Joins only once a whole frame is there: joining as chunks arrive would copy a large frame again for each of them. */
  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#size)]
    return this.#chunks[0] as Buffer
  }

  /** Forgets what was read, so that only the beginning of an unfinished frame is kept. */
  #wait(): undefined {
    if (this.#offset === 0) return
    const rest = this.#joined().subarray(this.#offset)
    this.#chunks = rest.length > 0 ? [rest] : []
    this.#size = rest.length
    this.#offset = 0
  }
}

function encodeFrame(message: FrameMessage, largestFrame: number): Buffer {
  const text = JSON.stringify(message)
  const length = Buffer.byteLength(text)
  refuseLarge(length, largestFrame, 'to send')
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + length)
  frame.writeUInt32BE(length)
  frame.write(text, LENGTH_BYTES)
  return frame
}

function refuseLarge(length: number, largestFrame: number, which: string): void {
  if (length <= largestFrame) return
  throw new FrameError(
    `A frame may have ${largestFrame} bytes, the one ${which} has ${length}; pass large data by reference, such as a file's path.`,
  )
}

function parseMessage(text: string): FrameMessage {
  const message = parseJson(text) as FrameMessage | null
  if (typeof message?.kind === 'string') return message
  throw new FrameError(
    `Expected a frame with a message of some kind, got ${JSON.stringify(text.slice(0, 60))}; run one version of qcluster in all processes.`,
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new FrameError(`Expected a frame of JSON, got ${JSON.stringify(text.slice(0, 60))}.`, {
      cause: error,
    })
  }
}

function settled(emitter: Server | Socket, event: string, begin?: () => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  emitter.once(event, resolve).once('error', reject)
  begin?.()
  return promise.finally(() => emitter.off(event, resolve).off('error', reject))
}

/** Node removes the socket's file itself. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
}
