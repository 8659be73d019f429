/** What differs between the versions of RabbitMQ, decided in one place. */
import { BrokerError } from '../errors.ts'

/** What a server is and does. */
export interface Traits {
  /** Such as `3.10.8`. */
  readonly version: string
  /** The most bytes of a message that a server accepts which nobody has configured. */
  readonly largestMessage: number
  /**
   * What becomes of a consumer that holds a delivery for longer than the server's `consumer_timeout`: its channel is
   * closed, or it is cancelled alone. Either way all that it holds is handed out again.
   */
  readonly lateConsumer: 'loses its channel' | 'is cancelled'
  /** The header that counts how often a message came back to its queue before. */
  readonly returnsHeader: 'x-delivery-count' | 'x-acquired-count'
}

const MIB = 2 ** 20

/** @throws {BrokerError} when the server is older than 3.10, which has no safe dead lettering of quorum queues */
export function traitsOf(version: string): Traits {
  const isFrom = (major: number, minor: number) => isAtLeast(version, major, minor)
  if (!isFrom(3, 10))
    throw new BrokerError(`Expected RabbitMQ 3.10 or newer, got ${version}: upgrade the server.`)
  return {
    version,
    largestMessage: isFrom(4, 0) ? 16 * MIB : 128 * MIB,
    lateConsumer: isFrom(4, 3) ? 'is cancelled' : 'loses its channel',
    returnsHeader: isFrom(4, 3) ? 'x-acquired-count' : 'x-delivery-count',
  }
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [ours = 0, ourMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return ours > major || (ours === major && ourMinor >= minor)
}
