import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { addFlags, type Flags } from './flags.ts'
import { clusterOf, run, START_FLAGS } from './start.ts'

const EXAMPLES = `
Examples:
  qcluster dev
  qcluster dev --tasks ./tasks/*.ts --workers 2`

/** `qcluster dev`: a cluster that reloads its workers when their code changes. */
export function addDev(program: Command): void {
  const command = program
    .command('dev')
    .description(
      'Like start, and workers are replaced one by one when a task module, or what it imports, changes.',
    )
  addFlags(command, START_FLAGS).addHelpText('after', EXAMPLES).action(dev)
}

async function dev(flags: Flags): Promise<void> {
  const cluster = await clusterOf(flags)
  // The log tells why it could not: the old workers go on, and the next change is another try.
  using files = new Watcher(() => void cluster.reload().catch(() => {}))
  cluster.on('tasks.loaded', ({ modules }) => {
    for (const module of modules) files.add(fileURLToPath(module))
  })
  await run(cluster, flags)
}

/** Milliseconds without another change after which one is told: an editor writes a file in several steps. */
const CALM = 100

/** Tells of changes to files. It watches their folders: many editors put a new file in the place of the old one. */
class Watcher implements Disposable {
  readonly #onChange: () => void
  readonly #folders = new Map<string, { readonly watcher: FSWatcher; readonly files: Set<string> }>()
  #calm: NodeJS.Timeout | undefined

  constructor(onChange: () => void) {
    this.#onChange = onChange
  }

  add(path: string): void {
    const folder = dirname(path)
    const known = this.#folders.get(folder)
    if (known) known.files.add(basename(path))
    else this.#watch(folder, new Set([basename(path)]))
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#calm)
    for (const { watcher } of this.#folders.values()) watcher.close()
  }

  #watch(folder: string, files: Set<string>): void {
    const watcher = watch(folder, (_, name) => {
      if (name === null || files.has(name)) this.#changed()
    })
    // A folder that is removed is watched no more; what was loaded from it still runs.
    watcher.on('error', () => this.#folders.delete(folder))
    this.#folders.set(folder, { watcher, files })
  }

  #changed(): void {
    clearTimeout(this.#calm)
    this.#calm = setTimeout(this.#onChange, CALM)
  }
}
