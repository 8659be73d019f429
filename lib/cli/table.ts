/** Tables for people: each column as wide as a terminal shows what stands in it. */
import { stripVTControlCharacters, styleText } from 'node:util'
import stringWidth from 'string-width'

/** A colour or a weight; a stream that is no terminal gets none. */
export type Style = Parameters<typeof styleText>[0]

/** What a column shows of a row, and how. */
export type Cell = string | number | readonly [text: string | number, style: Style]

/** Head → what the column shows of a row. */
export type Columns<Row> = Readonly<Record<string, (row: Row) => Cell>>

/**
 * The lines of a table, the head first. Where that would be wider than the room, the table is turned: the heads stand one below
 * the other, and each row beside them.
 */
export function tableLines<Row>(
  columns: Columns<Row>,
  rows: readonly Row[],
  room = Number.POSITIVE_INFINITY,
): string[] {
  const shows = Object.values(columns)
  const cells: Cell[][] = [Object.keys(columns), ...rows.map((row) => shows.map((show) => show(row)))]
  const upright = layOut(cells)
  if (upright.width <= room) return upright.lines
  const turned = layOut(shows.map((_, column) => cells.map((line) => line[column] as Cell)))
  return turned.width < upright.width ? turned.lines : upright.lines
}

const GAP = '  '

function layOut(cells: readonly (readonly Cell[])[]): { lines: string[]; width: number } {
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((line) => widthOf(line[column] as Cell))),
  )
  const width = widths.reduce((sum, one) => sum + one, GAP.length * (widths.length - 1))
  return { lines: cells.map((line) => aligned(line, widths)), width }
}

/** Names of tasks, queues and hosts are not ours: none may move the cursor or begin a line. */
export function plain(text: string | number): string {
  return stripVTControlCharacters(String(text)).replace(/\p{C}/gu, '?')
}

/** Seconds as `h:mm:ss`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (value: number) => `${value % 60}`.padStart(2, '0')
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60))}:${two(whole)}`
}

function aligned(cells: readonly Cell[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => shown(cell) + ' '.repeat((widths[column] as number) - widthOf(cell)))
    .join(GAP)
    .trimEnd()
}

function shown(cell: Cell): string {
  return typeof cell === 'object' ? styleText(cell[1], plain(cell[0])) : plain(cell)
}

function widthOf(cell: Cell): number {
  return stringWidth(plain(typeof cell === 'object' ? cell[0] : cell))
}
