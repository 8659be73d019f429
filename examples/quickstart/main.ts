/** Counts lines, words and bytes of every file under a folder, in worker processes: `npm start -- FOLDER`. */

import { execFile } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { asyncTask, Cluster, close } from 'qcluster'
import { count, type FileCounts } from './tasks.ts'

const root = resolve(process.argv[2] ?? '.')
const files = await filesUnder(root)

const cluster = new Cluster({
  name: 'quickstart',
  tasks: [join(import.meta.dirname, 'tasks.ts')],
  handleSignals: true,
})
await cluster.start()
const tasks = await Promise.all(files.map((file) => asyncTask(count, [file])))
let done = 0
const counts = await Promise.all(
  tasks.map(async (task) => {
    const result = await task.result({ wait: 60_000 })
    showProgress(++done, tasks.length)
    return result
  }),
)
await cluster.stop()
await close()
print(counts)
process.exitCode = cluster.exitCode

function showProgress(done: number, all: number): void {
  if (!process.stderr.isTTY || !process.stdout.isTTY) return
  const filled = Math.round((done / all) * 30)
  process.stderr.write(`\r[${'#'.repeat(filled).padEnd(30)}] ${done}/${all}${done === all ? '\n' : ''}`)
}

function print(results: readonly FileCounts[]): void {
  const largest = results.toSorted((a, b) => b.bytes - a.bytes).slice(0, 10)
  console.log('   bytes    lines    words  sha256    file')
  for (const one of largest)
    console.log(
      `${cell(one.bytes)} ${cell(one.lines)} ${cell(one.words)}  ${one.sha256.slice(0, 8)}  ${relative(root, one.file)}`,
    )
  const sum = (of: (one: FileCounts) => number) => results.reduce((total, one) => total + of(one), 0)
  console.log(
    `${cell(sum((one) => one.bytes))} ${cell(sum((one) => one.lines))} ${cell(sum((one) => one.words))}  total of ${results.length} files`,
  )
}

function cell(value: number): string {
  return String(value).padStart(8)
}

/** The files that git knows; without git, all but what is installed, built or ours. */
async function filesUnder(folder: string): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', folder, 'ls-files', '-z', '--cached'], {
      maxBuffer: 2 ** 26,
    })
    const listed = stdout.split('\0').filter(Boolean)
    if (listed.length > 0) return onlyFiles(listed.map((file) => join(folder, file)))
  } catch {
    // Not a repository, or no git: walk.
  }
  return walk(folder)
}

async function walk(folder: string): Promise<string[]> {
  const skipped = new Set(['node_modules', 'dist', '.qcluster', '.git'])
  const entries = await readdir(folder, { withFileTypes: true })
  const found = entries
    .filter(({ name }) => !skipped.has(name))
    .map((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return walk(path)
      return entry.isFile() ? [path] : []
    })
  return (await Promise.all(found)).flat()
}

async function onlyFiles(paths: readonly string[]): Promise<string[]> {
  const kept = await Promise.all(
    paths.map(async (path) => ((await stat(path).catch(() => undefined))?.isFile() ? [path] : [])),
  )
  return kept.flat()
}
