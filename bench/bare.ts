/** The same work without us, so that a slow or busy machine can be told from a slow program. */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Percentiles, percentilesOf, timesOf } from './latency.ts'
import { medianOf, residentMebibytes } from './life.ts'
import { endLater, makeFolder } from './resources.ts'
import { TASKS } from './throughput.ts'

const BATCH = 500
const BODY = 'x'.repeat(256)
const REPEATS = 3

/** Rows a second that one process claims, saves elsewhere and deletes, 500 in a transaction. */
export function bareClaims(): number {
  const folder = makeFolder()
  const queue = open(join(folder, 'queue.db'), 'queue', 'seq integer primary key, lease integer, body text')
  const results = open(join(folder, 'results.db'), 'results', 'seq integer primary key, body text')
  inTransaction(queue, () => {
    const insert = queue.prepare('insert into queue (body) values (?)')
    for (let n = 0; n < TASKS; n += 1) insert.run(BODY)
  })
  const began = performance.now()
  for (let first = 1; first <= TASKS; first += BATCH) moveBatch(queue, results, first)
  const seconds = (performance.now() - began) / 1_000
  queue.close()
  results.close()
  return TASKS / seconds
}

function moveBatch(queue: DatabaseSync, results: DatabaseSync, first: number): void {
  const last = first + BATCH - 1
  const claim = queue.prepare('update queue set lease = 1 where seq between ? and ? returning seq, body')
  const rows = inTransaction(queue, () => claim.all(first, last)) as { seq: number; body: string }[]
  const save = results.prepare('insert into results (seq, body) values (?, ?)')
  inTransaction(results, () => rows.map(({ seq, body }) => save.run(seq, body)))
  const acknowledge = queue.prepare('delete from queue where seq between ? and ?')
  inTransaction(queue, () => acknowledge.run(first, last))
}

function open(path: string, table: string, columns: string): DatabaseSync {
  const database = new DatabaseSync(path)
  database.exec(`pragma journal_mode = wal; pragma synchronous = normal; create table ${table} (${columns})`)
  return database
}

function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('begin immediate')
  const value = work()
  database.exec('commit')
  return value
}

/** Milliseconds of a message to a forked process and its echo. */
export async function bareRoundTrips(): Promise<Percentiles> {
  const echo = fork(join(import.meta.dirname, 'echo.mjs'))
  const end = endLater(() => echo.kill())
  const times = await timesOf(() => {
    const answer = once(echo, 'message')
    echo.send('ping')
    return answer
  })
  await end()
  return percentilesOf(times)
}

/** Seconds until so many processes that do nothing, started at once, have ended: the median of some. */
export async function bareStart(processes: number): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < REPEATS; n += 1) {
    const began = performance.now()
    await Promise.all(Array.from({ length: processes }, () => once(startNode('0'), 'exit')))
    times.push((performance.now() - began) / 1_000)
  }
  return medianOf(times)
}

/** Mebibytes of a process that does nothing. */
export async function bareMemory(): Promise<number> {
  const idle = startNode('console.log(0); setInterval(() => {}, 1_000)')
  const end = endLater(() => idle.kill())
  await once(idle.stdout, 'data')
  const memory = residentMebibytes(idle.pid as number)
  await end()
  return memory
}

function startNode(script: string) {
  return spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
}
