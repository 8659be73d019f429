/** A wire between a client and a server that can be cut, and made to lose all that goes over it without a word. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class Wire {
  readonly #server: Server
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  /** How often it hung up on somebody who came. */
  refused = 0
  #isMute = false
  #isMuffled = false
  #isClosed = false

  /** Listens at a port of its own, for what listens at `target`. */
  static async to(target: number): Promise<Wire> {
    const wire = new Wire(target)
    await once(wire.#server.listen(0, '127.0.0.1'), 'listening')
    return wire
  }

  constructor(target: number) {
    this.#target = target
    this.#server = createServer((client) => this.#join(client))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Cuts every connection that there is. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Cuts every connection, and hangs up on whoever comes. */
  hangUp(): void {
    this.#isClosed = true
    this.cut()
  }

  pickUp(): void {
    this.#isClosed = false
  }

  /** From now on nothing arrives any more, and nobody is told: the sockets stay open. */
  mute(): void {
    this.#isMute = true
  }

  /** New connections work again; those that lost something stay mute. */
  unmute(): void {
    this.#isMute = false
  }

  /** From now on the server hears all that is said to it, and is not heard. */
  muffle(): void {
    this.#isMuffled = true
  }

  /** For new connections; one that lost an answer stays muffled. */
  unmuffle(): void {
    this.#isMuffled = false
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #join(client: Socket): void {
    if (this.#isClosed) {
      this.refused += 1
      client.destroy()
      return
    }
    const server = connect(this.#target, '127.0.0.1')
    this.#carry(client, server, () => this.#isMute)
    this.#carry(server, client, () => this.#isMute || this.#isMuffled)
  }

  #carry(from: Socket, to: Socket, isLost: () => boolean): void {
    let hasLost = false
    this.#sockets.add(from)
    from.on('data', (data) => {
      hasLost ||= isLost()
      if (!hasLost) to.write(data)
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }
}
