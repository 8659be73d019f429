/** Where RabbitMQ is: what a user writes as `amqp://…`, read once. A password never leaves it but to log in. */
import { readFileSync } from 'node:fs'
import { BrokerError, ConfigError } from '../errors.ts'

/** One server of a RabbitMQ cluster, and how to log in there. */
export interface Address {
  readonly protocol: 'amqp' | 'amqps'
  readonly host: string
  readonly port: number
  readonly vhost: string
  readonly user: string
  readonly password: string
  /** Seconds between two signs of life; the server's own where that is shorter. */
  readonly heartbeat: number
  /** The user is known by the client's certificate. */
  readonly isExternal: boolean
  readonly tls: TlsFiles
}

interface TlsFiles {
  readonly cacertfile?: string
  readonly certfile?: string
  readonly keyfile?: string
  /** False: `verify=verify_none`. */
  readonly isVerified: boolean
}

/** How long a dead peer may go unnoticed: two to three of these. Seconds. */
const HEARTBEAT = 10

/**
 * Reads the servers from the option `broker`: one URL or several, tried in turn. Options of a URL are those that RabbitMQ
 * documents: `heartbeat`, `cacertfile`, `certfile`, `keyfile`, `verify`, `auth_mechanism`.
 * @see https://www.rabbitmq.com/docs/uri-query-parameters
 * @throws {ConfigError} when one is no URL of RabbitMQ
 */
export function parseAddresses(broker: string | readonly string[]): Address[] {
  const addresses = [broker].flat().map(parseAddress)
  if (addresses.length > 0) return addresses
  throw new ConfigError('broker: expected a URL such as amqp://localhost, got an empty list.')
}

/** A server for people: neither user nor password. */
export function placeOf({ protocol, host, port, vhost }: Address): string {
  const path = vhost === '/' ? '' : `/${encodeURIComponent(vhost)}`
  return `${protocol}://${host.includes(':') ? `[${host}]` : host}:${port}${path}`
}

/** The files that an address names, read: what a TLS connection is made with. */
export function tlsOptionsOf({ protocol, tls }: Address) {
  if (protocol === 'amqp') return {}
  return {
    ...(tls.cacertfile && { ca: [readTlsFile('cacertfile', tls.cacertfile)] }),
    ...(tls.certfile && { cert: readTlsFile('certfile', tls.certfile) }),
    ...(tls.keyfile && { key: readTlsFile('keyfile', tls.keyfile) }),
    rejectUnauthorized: tls.isVerified,
  }
}

function parseAddress(source: string): Address {
  const url = parseUrl(source)
  const query = url.searchParams
  const isAnonymous = url.username === '' && url.password === ''
  return {
    protocol: url.protocol === 'amqps:' ? 'amqps' : 'amqp',
    host: url.hostname.replace(/^\[|\]$/g, '') || 'localhost',
    port: Number(url.port) || (url.protocol === 'amqps:' ? 5671 : 5672),
    vhost: decodeURIComponent(url.pathname.slice(1)) || '/',
    user: isAnonymous ? 'guest' : decodeURIComponent(url.username),
    password: isAnonymous ? 'guest' : decodeURIComponent(url.password),
    heartbeat: heartbeatOf(query.get('heartbeat')),
    isExternal: query.get('auth_mechanism')?.toLowerCase() === 'external',
    tls: tlsFilesOf(query),
  }
}

function parseUrl(source: string): URL {
  const url = URL.canParse(source) ? new URL(source) : undefined
  if (url?.protocol === 'amqp:' || url?.protocol === 'amqps:') return url
  // The text may hold a password, so it is not shown.
  throw new ConfigError(
    `broker: expected a URL such as amqp://user:password@host:5672/vhost or amqps://…, got ${url ? `one of ${url.protocol}//…` : 'a text that is none'}. Characters such as @ and / in user, password and vhost are written %40 and %2F.`,
  )
}

function heartbeatOf(text: string | null): number {
  const seconds = Number(text ?? HEARTBEAT)
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= 600) return seconds
  throw new ConfigError(
    `broker: expected heartbeat to be a whole number of seconds from 1 to 600, got ${text}.`,
  )
}

function tlsFilesOf(query: URLSearchParams): TlsFiles {
  const [cacertfile, certfile, keyfile] = ['cacertfile', 'certfile', 'keyfile'].map((name) => query.get(name))
  return {
    ...(cacertfile && { cacertfile }),
    ...(certfile && { certfile }),
    ...(keyfile && { keyfile }),
    isVerified: query.get('verify') !== 'verify_none',
  }
}

function readTlsFile(name: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new BrokerError(
      `The ${name} of the option broker cannot be read: ${(cause as Error).message}. Correct its path.`,
      { cause },
    )
  }
}
