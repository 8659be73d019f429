import { defineTask, type TaskRecord } from 'qcluster'

export const split = defineTask('text.split', (text: string) => text.split(/\s+/))

export const longest = defineTask('text.longest', (words: string[], count: number) =>
  words.toSorted((a, b) => b.length - a.length || a.localeCompare(b)).slice(0, count),
)

export const join = defineTask('text.join', (words: string[]) => words.join(' and '))

export const count = defineTask('text.count', (text: string) => text.split(/\s+/).length)

/** A hook: a task that is told the record of the one that it was given to. */
export const total = defineTask('text.total', (record: TaskRecord<number[]>) =>
  (record.result ?? []).reduce((sum, words) => sum + words, 0),
)
