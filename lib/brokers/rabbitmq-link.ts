/** One connection to RabbitMQ: opened at the first server that answers, watched, and closed. The only file with amqplib in it. */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib'
import { BrokerError } from '../errors.ts'
import { type Address, placeOf, tlsOptionsOf } from './rabbitmq-address.ts'
import { type Traits, traitsOf } from './rabbitmq-traits.ts'

/** How long a server may take to answer, when we connect and when we leave. Milliseconds. */
const CONNECT_TIMEOUT = 10_000
const CLOSE_TIMEOUT = 2_000

/**
 * A connection that is open until it is closed or lost. It does not keep the process, except while somebody {@link hold}s
 * it. It tells when the server takes no messages from it any more, and when it does again.
 */
export class Link extends EventEmitter<{ blocked: []; unblocked: [] }> {
  readonly traits: Traits
  /** The server, for people. */
  readonly place: string
  /** Why the server takes no messages now; undefined while it does. */
  blocked: string | undefined
  /** Resolves with the reason when the connection is lost or closed. */
  readonly ended: Promise<BrokerError>
  readonly #model: ChannelModel
  readonly #socket: Socket
  #holders = 0

  constructor(model: ChannelModel, traits: Traits, address: Address) {
    super()
    this.#model = model
    this.#socket = socketOf(model)
    this.place = placeOf(address)
    this.ended = this.#watch()
    this.traits = traits
    letGo(model)
    ignoreLate(model)
    gatherWrites(this.#socket)
  }

  async channel(): Promise<Channel> {
    return closable(await this.#model.createChannel())
  }

  async confirmChannel(): Promise<ConfirmChannel> {
    return closable(await this.#model.createConfirmChannel())
  }

  /** Keeps the process alive until {@link release}. */
  hold(): void {
    if (this.#holders++ === 0) this.#socket.ref()
  }

  release(): void {
    if (--this.#holders === 0) this.#socket.unref()
  }

  /** Says goodbye to the server, but does not wait long for one that may be gone. */
  async close(): Promise<void> {
    this.hold()
    const giveUp = () => this.#socket.destroy(new Error('it did not answer our goodbye'))
    const timer = setTimeout(giveUp, CLOSE_TIMEOUT)
    await Promise.race([this.ended, this.#model.close().catch(giveUp)])
    clearTimeout(timer)
    this.release()
  }

  #watch(): Promise<BrokerError> {
    const { promise, resolve } = Promise.withResolvers<BrokerError>()
    let reason: Error | undefined
    this.#model.on('error', (error) => {
      reason = error
    })
    this.#model.on('close', (error) => {
      resolve(connectionLost(this.place, reason ?? error))
      // amqplib ends its half, which frees nothing while the other side is gone.
      setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT).unref()
    })
    this.#model.on('blocked', (why) => {
      this.blocked = why
      this.emit('blocked')
    })
    this.#model.on('unblocked', () => {
      this.blocked = undefined
      this.emit('unblocked')
    })
    return promise
  }
}

/** Connects to the first of these servers that answers. `name` is what its management page shows. */
export async function openLink(addresses: readonly Address[], name: string): Promise<Link> {
  const failures: BrokerError[] = []
  for (const address of addresses) {
    try {
      return await openAt(address, name)
    } catch (error) {
      failures.push(error instanceof BrokerError ? error : refusal(error as Error, address))
    }
  }
  throw failures.length === 1 ? failures[0] : noneAnswers(failures)
}

/**
 * Waits for the server, but not for ever: it does not read what we write while it is low on memory.
 * @throws {BrokerError} when it has not answered within so many milliseconds
 */
export async function answered<T>(answer: Promise<T>, timeout: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(notAnswered(timeout)), timeout)
  try {
    return await Promise.race([answer, late])
  } catch (error) {
    throw asBrokerError(error)
  } finally {
    clearTimeout(timer)
  }
}

