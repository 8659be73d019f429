/** Counts lines, words and bytes of every file under a folder, in worker processes: `npm start -- FOLDER`. */

import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { asyncTask, Cluster, close } from 'qcluster'
import { filesUnder } from './files.ts'
import { table } from './table.ts'
import { count } from './tasks.ts'

const folder = resolve(process.argv[2] ?? '.')
if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) process.exitCode = await countAll()
else {
  console.error(`Expected a folder, got ${folder}; name one, or none for the files here.`)
  process.exitCode = 2
}

async function countAll(): Promise<number> {
  const files = await filesUnder(folder)
  await using cluster = new Cluster({
    name: 'quickstart',
    tasks: [join(import.meta.dirname, 'tasks.ts')],
    handleSignals: true,
  })
  await cluster.start()
  // Ctrl-C stops the cluster; then nobody is left to wait for.
  const counts = await Promise.race([countEach(files), cluster.stopEvent.wait()])
  await cluster.stop()
  await close()
  if (counts) console.log(table(folder, counts))
  return cluster.exitCode
}

async function countEach(files: readonly string[]) {
  const tasks = await Promise.all(files.map((file) => asyncTask(count, [file])))
  let done = 0
  return Promise.all(
    tasks.map(async (task) => {
      const counts = await task.result({ wait: 60_000 })
      showProgress(++done, tasks.length)
      return counts
    }),
  )
}

/** The cursor is left where the bar began, so that the next line of the log writes over it. */
function showProgress(done: number, all: number): void {
  if (!process.stderr.isTTY || !process.stdout.isTTY) return
  const filled = Math.round((done / all) * 30)
  process.stderr.write(`[${'#'.repeat(filled).padEnd(30)}] ${done}/${all}${done === all ? '\n' : '\r'}`)
}
