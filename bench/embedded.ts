/** The embedded deployment: broker and results in SQLite files, everything on this machine. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'qcluster'
import { bareClaims, bareMemory, bareRoundTrips, bareStart } from './bare.ts'
import { measureLatency } from './latency.ts'
import { measureLife } from './life.ts'
import { makeFolder } from './resources.ts'
import type { Row } from './table.ts'
import { measureThroughput, type Progress } from './throughput.ts'

/** The rows of the embedded suite. */
export async function embedded(): Promise<Row[]> {
  return [...(await throughput()), ...(await latency()), ...(await life())]
}

async function throughput(): Promise<Row[]> {
  const beside = { what: 'bare SQLite claim, save, acknowledge', value: bareClaims() }
  const atWarn = await measureThroughput(deployment(), 'warn')
  const atInfo = await measureThroughput(deployment(), 'info')
  const what = 'no-op tasks, prefilled queue, 2 workers'
  return [
    { what, value: atWarn, unit: 'tasks/s', floor: { least: 20_000 }, beside },
    { what: 'the same, LOG_LEVEL=info to a file', value: atInfo, unit: 'tasks/s', beside },
  ]
}

async function latency(): Promise<Row[]> {
  const { p50, p99 } = await measureLatency(deployment())
  const bare = await bareRoundTrips()
  const what = 'enqueue → result, idle cluster'
  const beside = (value: number) => ({ what: 'process.send there and back', value })
  return [
    { what: `${what}, p50`, value: p50, unit: 'ms', floor: { most: 1.5 }, beside: beside(bare.p50) },
    { what: `${what}, p99`, value: p99, unit: 'ms', floor: { most: 8 }, beside: beside(bare.p99) },
  ]
}

async function life(): Promise<Row[]> {
  const { start, stop, processes, memory, cpu } = await measureLife(deployment())
  const besideStart = { what: `${processes} × node -e 0, at once`, value: await bareStart(processes) }
  const besideMemory = { what: 'node -e 0', value: await bareMemory() }
  const what = 'second qcluster start to running., 4 workers'
  return [
    { what, value: start, unit: 's', floor: { most: 1 }, beside: besideStart },
    { what: 'idle stop', value: stop, unit: 's', floor: { most: 0.3 } },
    { what: 'one idle worker, RSS', value: memory, unit: 'MiB', floor: { most: 60 }, beside: besideMemory },
    { what: 'idle cluster of 4 workers', value: cpu, unit: '% of a core', floor: { most: 1 } },
  ]
}

/** A data folder of its own, and what a suite needs to know of it. */
function deployment() {
  const dataDir = makeFolder()
  return {
    flags: ['--data-dir', dataDir],
    makeClient: () => new Client({ dataDir }),
    watch: () => watchFiles(dataDir),
    logFile: join(dataDir, 'bench.log'),
  }
}

/** Looks into the files with connections of its own: what is claimed here does not rest on the program's word. */
function watchFiles(dataDir: string): Progress {
  const queue = openToRead(join(dataDir, 'queue.db'))
  const left = queue.prepare('select exists (select 1 from waiting) or exists (select 1 from held) as some')
  return {
    isAcknowledged: async () => left.get()?.some === 0,
    saved: async () => readResults(join(dataDir, 'results.db')),
    close: () => queue.close(),
  }
}

/** The file is made by the cluster. */
function readResults(path: string): Awaited<ReturnType<Progress['saved']>> {
  using results = openToRead(path)
  const row = results.prepare('select count(*) as count, min(started_at) as first from tasks where success')
  return row.get() as { count: number; first: number }
}

const openToRead = (path: string) => new DatabaseSync(path, { readOnly: true, timeout: 1_000 })
