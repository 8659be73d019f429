/** A PgBouncer of our own in transaction mode, before a PostgreSQL server of our own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isPostgresAt, PostgresServer, postgresOwner } from './postgres.ts'
import { freePorts, hasEnded } from './server.ts'

const LONGEST_START = 30_000

/** Where the program is; undefined where there is none. */
export function pgbouncerProgram(): string | undefined {
  return globSync([
    '/usr/sbin/pgbouncer',
    '/usr/bin/pgbouncer',
    '/usr/local/bin/pgbouncer',
    '/opt/homebrew/bin/pgbouncer',
  ])[0]
}

export class PgBouncer {
  readonly port: number
  readonly server: PostgresServer
  readonly #folder: string
  readonly #program: string
  #process: ChildProcess | undefined

  /** Makes both, not started yet. */
  static async make(): Promise<PgBouncer> {
    const program = pgbouncerProgram()
    if (!program) throw new Error('PgBouncer is not installed here: no pgbouncer was found.')
    const server = await PostgresServer.make()
    const [port = 0] = await freePorts(1)
    return new PgBouncer(program, server, port)
  }

  constructor(program: string, server: PostgresServer, port: number) {
    this.#program = program
    this.server = server
    this.port = port
    this.#folder = mkdtempSync(join(tmpdir(), 'qcluster-pgbouncer-'))
    writeFileSync(join(this.#folder, 'ini'), settings(port, server.port))
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`
  }

  /** Starts both; resolves when connections are taken. */
  async start(): Promise<void> {
    await this.server.start()
    const owner = postgresOwner()
    if (owner) chownSync(this.#folder, owner.uid, owner.gid)
    const child = spawn(this.#program, [join(this.#folder, 'ini')], { ...owner, stdio: 'ignore' })
    this.#process = child
    const deadline = Date.now() + LONGEST_START
    while (!(await isPostgresAt(this.port))) {
      if (hasEnded(child) || Date.now() > deadline) throw new Error('PgBouncer did not start.')
      await sleep(50)
    }
  }

  /** Stops both, and removes all they had. */
  async remove(): Promise<void> {
    const child = this.#process
    if (child && !hasEnded(child)) {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    }
    rmSync(this.#folder, { recursive: true, force: true })
    await this.server.remove()
  }
}

/** Two connections for all, so that they are shared as soon as three ask at once. */
function settings(port: number, target: number): string {
  return `[databases]
* = host=127.0.0.1 port=${target} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
`
}
