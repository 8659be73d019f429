/**
 * The SQLite files of the data folder: how they are opened, read and written without ever blocking the event loop on
 * another process's lock. The only file that loads `node:sqlite`.
 */
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { type Clock, systemClock } from './clock.ts'
import { QclusterError } from './errors.ts'

/** `normal` survives the death of every process, not a power cut; `full` survives that too, for a disk sync per commit. */
export type Durability = 'normal' | 'full'

export interface SqliteFileOptions {
  /** Where it is; or what {@link inMemory} says, for what lasts as long as it is open. */
  readonly path: string
  readonly durability: Durability
  /** What makes version n of the file out of version n - 1; the first one makes it out of nothing. Never change one. */
  readonly migrations: readonly string[]
  /** Milliseconds to wait for another process to end its transaction; 10,000 by default. Ours last a few. */
  readonly patience?: number
  /** What the times in it go by; the machine's where it is absent. */
  readonly clock?: Pick<Clock, 'now'>
  /** The class of what this file throws. */
  readonly Failure: new (
    message: string,
    options?: ErrorOptions,
  ) => QclusterError
}

/** One SQLite file, which several processes may use at a time. What it throws are errors of its `Failure` class. */
export class SqliteFile {
  readonly #options: FileOptions
  readonly #jobs: Job[] = []
  #opening: Promise<void> | undefined
  #flushing: Promise<void> | undefined
  #database: OpenDatabase | undefined

  constructor(options: SqliteFileOptions) {
    this.#options = { ...options, patience: new Patience(options.patience ?? 10_000) }
  }

  /** Opens it, making or migrating it where needed. Does nothing when it is open and well. */
  async connect(): Promise<void> {
    if (this.#database?.isUsable) return
    this.#options.patience.regain()
    this.#opening ??= this.#open()
    try {
      await this.#opening
    } finally {
      this.#opening = undefined
    }
  }

  /** From now on no other process is waited for longer than this, all in all: whoever closes has better things to do. */
  hurry(): void {
    this.#options.patience.lose(LAST_PATIENCE)
  }

  /** Carries out what is being written, then closes. */
  async close(): Promise<void> {
    this.hurry()
    await this.#opening?.catch(() => {}) // Whoever called connect() is told.
    await this.#flushing
    this.#database?.close()
    this.#database = undefined
  }

  /** What time it is: milliseconds since the epoch. */
  now(): number {
    return (this.#options.clock ?? systemClock).now()
  }

  get isOpen(): boolean {
    return this.#database !== undefined
  }

  /** SQLite's version, such as `3.53.4`. */
  async version(): Promise<string> {
    const row = await this.read(() => this.get<{ version: string }>('select sqlite_version() as version'))
    return row?.version ?? ''
  }

  /** Looks something up, as often as it takes until no other process is in the way. */
  async read<T>(work: () => T): Promise<T> {
    try {
      return await whenFree(this.#options, work)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /**
   * Does `work` in a transaction, which is committed when this resolves. What is asked for during one turn of the event
   * loop shares a transaction, because committing costs as much as writing dozens of rows; when that fails, each work
   * gets its own. So `work` may run twice; the first time is undone by then.
   *
   * @param rows about how many rows it touches: what bounds a shared transaction
   */
  write<T>(work: () => T, rows = 1): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.#jobs.push({ work, rows, resolve: resolve as (value: unknown) => void, reject })
    this.#flushing ??= this.#flush()
    return promise
  }

  /** Runs a statement, which is kept prepared, and returns how many rows it changed. */
  run(sql: string, ...values: SQLInputValue[]): number {
    return this.#statement(sql).run(...values).changes as number
  }

  /** The rows that a statement returns. */
  all<Row extends object>(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[]
  }

  /** The first row that a statement returns. */
  get<Row extends object>(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined
  }

  /** The rows that a statement returns, as arrays: half the cost of objects, for where it counts. */
  arrays<Row extends readonly unknown[]>(sql: string, ...values: SQLInputValue[]): Row[] {
    const statement = this.#statement(sql)
    statement.setReturnArrays(true)
    return statement.all(...values) as unknown[] as Row[]
  }

  async #open(): Promise<void> {
    this.#database?.close()
    this.#database = undefined
    try {
      this.#database = await openDatabase(this.#options)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #statement(sql: string): StatementSync {
    return this.#connected().statement(sql)
  }

  #connected(): OpenDatabase {
    if (!this.#database)
      throw new this.#options.Failure(
        `${this.#options.path} is not open: call connect() first, and nothing after close().`,
      )
    return this.#database
  }

  async #flush(): Promise<void> {
    while (this.#jobs.length > 0) {
      await turn()
      await this.#commit(takeJobs(this.#jobs))
    }
    this.#flushing = undefined
  }

  async #commit(jobs: readonly Job[]): Promise<void> {
    try {
      const database = this.#connected()
      await database.begin()
      const values = database.finish(() => jobs.map((job) => job.work()))
      for (const [i, job] of jobs.entries()) job.resolve(values[i])
    } catch (error) {
      await this.#reject(jobs, error)
    }
  }

  /** One work that cannot be done must not undo its neighbours; a database that cannot be used fails them all. */
  async #reject(jobs: readonly Job[], error: unknown): Promise<void> {
    const failure = this.#explain(error)
    if (jobs.length === 1 || error instanceof LockedTrouble || !this.#database?.isUsable)
      for (const job of jobs) job.reject(failure)
    else for (const job of jobs) await this.#commit([job])
  }

  #explain(error: unknown): QclusterError {
    if (error instanceof QclusterError) return error
    if (UNUSABLE.has(primaryCode(error))) this.#database?.condemn()
    return new this.#options.Failure(explanation(this.#options.path, error), { cause: error })
  }
}

