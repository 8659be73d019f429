/**
 * Doorbells: a process that waits for others listens on a local socket; whoever has something for it rings, with a
 * note or without one. A ring may get lost, so whoever listens also looks now and then. Nothing here keeps a process
 * from ending by itself.
 */
import { createHash } from 'node:crypto'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'

/** A socket that listens for rings. */
export interface Doorbell {
  /** Where to ring: the path of a Unix socket, or the name of a pipe on Windows. */
  readonly path: string
  /** Stops listening and hangs up on everybody. */
  close(): Promise<void>
}

/**
 * Listens for rings in a directory that only this user can enter. `onRing` gets the notes that came together, an
 * empty text for a ring without one. `name` tells the doorbells of one directory apart; any text will do.
 */
export async function hangDoorbell(
  directory: string,
  name: string,
  onRing: (notes: string[]) => void,
): Promise<Doorbell> {
  const path = doorbellPath(directory, name)
  const visitors = new Set<Socket>()
  const server = createServer((socket) => {
    visitors.add(socket)
    socket.on('close', () => visitors.delete(socket))
    receive(socket, onRing)
  })
  await listen(server, path)
  return { path, close: () => takeDown(server, visitors) }
}

/** Rings doorbells, over connections that it keeps for the next time. */
export class Ringer {
  readonly #connections = new Map<string, Socket>()
  readonly #onDead: (path: string) => void

  /** `onDead` is told the path of a doorbell at which nobody listens any more. */
  constructor(onDead: (path: string) => void) {
    this.#onDead = onDead
  }

  /** Rings; the note must not hold a line feed. A listener that does not keep up is not rung again until it does. */
  ring(path: string, note = ''): void {
    const socket = this.#connections.get(path) ?? this.#connect(path)
    if (socket.writableLength < MOST_UNREAD) socket.write(`${note}\n`)
  }

  /** Hangs up, after what was said. */
  close(): void {
    for (const socket of this.#connections.values()) socket.destroySoon()
    this.#connections.clear()
  }

  #connect(path: string): Socket {
    const socket = connect(path)
    this.#connections.set(path, socket)
    // Until it is connected the socket keeps the process, so that one that enqueues and ends still gets its ring out.
    socket.on('connect', () => socket.unref())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (NOBODY_THERE.has(error.code ?? '')) this.#onDead(path)
    })
    socket.on('close', () => this.#forget(path, socket))
    socket.resume()
    return socket
  }

  #forget(path: string, socket: Socket): void {
    if (this.#connections.get(path) === socket) this.#connections.delete(path)
  }
}

const NOBODY_THERE = new Set(['ENOENT', 'ECONNREFUSED'])
/** Bytes. A listener that is this far behind knows that there is something to do. */
const MOST_UNREAD = 256 * 1024
/** Characters. Nobody of ours writes such a line. */
const LONGEST_NOTE = 1024 * 1024

function doorbellPath(directory: string, name: string): string {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 24)
  return process.platform === 'win32'
    ? `\\\\.\\pipe\\qcluster-${hash(`${directory}\0${name}`)}`
    : join(directory, hash(name))
}

async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // It stays: a visitor that cannot be let in later (too many open files) is no reason to end the process.
  server.on('error', reject)
  server.listen(path, resolve)
  server.unref()
  await promise
}

function takeDown(server: Server, visitors: ReadonlySet<Socket>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  for (const socket of visitors) socket.destroy()
  return promise
}

function receive(socket: Socket, onRing: (notes: string[]) => void): void {
  let unfinished = ''
  socket.unref()
  socket.setEncoding('utf8')
  // A ringer that was killed resets its connection; 'close' follows, and there is nothing else to do.
  socket.on('error', () => {})
  socket.on('data', (text: string) => {
    const notes = (unfinished + text).split('\n')
    unfinished = notes.pop() ?? ''
    if (unfinished.length > LONGEST_NOTE) socket.destroy()
    if (notes.length > 0) onRing(notes)
  })
}
