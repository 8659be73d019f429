/** What was measured, as a table with a verdict on each floor. */

export interface Row {
  readonly what: string
  readonly value: number
  readonly unit: string
  /** What it must reach, or not exceed. */
  readonly floor?: { readonly least: number } | { readonly most: number }
  /** Why the floor cannot be judged by this run. */
  readonly void?: string | undefined
  /** The same without us, measured in the same run: it tells a slow machine from a slow program. */
  readonly beside?: { readonly what: string; readonly value: number }
}

/** Whether a row is known to keep its floor; undefined for one that has none. */
export function isKept({ value, floor, ...row }: Row): boolean | undefined {
  if (!floor) return undefined
  if (row.void !== undefined) return false
  return 'least' in floor ? value >= floor.least : value <= floor.most
}

/** The rows as a table in Markdown, for the terminal and the README alike. */
export function tableOf(rows: readonly Row[]): string {
  const cells = [HEADS, ...rows.map(cellsOf)]
  const widths = HEADS.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  const lines = cells.map(
    (row) => `| ${row.map((cell, n) => cell.padEnd(widths[n] as number)).join(' | ')} |`,
  )
  lines.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`)
  return lines.join('\n')
}

const HEADS = ['what', 'measured', 'floor', 'verdict', 'beside it, in the same run', 'ratio']

function cellsOf(row: Row): string[] {
  const { what, value, unit, beside } = row
  return [
    what,
    `${textOf(value)} ${unit}`,
    floorOf(row),
    verdictOf(row),
    beside ? `${beside.what}: ${textOf(beside.value)} ${unit}` : '',
    beside && beside.value > 0 ? textOf(value / beside.value) : '',
  ]
}

function floorOf({ floor, unit }: Row): string {
  if (!floor) return ''
  return 'least' in floor ? `≥ ${textOf(floor.least)} ${unit}` : `≤ ${textOf(floor.most)} ${unit}`
}

function verdictOf(row: Row): string {
  if (row.void !== undefined) return `VOID: ${row.void}`
  const kept = isKept(row)
  if (kept === undefined) return ''
  return kept ? 'kept' : 'MISSED'
}

/** Three digits are what such a measurement is worth. */
function textOf(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)))
}
