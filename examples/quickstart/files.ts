import { execFile } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const SKIPPED = new Set(['node_modules', 'dist', '.qcluster', '.git'])

/** The files under a folder that git knows; without git, all but what is installed, built or ours. */
export async function filesUnder(folder: string): Promise<string[]> {
  return (await knownToGit(folder)) ?? walk(folder)
}

async function knownToGit(folder: string): Promise<string[] | undefined> {
  try {
    const list = ['-C', folder, 'ls-files', '-z', '--cached']
    const { stdout } = await promisify(execFile)('git', list, { maxBuffer: 2 ** 26 })
    const listed = stdout.split('\0').filter(Boolean)
    return listed.length > 0 ? onlyFiles(listed.map((file) => join(folder, file))) : undefined
  } catch {
    // Not a repository, or no git.
    return undefined
  }
}

async function walk(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const found = entries
    .filter(({ name }) => !SKIPPED.has(name))
    .map((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return walk(path)
      return entry.isFile() ? [path] : []
    })
  return (await Promise.all(found)).flat()
}

/** Git also lists what was deleted, and folders of submodules. */
async function onlyFiles(paths: readonly string[]): Promise<string[]> {
  const kept = paths.map(async (path) => {
    const found = await stat(path).catch(() => undefined)
    return found?.isFile() ? [path] : []
  })
  return (await Promise.all(kept)).flat()
}
