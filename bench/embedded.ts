/** The embedded deployment: broker and results in SQLite files, everything on this machine. */
import { join } from 'node:path'
import { Client } from 'qcluster'
import { bareClaims, bareMemory, bareStart } from './bare.ts'
import { openToRead, readNewest, readSaved } from './files.ts'
import { latencyRows } from './latency.ts'
import { measureLife } from './life.ts'
import { makeFolder } from './resources.ts'
import type { Row } from './table.ts'
import { costRows, measureThroughput, type Progress } from './throughput.ts'

/** The rows of the embedded suite. */
export async function embedded(): Promise<Row[]> {
  return [...(await throughput()), ...(await latencyRows(deployment())), ...(await life())]
}

async function throughput(): Promise<Row[]> {
  const beside = { what: 'bare SQLite claim, save, acknowledge', value: bareClaims() }
  const atWarn = await measureThroughput(deployment(), 'warn')
  const { done: atInfo } = await measureThroughput(deployment(), 'info')
  const what = 'no-op tasks, prefilled queue, 2 workers'
  return [
    { what, value: atWarn.done, unit: 'tasks/s', floor: { least: 20_000 }, beside },
    ...costRows(atWarn),
    { what: 'the same, LOG_LEVEL=info to a file', value: atInfo, unit: 'tasks/s', beside },
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
export function deployment() {
  const dataDir = makeFolder()
  return {
    flags: ['--data-dir', dataDir],
    makeClient: () => new Client({ dataDir }),
    watch: async () => watchFiles(dataDir),
    logFile: join(dataDir, 'bench.log'),
  }
}

function watchFiles(dataDir: string): Progress {
  const queue = openToRead(join(dataDir, 'queue.db'))
  const left = queue.prepare('select exists (select 1 from waiting) or exists (select 1 from held) as some')
  return {
    isAcknowledged: async () => left.get()?.some === 0,
    saved: () => readSaved(dataDir),
    savedSoFar: () => readNewest(dataDir),
    close: async () => queue.close(),
  }
}
