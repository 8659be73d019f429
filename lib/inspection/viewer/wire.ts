/** The connection to the server: frames in, and a new try whenever it breaks. */

/** What the server sends: one happening, in the wire format of the Stately inspector. */
export interface Frame {
  readonly type: '@xstate.actor' | '@xstate.event' | '@xstate.snapshot'
  /** Milliseconds since the epoch, as a text. */
  readonly createdAt: string
  readonly sessionId: string
  readonly parentId?: string
  readonly sourceId?: string
  readonly name?: string
  readonly definition?: string
  /** How often the event was sent since it was told last; absent: once. */
  readonly times?: number
  readonly event?: { readonly type: string; readonly [field: string]: unknown }
  readonly snapshot?: SeenSnapshot
}

export interface SeenSnapshot {
  readonly status: string
  readonly value?: unknown
  readonly tags?: readonly string[]
  readonly error?: unknown
  readonly context?: unknown
}

export type Contact = 'connecting' | 'connected' | 'lost'

/** Milliseconds before a new try: the first, and the most. */
const PATIENCE = { first: 250, most: 4_000 } as const

export interface Listener {
  readonly hear: (frame: Frame) => void
  /** Called when a connection is open, before its first frame, and when it is lost. */
  readonly change: (contact: Contact) => void
}

/** Connects, and again whenever it ends, for as long as the page is open. */
export function connect(url: string, listener: Listener, wait: number = PATIENCE.first): void {
  const socket = new WebSocket(url)
  let next: number = Math.min(wait * 2, PATIENCE.most)
  socket.onopen = () => {
    next = PATIENCE.first
    listener.change('connected')
  }
  socket.onmessage = ({ data }) => {
    const frame = frameOf(String(data))
    if (frame) listener.hear(frame)
  }
  socket.onclose = () => {
    listener.change('lost')
    setTimeout(() => connect(url, listener, next), wait)
  }
}

/** Undefined for what is none of ours. */
export function frameOf(text: string): Frame | undefined {
  try {
    const frame = JSON.parse(text)
    return typeof frame?.sessionId === 'string' && typeof frame.type === 'string' ? frame : undefined
  } catch {
    return undefined
  }
}

/** The token of the address, which is taken out of it so that nobody reads it there or sends it on with a link. */
export function takeToken(): string {
  const address = new URL(location.href)
  const given = address.searchParams.get('token')
  if (given === null) return sessionStorage.getItem('token') ?? ''
  sessionStorage.setItem('token', given)
  address.searchParams.delete('token')
  history.replaceState(null, '', address)
  return given
}

/** Where the server of this page takes viewers. */
export function socketUrl(token: string): string {
  const { protocol, host } = location
  const query = token === '' ? '' : `?token=${encodeURIComponent(token)}`
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/${query}`
}