function notAnswered(timeout: number): BrokerError {
  return new BrokerError(
    `RabbitMQ did not answer within ${timeout / 1000} seconds: it may be low on memory or disk, or not be reachable any more. See \`rabbitmq-diagnostics status\`.`,
    { isTransient: true },
  )
}

async function openAt(address: Address, name: string): Promise<Link> {
  const model = await connect(address, name)
  try {
    return new Link(model, traitsOf(model.connection.serverProperties.version), address)
  } catch (error) {
    await model.close()
    throw error
  }
}

async function connect(address: Address, name: string): Promise<ChannelModel> {
  const { connect: open, credentials } = await import('amqplib')
  const { protocol, host: hostname, port, user, password, heartbeat } = address
  return open(
    // amqplib decodes the vhost, also of a form that was never encoded.
    { protocol, hostname, port, vhost: encodeURIComponent(address.vhost), heartbeat },
    {
      ...tlsOptionsOf(address),
      credentials: address.isExternal ? credentials.external() : credentials.plain(user, password),
      // Without it a message of two packets waits 40 ms for the acknowledgement of the first.
      noDelay: true,
      keepAlive: true,
      timeout: CONNECT_TIMEOUT,
      clientProperties: { connection_name: name },
    },
  )
}

/** amqplib waits for ever for the answer to a close when the connection is lost meanwhile. */
function closable<T extends Channel>(channel: T): T {
  const closed = new Promise<void>((resolve) => channel.once('close', resolve))
  const close = channel.close.bind(channel)
  channel.close = () => Promise.race([closed, close()])
  return channel
}

/** What amqplib has no public name for: the socket, the timers of the heartbeat, and who takes what comes. */
interface Internals {
  readonly stream: Socket
  /** By their numbers; null where one is closed. */
  readonly channels: readonly (object | null)[]
  accept: (frame: { readonly channel: number }) => void
  readonly heartbeater?: { readonly sendTimer: NodeJS.Timeout; readonly recvTimer: NodeJS.Timeout }
}

const internalsOf = (model: ChannelModel): Internals => model.connection as unknown as Internals
const socketOf = (model: ChannelModel): Socket => internalsOf(model).stream

/** Lets the process end while the connection is idle. */
function letGo(model: ChannelModel): void {
  const { stream, heartbeater } = internalsOf(model)
  stream.unref()
  heartbeater?.sendTimer.unref()
  heartbeater?.recvTimer.unref()
}

/**
 * A server that closes a channel may still send deliveries there that were on their way. amqplib has forgotten the channel
 * by then, and would end the whole connection for a frame that it cannot place.
 */
function ignoreLate(model: ChannelModel): void {
  const connection = internalsOf(model)
  const accept = connection.accept.bind(connection)
  connection.accept = (frame) => {
    if (connection.channels[frame.channel]) accept(frame)
  }
}

/** Sends what is written in one turn of the event loop in one packet: amqplib writes each frame by itself. */
function gatherWrites(socket: Socket): void {
  const write = socket.write.bind(socket)
  let isGathering = false
  const send = () => {
    isGathering = false
    socket.uncork()
  }
  // As amqplib calls it: with a frame.
  socket.write = (frame: string | Uint8Array) => {
    if (!isGathering) {
      isGathering = true
      socket.cork()
      process.nextTick(send)
    }
    return write(frame)
  }
}

/** What RabbitMQ or amqplib say, as an error of ours. */
export function asBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  const { message, code } = error as Error & { code?: unknown }
  if (code === 403)
    return new BrokerError(
      `RabbitMQ does not allow it: ${message}. Give the user configure, write and read on '^(qcluster\\..*|amq\\.gen.*|amq\\.default)$' (rabbitmqctl set_permissions).`,
      { cause: error },
    )
  return new BrokerError(`RabbitMQ refuses: ${message}.`, { cause: error, isTransient: true })
}

