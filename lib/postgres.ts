/**
 * A PostgreSQL database: how it is reached, migrated, asked and listened to. The only file that loads `pg`.
 * No statement is named and no setting outlives its transaction, so a PgBouncer in transaction mode may stand between;
 * what is listened for does not come through one.
 */
import type { Client, Pool, PoolClient, QueryResult } from 'pg'
import { QclusterError, StoreError } from './errors.ts'

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`, with `?sslmode=…` and the like. */
  readonly url: string
  /** What makes version n of the tables out of version n - 1; the first one makes them out of nothing. Never change one. */
  readonly migrations: readonly string[]
}

/** Asks one statement, in a transaction that is under way. */
export type Ask = <Row extends object>(sql: string, values?: readonly unknown[]) => Promise<Row[]>

/** One database, over a few connections that hold no process. All that it throws are a {@link StoreError}. */
export class PostgresDatabase {
  readonly #options: PostgresOptions
  readonly #ears = new Set<Ear>()
  #pool: Pool | undefined

  constructor(options: PostgresOptions) {
    this.#options = options
  }

  /** Reaches it, and makes or migrates its tables where needed. */
  async connect(): Promise<void> {
    const { Pool } = (await import('pg')).default
    // Not before: whoever connects at the same time would make another one.
    this.#pool ??= this.#makePool(Pool)
    if ((await this.#version()) !== this.#options.migrations.length) await this.#migrate()
  }

  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = undefined
    await Promise.all([...this.#ears].map((ear) => ear.stop()))
    await pool?.end()
  }

  /** The rows that a statement returns; it is a transaction of its own. */
  async query<Row extends object>(sql: string, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#ask<Row>(sql, values)).rows
  }

  /** How many rows a statement changes. */
  async run(sql: string, values: readonly unknown[]): Promise<number> {
    return (await this.#ask(sql, values)).rowCount ?? 0
  }

  /** Does `work` in one transaction, alone among all who call this: they wait for one another. */
  async alone<T>(work: (ask: Ask) => Promise<T>): Promise<T> {
    const pool = this.#connected()
    return this.#explained(async () => {
      const client = await pool.connect()
      try {
        const done = await transaction(client, work)
        client.release()
        return done
      } catch (error) {
        client.release(error as Error)
        throw error
      }
    })
  }

  /** Hears what is notified on a channel, over a connection of its own that comes back after a loss. */
  async listen(channel: string, onNote: (note: string) => void): Promise<{ stop(): Promise<void> }> {
    const { Client } = (await import('pg')).default
    const ear = new Ear(() => new Client(this.#config), channel, onNote)
    await this.#explained(() => ear.open())
    this.#ears.add(ear)
    const stop = async () => {
      this.#ears.delete(ear)
      await ear.stop()
    }
    return { stop }
  }

  /**
   * Asks again when its connection is gone: one that was cut while it was idle is noticed only when it is used, and there
   * may be as many such as there are connections. So whatever is asked may be done twice.
   */
  async #ask<Row extends object>(sql: string, values: readonly unknown[]): Promise<QueryResult<Row>> {
    const pool = this.#connected()
    return this.#explained(async () => {
      for (let others = CONNECTIONS; ; others -= 1)
        try {
          return await pool.query<Row>(sql, [...values])
        } catch (error) {
          if (others === 0 || !isCut(error as DriverError)) throw error
        }
    })
  }

  get #config() {
    return {
      connectionString: this.#options.url,
      application_name: 'qcluster',
      connectionTimeoutMillis: LONGEST_CONNECT,
      query_timeout: LONGEST_QUERY,
      keepAlive: true,
      keepAliveInitialDelayMillis: QUIET,
    }
  }

  #makePool(Pool: typeof import('pg').Pool): Pool {
    const pool = this.#explainedNow(
      () => new Pool({ ...this.#config, max: CONNECTIONS, allowExitOnIdle: true }),
    )
    // A connection that was lost while nobody used it: whoever is next gets another one.
    pool.on('error', () => {})
    return pool
  }

  /** 0 where there are no tables of ours. */
  async #version(): Promise<number> {
    const [known] = await this.query<{ exists: boolean }>(HAS_SCHEMA)
    if (!known?.exists) return 0
    const [row] = await this.query<{ version: number }>(SELECT_VERSION)
    return row?.version ?? 0
  }

  /** Once, whoever comes first; the others find it done. */
  async #migrate(): Promise<void> {
    await this.alone(async (ask) => {
      await ask(CREATE_SCHEMA)
      const [row] = await ask<{ version: number }>(SELECT_VERSION)
      const { migrations } = this.#options
      const from = row?.version ?? 0
      if (from > migrations.length) throw new StoreError(tooNew(this.#address, from, migrations.length))
      for (const migration of migrations.slice(from)) await ask(migration)
      await ask(SET_VERSION, [migrations.length])
    })
  }

  #connected(): Pool {
    if (!this.#pool)
      throw new StoreError(
        `${this.#address} is not connected: call connect() first, and nothing after close().`,
      )
    return this.#pool
  }

  async #explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #explainedNow<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #explain(error: unknown): QclusterError {
    if (error instanceof QclusterError) return error
    return new StoreError(explanation(this.#address, error as DriverError), { cause: error })
  }

  /** Without user and password. */
  get #address(): string {
    const { host, pathname } = URL.parse(this.#options.url) ?? { host: '', pathname: '' }
    return `PostgreSQL at ${host || 'the local socket'}${pathname}`
  }
}

