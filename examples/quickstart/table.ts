import { relative } from 'node:path'
import type { FileCounts } from './tasks.ts'

const LARGEST = 10

/** The largest files, and the totals of all of them. */
export function table(root: string, all: readonly FileCounts[]): string {
  const largest = all.toSorted((a, b) => b.bytes - a.bytes).slice(0, LARGEST)
  return [
    '     bytes      lines      words  sha256    file',
    ...largest.map((one) => row(one, `${one.sha256.slice(0, 8)}  ${relative(root, one.file)}`)),
    row(totals(all), `total of ${all.length} files`),
  ].join('\n')
}

type Counts = Pick<FileCounts, 'bytes' | 'lines' | 'words'>

function totals(all: readonly FileCounts[]): Counts {
  const sum = (of: keyof Counts) => all.reduce((total, one) => total + one[of], 0)
  return { bytes: sum('bytes'), lines: sum('lines'), words: sum('words') }
}

function row({ bytes, lines, words }: Counts, rest: string): string {
  return `${[bytes, lines, words].map((count) => String(count).padStart(10)).join(' ')}  ${rest}`
}
