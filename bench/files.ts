/** Looks into the SQLite files with connections of the bench's own: a claim does not rest on the program's word. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export const openToRead = (path: string) => new DatabaseSync(path, { readOnly: true, timeout: 1_000 })

/** How many successes are saved in a data folder. */
export function readSaved(dataDir: string): number {
  using results = openToRead(join(dataDir, 'results.db'))
  return results.prepare('select count(*) as count from tasks where success').get()?.count as number
}

/** The number of the last outcome that was saved there, which nobody has to count; 0 before there is any. */
export function readNewest(dataDir: string): number {
  try {
    using results = openToRead(join(dataDir, 'results.db'))
    return Number(results.prepare('select max(seq) as newest from tasks').get()?.newest)
  } catch {
    // There is no file or no table yet; what else is wrong with it is thrown when all are counted.
    return 0
  }
}
