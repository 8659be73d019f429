/** Imported first by each process of a cluster: every few seconds it writes what it has into the file that its query names. */
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const file = decodeURIComponent(new URL(import.meta.url).search.slice(1))
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

function probe() {
  // Without the pages of Node's own file, which the kernel takes away and brings back as it likes.
  const own = Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 2 ** 10
  // What is garbage does not count: how much of it there is depends on when it is collected.
  collect()
  const { heapUsed, external } = process.memoryUsage()
  const sample = {
    role: process.title.split(' ')[1],
    pid: process.pid,
    at: Date.now(),
    own,
    heap: (heapUsed + external) / 2 ** 20,
    files: readdirSync('/proc/self/fd').length,
    timers: process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length,
  }
  try {
    appendFileSync(file, `${JSON.stringify(sample)}\n`)
  } catch {
    // The bench has ended, and its folder is gone.
  }
}

setInterval(probe, 2_000).unref()
