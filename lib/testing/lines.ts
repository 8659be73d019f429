import type { FrameMessage, Line, Peers } from '../process/socket.ts'

type AnyLine = Line<FrameMessage, FrameMessage>

/** Connects those who are in one process, as sockets connect processes: what is sent is copied, and arrives a turn later. */
export class Exchange {
  readonly #listeners = new Map<string, (line: AnyLine) => void>()
  readonly #onMessage: (message: FrameMessage) => void
  #underWay = 0

  /** @param onMessage sees each message as it arrives */
  constructor(onMessage: (message: FrameMessage) => void) {
    this.#onMessage = onMessage
  }

  /** How many messages have not arrived yet. */
  get underWay(): number {
    return this.#underWay
  }

  /** What one of them connects by, and how it is cut off from all others. */
  member(): Peers & { cutOff(): void } {
    const lines = new Set<AnyLine>()
    return {
      listen: async (path, onConnection) => {
        this.#listeners.set(path, (line) => onConnection(line as Line<never, never>))
        return { destroy: async () => void this.#listeners.delete(path) }
      },
      connect: async (path) => {
        const onConnection = this.#listeners.get(path)
        if (!onConnection) return undefined
        const [mine, theirs] = this.#pair()
        lines.add(mine)
        onConnection(theirs)
        return mine as Line<never, never>
      },
      cutOff: () => {
        for (const line of lines) line.destroy()
      },
    }
  }

  #pair(): [AnyLine, AnyLine] {
    const [one, other] = [new LocalLine(), new LocalLine()]
    const carry = (to: LocalLine) => (message: FrameMessage) => {
      const copy = JSON.parse(JSON.stringify(message)) as FrameMessage
      this.#underWay += 1
      setImmediate(() => {
        this.#underWay -= 1
        this.#onMessage(copy)
        to.arrive(copy)
      })
    }
    one.join(other, carry(other))
    other.join(one, carry(one))
    return [one, other]
  }
}

/** One end of a connection within a process. */
class LocalLine implements AnyLine {
  #other: LocalLine | undefined
  #carry: (message: FrameMessage) => void = () => {}
  #onMessage: (message: FrameMessage) => void = () => {}
  #onClose: (failure: Error | undefined) => void = () => {}

  join(other: LocalLine, carry: (message: FrameMessage) => void): void {
    this.#other = other
    this.#carry = carry
  }

  arrive(message: FrameMessage): void {
    this.#onMessage(message)
  }

  onMessage(listener: (message: FrameMessage) => void): void {
    this.#onMessage = listener
  }

  onClose(listener: (failure: Error | undefined) => void): void {
    this.#onClose = listener
  }

  send(message: FrameMessage): boolean {
    if (this.#other) this.#carry(message)
    return this.#other !== undefined
  }

  flush(): boolean {
    return true
  }

  /** What was sent before arrives before both ends see the close. */
  destroy(): void {
    const other = this.#other
    if (!other) return
    this.#other = undefined
    other.#other = undefined
    setImmediate(() => {
      this.#onClose(undefined)
      other.#onClose(undefined)
    })
  }
}
