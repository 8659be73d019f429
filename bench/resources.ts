/** What a suite starts or makes, so that all of it ends with the suite: also when it fails, and on Ctrl-C. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** How to end each thing, in the order in which they were made. */
const ends = new Set<() => unknown>()

/** Registers how to end something. Returns a function that ends it now, once. */
export function endLater(end: () => unknown): () => Promise<void> {
  ends.add(end)
  return async () => {
    if (ends.delete(end)) await end()
  }
}

/** Ends everything that is left, what was made last first. What cannot be ended does not keep the others. */
export async function endAll(): Promise<void> {
  const failures: unknown[] = []
  for (const end of [...ends].reverse())
    if (ends.delete(end)) await Promise.resolve(end()).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}

/** A folder of its own, removed at the end. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'qcluster-bench-'))
  endLater(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
