/** What the tasks themselves wrote down of their runs. */
import { readFileSync } from 'node:fs'

/** Runs beside the first of each task, by what became of the run before. */
export interface Doubles {
  /** It had not ended: its process was killed, or told to end. */
  readonly interrupted: number
  /** It had ended, and that was not yet saved or settled. */
  readonly unsettled: number
  /** It was still at it: two at a time. */
  readonly beside: number
}

/** Reads a ledger of lines `name begins` and `name ends`. */
export function doublesIn(path: string): Doubles {
  const doubles = { interrupted: 0, unsettled: 0, beside: 0 }
  for (const runs of Object.values(Object.groupBy(linesOf(path), nameOf)).map(toRuns))
    for (const [before, run] of pairsOf(runs)) doubles[reasonOf(before, run)] += 1
  return doubles
}

function reasonOf(before: Run, run: Run): keyof Doubles {
  if (run.ends > 1) return 'beside'
  return before.ends > 0 ? 'unsettled' : 'interrupted'
}

function pairsOf<T>(list: readonly T[]): (readonly [T, T])[] {
  return list.slice(1).map((one, i) => [list[i] as T, one])
}

interface Run {
  /** Ends that were written before the next beginning. */
  ends: number
}

function toRuns(lines: readonly string[] = []): Run[] {
  const runs: Run[] = []
  for (const line of lines)
    if (line.endsWith(' begins')) runs.push({ ends: 0 })
    else (runs.at(-1) as Run).ends += 1
  return runs
}

function nameOf(line: string): string {
  return line.slice(0, line.lastIndexOf(' '))
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').trim().split('\n')
  } catch {
    return [] // No task has begun.
  }
}
