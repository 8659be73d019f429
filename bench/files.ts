/** Looks into the SQLite files with connections of the bench's own: a claim does not rest on the program's word. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export const openToRead = (path: string) => new DatabaseSync(path, { readOnly: true, timeout: 1_000 })

/** How many successes are saved in a data folder, and when the first of them started: milliseconds since the epoch. */
export function readSaved(dataDir: string): { readonly count: number; readonly first: number } {
  using results = openToRead(join(dataDir, 'results.db'))
  const row = results.prepare('select count(*) as count, min(started_at) as first from tasks where success')
  return row.get() as { count: number; first: number }
}
