/** A PostgreSQL server of our own: its port and its folder belong to nobody else, so it may be killed at will. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, globSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts, hasEnded } from './server.ts'

const LONGEST_START = 30_000

/** Where the programs of the newest installed PostgreSQL are; undefined where there is none. */
export function postgresPrograms(): string | undefined {
  const found = globSync([
    '/usr/lib/postgresql/*/bin/postgres',
    '/usr/local/bin/postgres',
    '/opt/homebrew/bin/postgres',
  ])
  return found.toSorted().map(dirname).at(-1)
}

export class PostgresServer {
  readonly port: number
  readonly #folder: string
  readonly #programs: string
  /** PostgreSQL refuses to run as root. */
  readonly #owner: { readonly uid: number; readonly gid: number } | undefined
  #process: ChildProcess | undefined

  /** Makes a server that is not started yet. */
  static async make(): Promise<PostgresServer> {
    const programs = postgresPrograms()
    if (!programs) throw new Error('PostgreSQL is not installed here: no postgres was found.')
    const [port = 0] = await freePorts(1)
    return new PostgresServer(programs, port)
  }

  constructor(programs: string, port: number) {
    this.#programs = programs
    this.port = port
    this.#folder = mkdtempSync(join(tmpdir(), 'qcluster-postgres-'))
    this.#owner = postgresOwner()
    if (this.#owner) chownSync(this.#folder, this.#owner.uid, this.#owner.gid)
    const settings = ['--auth=trust', '--username=postgres', '--encoding=UTF8', '--no-locale', '--no-sync']
    execFileSync(join(programs, 'initdb'), [`--pgdata=${this.#data}`, ...settings], this.#options)
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`
  }

  /** Starts it, or starts it again with all that it had; resolves when it takes connections. */
  async start(): Promise<void> {
    const settings = [
      `port=${this.port}`,
      'listen_addresses=127.0.0.1',
      `unix_socket_directories=${this.#folder}`,
    ]
    const args = settings.flatMap((setting) => ['-c', setting])
    const child = spawn(join(this.#programs, 'postgres'), ['-D', this.#data, ...args], this.#options)
    this.#process = child
    const deadline = Date.now() + LONGEST_START
    while (!(await isPostgresAt(this.port))) {
      if (hasEnded(child) || Date.now() > deadline) throw new Error('PostgreSQL did not start.')
      await sleep(50)
    }
  }

  /** Stops it at once but in order: it ends its connections. */
  async stop(): Promise<void> {
    await this.#end('SIGINT')
  }

  /** Kills it with -9; its children end when they see it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Stops it, and removes all it had. */
  async remove(): Promise<void> {
    await this.#end('SIGQUIT')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  get #data(): string {
    return join(this.#folder, 'data')
  }

  get #options() {
    return { ...this.#owner, cwd: this.#folder, stdio: 'ignore' as const }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || hasEnded(child)) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
}

/** Whether PostgreSQL takes connections at a port; one that recovers from a kill answers, but takes none yet. */
export async function isPostgresAt(port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect({ host, port })
  socket.setTimeout(2_000, () => socket.destroy(new Error('no answer')))
  try {
    await once(socket, 'connect')
    socket.write(GREETING)
    const [data] = (await once(socket, 'data')) as [Buffer]
    const answer = data.toString('latin1')
    return answer.startsWith('R') || (answer.startsWith('E') && !answer.includes(NOT_YET))
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** A startup message of protocol 3.0; it is answered by what is asked to prove oneself, or by an error. */
const GREETING = startupMessage('user\0postgres\0database\0postgres\0\0')
/** The SQLSTATE of a server that is starting. */
const NOT_YET = '57P03'

function startupMessage(parameters: string): Buffer {
  const message = Buffer.alloc(8 + parameters.length)
  message.writeInt32BE(message.length, 0)
  message.writeInt32BE(3 << 16, 4)
  message.write(parameters, 8, 'latin1')
  return message
}

/** Who runs the programs where we are root, for they refuse to run as root. */
export function postgresOwner(): { readonly uid: number; readonly gid: number } | undefined {
  return process.getuid?.() === 0 ? idsOf('postgres') : undefined
}

function idsOf(user: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, user], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}
