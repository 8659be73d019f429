import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { defineTask } from 'qcluster'

export interface FileCounts {
  readonly file: string
  readonly sha256: string
  readonly lines: number
  readonly words: number
  readonly bytes: number
}

/** What there is to count in one file. */
export const count = defineTask('files.count', async (file: string): Promise<FileCounts> => {
  const content = await readFile(file)
  const text = content.toString('utf8')
  return {
    file,
    sha256: createHash('sha256').update(content).digest('hex'),
    lines: text.split('\n').length - 1,
    words: text.split(/\s+/).filter(Boolean).length,
    bytes: content.length,
  }
})