/** True when the database is well and what was to be written is at fault, by what its error was caused by. */
export function isValueAtFault({ cause }: Error): boolean {
  if (cause instanceof RangeError) return true
  const { code } = (cause ?? {}) as DriverError
  return code !== undefined && AT_FAULT.has(code.slice(0, 2))
}

/** Text as PostgreSQL can keep it: it knows neither the character NUL nor half of a surrogate pair. */
export function toStorable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\u{fffd}')
}

/** Connections that one process has at most, beside the one that listens. */
const CONNECTIONS = 4
/** Milliseconds; longer than a server that is well ever needs. */
const LONGEST_CONNECT = 10_000
const LONGEST_QUERY = 30_000
/** Milliseconds without a word after which the system looks whether the server is still there, instead of two hours. */
const QUIET = 10_000
/** Milliseconds between two attempts to listen again. */
const PAUSE = 1_000

/** Our number among advisory locks: `qclu` in ASCII. */
const LOCK = 0x71_63_6c_75

/**
 * Classes of SQLSTATE after which the same values will never do: data exceptions, constraints, limits
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 */
const AT_FAULT = new Set(['22', '23', '54'])

/** A socket's, and PostgreSQL's "terminating connection" for whatever reason. */
const CUT = new Set(['ECONNRESET', 'EPIPE', '57P01', '57P02', '57P05'])

const HAS_SCHEMA = `select to_regclass('qcluster_schema') is not null as exists`
const CREATE_SCHEMA = 'create table if not exists qcluster_schema (version integer not null)'
const SELECT_VERSION = 'select max(version) as version from qcluster_schema'
const SET_VERSION = `
  with former as (delete from qcluster_schema) insert into qcluster_schema (version) values ($1)`

type DriverError = Error & { readonly code?: string }

/** The connection has ended, unlike a server that does not answer, or where nobody listens. */
function isCut({ code, message }: DriverError): boolean {
  return code === undefined ? message.startsWith('Connection terminated') : CUT.has(code)
}

async function transaction<T>(client: PoolClient, work: (ask: Ask) => Promise<T>): Promise<T> {
  await client.query('begin')
  try {
    await client.query('select pg_advisory_xact_lock($1)', [LOCK])
    const done = await work(async (sql, values = []) => (await client.query(sql, [...values])).rows)
    await client.query('commit')
    return done
  } catch (error) {
    // What matters is the first error; a connection that cannot roll back is thrown away.
    await client.query('rollback').catch(() => {})
    throw error
  }
}

/** Listens on one channel until it is stopped, whatever becomes of its connections. */
class Ear {
  readonly #make: () => Client
  readonly #channel: string
  readonly #onNote: (note: string) => void
  #client: Client | undefined
  #pause: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(make: () => Client, channel: string, onNote: (note: string) => void) {
    this.#make = make
    this.#channel = channel
    this.#onNote = onNote
  }

  async open(): Promise<void> {
    const client = this.#make()
    this.#client = client
    client.on('notification', ({ payload }) => this.#onNote(payload ?? ''))
    client.on('error', () => this.#lose(client))
    client.on('end', () => this.#lose(client))
    await client.connect()
    await client.query(`listen ${this.#channel}`)
    // Its types do not know it.
    ;(client as Client & { unref(): void }).unref()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#pause)
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => {}) // It is gone already.
  }

  #lose(client: Client): void {
    if (this.#isStopped || client !== this.#client) return
    this.#client = undefined
    this.#pause = setTimeout(() => void this.#reopen(), PAUSE).unref()
  }

  async #reopen(): Promise<void> {
    try {
      await this.open()
    } catch {
      if (this.#client) this.#lose(this.#client)
    }
  }
}

function tooNew(address: string, found: number, known: number): string {
  return `${address} was made by a newer qcluster (version ${found} of its tables, this one knows ${known}): update qcluster here, or use another database.`
}

/** What to do about an error, by its SQLSTATE or the code of the socket's. */
const REMEDIES: Readonly<Record<string, string>> = {
  '28000': 'It refuses this user: correct the user in the URL, or let the server admit it.',
  '28P01': 'It refuses this password: correct the user or the password in the URL.',
  '3D000': 'There is no such database: create it, or correct its name in the URL.',
  '42501': 'This user may not do that: grant it the right to create and use tables there.',
  '53300': 'It has too many connections: raise its max_connections, or put a PgBouncer between.',
  '57P03': 'It is starting or stopping: try again when it takes connections.',
  ECONNREFUSED: 'Nobody listens there: start it, or correct the URL.',
  ENOTFOUND: 'There is no such host: correct the URL.',
  ETIMEDOUT: 'It does not answer: see that it runs and that no firewall stands between.',
}

function explanation(address: string, error: DriverError): string {
  const remedy = REMEDIES[error.code ?? ''] ?? 'See that it runs and takes connections.'
  const message = error.message || firstMessageOf(error)
  return `${address} cannot be used (${message}). ${remedy}`
}

/** Where a name stands for several addresses, Node throws one error for all of them, without words. */
function firstMessageOf(error: Error): string {
  const [first] = (error as AggregateError).errors ?? []
  return first instanceof Error ? first.message : error.name
}