function connectionLost(place: string, reason: Error | undefined): BrokerError {
  const why = reason?.message ?? 'it was closed'
  return new BrokerError(`The connection to RabbitMQ at ${place} is lost: ${why}.`, {
    cause: reason,
    isTransient: true,
  })
}

function noneAnswers(failures: readonly BrokerError[]): BrokerError {
  const isTransient = failures.some((failure) => failure.isTransient)
  return new BrokerError(
    `None of ${failures.length} servers can be used. ${failures.map(({ message }) => message).join(' ')}`,
    { isTransient },
  )
}

/** What a refused connection means: the first pattern that its message or code matches, with what to do. */
const REFUSALS: readonly {
  readonly sign: RegExp
  readonly isTransient?: true
  readonly say: (address: Address, reason: string) => string
}[] = [
  {
    sign: /ACCESS[-_]REFUSED/,
    say: ({ user, isExternal }) =>
      isExternal
        ? 'refuses the login by this certificate: it has no user of that name, or not the plugin rabbitmq_auth_mechanism_ssl. Add the user, or correct certfile in the option broker'
        : `refuses the user "${user}": unknown, wrong password, or not allowed from here. Correct user and password in the option broker`,
  },
  {
    sign: /Expected ConnectionOpenOk|NOT_ALLOWED/,
    say: ({ vhost, user }) =>
      `has no virtual host "${vhost}" that the user "${user}" may use. Create it and set its permissions, or correct the end of the URL`,
  },
  {
    sign: /ECONNREFUSED|ECONNRESET|EPIPE|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN/,
    isTransient: true,
    say: (_, reason) => `does not answer (${reason}). Start it, or correct the option broker`,
  },
  {
    sign: /ETIMEDOUT/,
    isTransient: true,
    say: () =>
      `does not answer within ${CONNECT_TIMEOUT / 1000} seconds, or not as RabbitMQ does. Start it, or correct the option broker`,
  },
  {
    sign: /ENOTFOUND/,
    say: ({ host }) => `cannot be found: there is no host "${host}". Correct the option broker`,
  },
  {
    sign: /WRONG_VERSION_NUMBER|wrong version number|packet length too long|EPROTO/,
    say: () => 'does not speak TLS there. Write amqp://, or the port for TLS (5671)',
  },
  {
    // Before the certificate of the server: the server's alerts are about ours.
    sign: /alert|handshake failure/i,
    say: (_, reason) =>
      `ended the TLS handshake (${/(?:ssl|tls)\S* alert [a-z ]+/i.exec(reason)?.[0] ?? reason}). It may want a client's certificate that it trusts: ?certfile=…&keyfile=…`,
  },
  {
    sign: /CERT|certificate|altnames/i,
    say: (_, reason) =>
      `has a certificate that is not trusted (${reason}). Name its CA in the URL: ?cacertfile=/path/ca.pem`,
  },
  {
    // A server that starts or stops does that too.
    sign: /Socket closed abruptly|before secure TLS/,
    isTransient: true,
    say: ({ protocol }) =>
      `hangs up: it may be starting, ${protocol === 'amqp' ? 'expect TLS (amqps://), ' : ''}or not be RabbitMQ`,
  },
]

function refusal(cause: Error, address: Address): BrokerError {
  const reason = reasonOf(cause)
  const known = REFUSALS.find(({ sign }) => sign.test(reason))
  const what =
    known?.say(address, reason) ?? `answers, but not as RabbitMQ does (${reason}). Correct the option broker`
  return new BrokerError(`RabbitMQ at ${placeOf(address)} ${what}.`, {
    cause,
    isTransient: known?.isTransient ?? false,
  })
}

/** Of a host with several addresses, Node tells each one's failure in `errors` and nothing in its message. */
function reasonOf(error: Error & { code?: unknown; errors?: readonly Error[] }): string {
  const { code, message, errors = [] } = error
  const told = [message, ...errors.map((one) => one.message)].filter(Boolean).join('; ')
  return typeof code === 'string' && !told.includes(code) ? `${code} ${told}`.trim() : told
}
