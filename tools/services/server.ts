/** What the servers have in common: ports, and processes that end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** Ports of this machine that nobody listens on, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

export const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null

/**
 * Ends a group of processes when this process is gone, however it went, also by a kill with -9; then does one thing more
 * in the shell. A process of its own waits for that.
 */
export class Leash {
  readonly #holder: ChildProcess

  constructor(farewell: string) {
    const script = `while read -r group; do last=$group; done; [ -n "$last" ] && kill -9 "-$last"; ${farewell}`
    this.#holder = spawn('sh', ['-c', script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#holder.unref()
  }

  /** From now on it is this group that is ended; undefined: none. */
  hold(group: number | undefined): void {
    this.#holder.stdin?.write(`${group ?? ''}\n`)
  }

  /** Does now what it would do at the end of this process. */
  async cut(): Promise<void> {
    if (hasEnded(this.#holder)) return
    // It keeps no process, but now one waits for it.
    this.#holder.ref()
    const exit = once(this.#holder, 'exit')
    this.#holder.stdin?.end()
    await exit
  }
}
