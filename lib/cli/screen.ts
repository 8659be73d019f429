/** A full screen that is drawn anew each second, and gives the terminal back as it was. */
import { EventEmitter, once } from 'node:events'
import { emitKeypressEvents } from 'node:readline'
import { styleText } from 'node:util'
import * as ansi from 'ansi-escapes'
import truncate from 'cli-truncate'
import stringWidth from 'string-width'
import { jsonOf } from './values.ts'

/** What fills the screen, and the line at its bottom. */
export interface Page {
  readonly lines: readonly string[]
  readonly bar: string
}

/** What there is to see, and the ways to show it. */
export interface Show<T> {
  readonly look: () => Promise<T>
  readonly json: (seen: T) => unknown
  /** Turned by Tab, the first one first. */
  readonly pages: readonly MakePage<T>[]
}

/** @param room columns that there are */
type MakePage<T> = (seen: T, room: number) => Page

/** How it is shown: as JSON, once as text, or on a screen where there is one. */
export interface Manner {
  readonly json?: boolean
  readonly runOnce?: boolean
}

/** Shows something once, or again and again until `q`, Ctrl-C or a signal ends it. */
export async function present<T>(show: Show<T>, { json, runOnce }: Manner): Promise<void> {
  const isScreen = process.stdin.isTTY && process.stdout.isTTY
  if (isScreen && !runOnce && !json) return showScreen(show)
  const seen = await show.look()
  if (json) console.log(jsonOf(show.json(seen)))
  else
    console.log(
      textOf((show.pages[0] as MakePage<T>)(seen, process.stdout.columns ?? Number.POSITIVE_INFINITY)),
    )
}

function textOf({ lines, bar }: Page): string {
  return (bar === '' ? lines : [...lines, '', bar]).join('\n')
}

/** Milliseconds. */
const REFRESH = 1_000

async function showScreen<T>({ look, pages }: Show<T>): Promise<void> {
  const ended = new AbortController()
  const desk = new EventEmitter<{ stir: [] }>()
  let turned = 0
  const hint = pages.length > 1 ? '(Tab turns, q quits)' : '(q quits)'
  const draw = async () => paint(await pageOf(look, pages[turned % pages.length] as MakePage<T>), hint)
  using _terminal = openTerminal({
    end: () => ended.abort(),
    turn: () => {
      turned += 1
      desk.emit('stir')
    },
    resized: () => desk.emit('stir'),
  })
  while (!ended.signal.aborted) {
    await orAborted(draw(), ended.signal)
    await orAborted(once(desk, 'stir', { signal: AbortSignal.timeout(REFRESH) }), ended.signal)
  }
}

/** A broker that cannot be reached now may be back in a second. */
async function pageOf<T>(look: () => Promise<T>, page: MakePage<T>): Promise<Page> {
  try {
    return page(await look(), process.stdout.columns)
  } catch (error) {
    return { lines: [(error as Error).message], bar: 'Trying again each second' }
  }
}

/** Waits for something, or for the end; what fails has said so elsewhere. */
async function orAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const leaving = new AbortController()
  const aborted = signal.aborted ? Promise.resolve() : once(signal, 'abort', { signal: leaving.signal })
  await Promise.race([work, aborted]).catch(() => {})
  leaving.abort()
  aborted.catch(() => {})
}

/** Writes over what was there, so that nothing flickers. */
function paint({ lines, bar }: Page, hint: string): void {
  const { rows, columns } = process.stdout
  const room = rows - 1
  const seen =
    lines.length > room ? [...lines.slice(0, room - 1), `… ${lines.length - room + 1} more`] : lines
  const body = Array.from({ length: room }, (_, n) => truncate(seen[n] ?? '', columns) + ansi.eraseEndLine)
  const foot = styleText('inverse', `${fitted(bar, columns - hint.length - 2)}  ${hint}`.slice(-columns))
  process.stdout.write(
    ansi.beginSynchronizedOutput +
      ansi.cursorTo(0, 0) +
      [...body, foot].join('\r\n') +
      ansi.endSynchronizedOutput,
  )
}

/** Exactly so wide. */
function fitted(text: string, width: number): string {
  const cut = width > 0 ? truncate(text, width) : ''
  return cut + ' '.repeat(Math.max(0, width - stringWidth(cut)))
}

interface Hands {
  readonly end: () => void
  readonly turn: () => void
  readonly resized: () => void
}

/** Takes the terminal over, and gives it back when it is disposed of or the process ends, whatever ends it. */
function openTerminal({ end, turn, resized }: Hands): Disposable {
  const { stdin, stdout } = process
  const giveBack = () => {
    stdin.setRawMode(false)
    stdout.write(ansi.cursorShow + ansi.exitAlternativeScreen)
  }
  const onKey = (_text: string | undefined, key: { name?: string; ctrl?: boolean }) => {
    if (key.name === 'q' || (key.ctrl && key.name === 'c')) end()
    if (key.name === 'tab' || key.name === 'm') turn()
  }
  emitKeypressEvents(stdin)
  stdin.setRawMode(true).resume().on('keypress', onKey)
  stdout.on('resize', resized).write(ansi.enterAlternativeScreen + ansi.cursorHide)
  process.once('exit', giveBack)
  for (const signal of SIGNALS) process.once(signal, end)
  return {
    [Symbol.dispose]() {
      process.off('exit', giveBack)
      for (const signal of SIGNALS) process.off(signal, end)
      stdin.off('keypress', onKey).pause()
      stdout.off('resize', resized)
      giveBack()
    },
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