/** A path that leads to no file: whoever opens the same name in this process shares what is kept. */
export function inMemory(name: string): string {
  return `${MEMORY}${name}?mode=memory&cache=shared`
}

const MEMORY = 'file:'

/** True when the file is well and what was to be written is at fault, by what its error was caused by. */
export function isValueAtFault({ cause }: Error): boolean {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException
  return AT_FAULT.has(primaryCode(cause) ?? code)
}

/** Rows that one shared transaction touches at most, about 20 ms of work, unless a single work touches more. */
const MOST_ROWS = 2_000

/** Milliseconds that another process may be in the way of who closes. */
const LAST_PATIENCE = 2_000

/** Primary result codes of SQLite (https://sqlite.org/rescode.html). */
const CODE = {
  busy: 5,
  locked: 6,
  readonly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  tooBig: 18,
  constraint: 19,
  mismatch: 20,
  notADatabase: 26,
} as const
/** After these it helps to wait; the latter is said of what is in memory. */
const TAKEN = new Set<number | undefined>([CODE.busy, CODE.locked])

/** After these nothing but opening the file again can help. */
const UNUSABLE = new Set<number | undefined>([
  CODE.readonly,
  CODE.io,
  CODE.corrupt,
  CODE.cannotOpen,
  CODE.notADatabase,
])

/** After these the same values will never do; Node itself refuses those that SQLite has no type for. */
const AT_FAULT = new Set<number | string | undefined>([
  CODE.tooBig,
  CODE.constraint,
  CODE.mismatch,
  'ERR_INVALID_ARG_TYPE',
  'ERR_INVALID_ARG_VALUE',
  'ERR_OUT_OF_RANGE',
])

interface Job {
  readonly work: () => unknown
  readonly rows: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Takes what came first, as much as one transaction should do. */
function takeJobs(jobs: Job[]): Job[] {
  let rows = 0
  let count = 0
  while (count < jobs.length && rows < MOST_ROWS) rows += (jobs[count++] as Job).rows
  return jobs.splice(0, count)
}

/** How long to wait for another process to end its transaction. */
class Patience {
  readonly #most: number
  #end = Number.POSITIVE_INFINITY

  constructor(most: number) {
    this.#most = most
  }

  /** True when who has waited since then is to wait no more. */
  isOver(since: number): boolean {
    return performance.now() > Math.min(since + this.#most, this.#end)
  }

  lose(rest: number): void {
    this.#end = Math.min(this.#end, performance.now() + rest)
  }

  regain(): void {
    this.#end = Number.POSITIVE_INFINITY
  }
}

type FileOptions = Omit<SqliteFileOptions, 'patience'> & { readonly patience: Patience }

/** What is wrong with a file, in words for its user. */
class FileTrouble extends Error {}
/** Another process holds the lock, and does not let go of it. */
class LockedTrouble extends FileTrouble {}

/** A connection to a file, with its prepared statements. */
class OpenDatabase {
  readonly #database: DatabaseSync
  readonly #options: FileOptions
  readonly #identity: string
  readonly #statements = new Map<string, StatementSync>()
  #condemned = false

  constructor(database: DatabaseSync, options: FileOptions) {
    this.#database = database
    this.#options = options
    this.#identity = fileIdentity(options.path)
  }

  get isUsable(): boolean {
    return !this.#condemned
  }

  /** Says that this connection is of no use any more. */
  condemn(): void {
    this.#condemned = true
  }

  statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /**
   * Begins a transaction that may write. SQLite's own wait for the lock would block the event loop, so its patience
   * is 0 and we ask again every millisecond.
   */
  async begin(): Promise<void> {
    this.#lookWhetherInPlace()
    await whenFree(this.#options, () => this.statement('begin immediate').run())
  }

  /** Does the work in the transaction that has begun and commits it, or undoes it and throws. */
  finish<T>(work: () => T): T {
    try {
      const value = work()
      this.statement('commit').run()
      return value
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('rollback')
      throw error
    }
  }

  close(): void {
    this.#database.close()
  }

  /** What is written to a deleted file nobody will ever read, and SQLite does not mind. Asking costs 2 µs. */
  #lookWhetherInPlace(): void {
    const { path } = this.#options
    if (fileIdentity(path) === this.#identity) return
    this.condemn()
    throw new FileTrouble(
      `${path} was removed or replaced while it was in use: connect again to use what is there now.`,
    )
  }
}

async function openDatabase(options: FileOptions): Promise<OpenDatabase> {
  const { DatabaseSync } = await import('node:sqlite')
  const isFile = !options.path.startsWith(MEMORY)
  if (isFile) makePrivateFile(options.path)
  const database = new DatabaseSync(options.path, { timeout: 0 })
  try {
    if (isFile) await whenFree(options, () => useWriteAheadLog(database))
    database.exec(`pragma synchronous = ${options.durability === 'full' ? 'full' : 'normal'}`)
    // Moving the log into the file syncs the disk: four times as seldom as SQLite would, for a log of up to 16 MB.
    database.exec('pragma wal_autocheckpoint = 4000')
    await migrate(database, options)
    return new OpenDatabase(database, options)
  } catch (error) {
    database.close()
    throw error
  }
}

/** SQLite would make the file readable for everybody. Its companions (-wal, -shm) get the same mode. */
function makePrivateFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  closeSync(openSync(path, 'a', 0o600))
}

function useWriteAheadLog(database: DatabaseSync): void {
  const row = database.prepare('pragma journal_mode = wal').get()
  if (row?.journal_mode !== 'wal')
    throw new Error('SQLite cannot keep a write-ahead log there, as on a network folder')
}

async function migrate(database: DatabaseSync, options: FileOptions): Promise<void> {
  const outdated = await whenFree(options, () => knownVersion(database, options) < options.migrations.length)
  if (!outdated) return
  await whenFree(options, () => database.exec('begin immediate'))
  // Another process may have done it since we looked.
  for (const migration of options.migrations.slice(knownVersion(database, options))) database.exec(migration)
  database.exec(`pragma user_version = ${options.migrations.length}; commit`)
}

function knownVersion(database: DatabaseSync, { path, migrations }: FileOptions): number {
  const version = Number(database.prepare('pragma user_version').get()?.user_version)
  if (version <= migrations.length) return version
  throw new FileTrouble(
    `${path} was made by a newer qcluster (file version ${version}, this one knows ${migrations.length}): update qcluster, or name another data folder.`,
  )
}

/** Does the work as soon as no other process holds the lock that it needs, without blocking the event loop. */
async function whenFree<T>({ path, patience }: FileOptions, work: () => T): Promise<T> {
  const since = performance.now()
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!TAKEN.has(primaryCode(error))) throw error
      if (patience.isOver(since)) throw lockedTrouble(path, performance.now() - since, error)
    }
    await sleep(1)
  }
}

function lockedTrouble(path: string, waited: number, cause: unknown): LockedTrouble {
  return new LockedTrouble(
    `${path} has been locked by another program for ${Number((waited / 1000).toFixed(2))} s: end what holds a transaction on it, such as an open sqlite3 shell.`,
    { cause },
  )
}

/** Which file a path leads to; empty when to none. */
function fileIdentity(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat ? `${stat.dev}:${stat.ino}` : ''
}

function primaryCode(error: unknown): number | undefined {
  const { errcode } = (error ?? {}) as { errcode?: number }
  return errcode === undefined ? undefined : errcode & 0xff
}

function explanation(path: string, error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  if (error instanceof FileTrouble) return message
  switch (primaryCode(error)) {
    case CODE.notADatabase:
      return `${path} is not an SQLite database (${message}): move it away, or name another data folder.`
    case CODE.corrupt:
      return `${path} is damaged (${message}): restore a copy, or move it away to begin with an empty one.`
    case CODE.full:
      return `${path} cannot grow, the disk is full (${message}): free some space.`
    case CODE.readonly:
      return `${path} cannot be written (${message}): give this user the right to write it and its folder.`
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return `${path} cannot be written (${code}): give this user the right to write it and its folder, or name another data folder.`
  if (code === 'EISDIR') return `${path} is a folder: move it away, or name another data folder.`
  return `${basename(path)} in ${dirname(path)} cannot be used: ${message}.`
}
