import { memo } from 'preact/compat'
import { useEffect, useRef } from 'preact/hooks'
import type { Actor, Mark } from './actors.ts'
import { type Sight, State } from './app.tsx'
import { Happenings } from './happenings.tsx'
import { Portrait } from './machine.tsx'
import { Progress } from './progress.tsx'
import { linkTo } from './route.ts'
import { lasted } from './time.ts'
import { type Row, rowsOf } from './tree.ts'

/** Every process at a glance, and one machine beside them. */
export function Overview({ actors, actor, now, filter }: Sight) {
  const rows = rowsOf(actors, now).filter((row) => isFound(row, filter))
  const chosen = actor ?? rows.find((row) => row.actor.name.startsWith('sentinel'))?.actor ?? rows[0]?.actor
  return (
    <>
      <section class="panel tree" aria-label="Processes">
        <Tree rows={rows} chosen={chosen} now={now} />
        {rows.length === 0 && <p class="hint">Nothing here is called “{filter}”.</p>}
      </section>
      {chosen && (
        <section class="panel stage" aria-label={`Statechart of ${chosen.name}`}>
          <Portrait actor={chosen} now={now} />
          <Happenings actors={actors} list={chosen.happenings} filter="" most={12} />
        </section>
      )}
    </>
  )
}

function isFound({ actor, process }: Row, filter: string): boolean {
  return [actor, process].some(
    (one) => one && [one.name, ...one.leaves].some((text) => text.toLowerCase().includes(filter)),
  )
}

function Tree({ rows, chosen, now }: { rows: readonly Row[]; chosen: Actor | undefined; now: number }) {
  const table = useRef<HTMLTableElement>(null)
  useArrowKeys(table)
  const isChosen = (actor: Actor | undefined) => actor !== undefined && actor === chosen
  const hasChosen = rows.some(({ actor, process }) => isChosen(actor) || isChosen(process))
  return (
    <table class="rows" role="treegrid" aria-label="Cluster, sentinel, slots and processes" ref={table}>
      <thead>
        <tr>
          <th scope="col">Process</th>
          <th scope="col">State</th>
          <th scope="col" class="since">
            Since
          </th>
          <th scope="col" class="ribbon">
            Last minute
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, number) => (
          <TreeRow
            key={row.actor.id}
            row={row}
            seen={seenOf(row, now)}
            now={now}
            isChosen={isChosen(row.actor) || isChosen(row.process)}
            isProcessChosen={isChosen(row.process)}
            isEntry={hasChosen ? isChosen(row.actor) || isChosen(row.process) : number === 0}
          />
        ))}
      </tbody>
    </table>
  )
}

interface TreeRowProps {
  readonly row: Row
  readonly seen: string
  readonly now: number
  readonly isChosen: boolean
  readonly isProcessChosen: boolean
  /** The one that the tab key comes to. */
  readonly isEntry: boolean
}

const TreeRow = memo(({ row, now, isChosen, isProcessChosen, isEntry }: TreeRowProps) => {
  const { actor, process, depth, position, siblings } = row
  const shown = process ?? actor
  const isPast = actor.endedAt !== undefined
  return (
    <tr
      class={`row depth-${Math.min(depth, 4)}${isChosen ? ' chosen' : ''}${isPast ? ' past' : ''}`}
      aria-level={depth + 1}
      aria-posinset={position}
      aria-setsize={siblings}
      aria-selected={isChosen}
    >
      <td class="name">
        <span class="names">
          <Name actor={actor} isChosen={isChosen && !isProcessChosen} isEntry={isEntry && !isProcessChosen} />
          {process && (
            <Name isPid actor={process} isChosen={isProcessChosen} isEntry={isEntry && isProcessChosen} />
          )}
        </span>
      </td>
      <td class="where">
        {process && isSlotOfNote(actor) && <State actor={actor} />}
        {(!process || !isSlotOfNote(actor)) && <State actor={shown} />}
        <Progress runs={shown.progress} />
      </td>
      <td class="since">
        {shown.sinceAtLeast && '≥ '}
        {lasted((shown.endedAt ?? now) - (process && isSlotOfNote(actor) ? actor : shown).since)}
      </td>
      <td class="ribbon">
        <Ribbon marks={[...(process ? actor.marks : []), ...shown.marks]} now={now} />
      </td>
    </tr>
  )
}, isSameRow)

function isSameRow(one: TreeRowProps, other: TreeRowProps): boolean {
  return (
    one.seen === other.seen &&
    one.isChosen === other.isChosen &&
    one.isProcessChosen === other.isProcessChosen &&
    one.isEntry === other.isEntry
  )
}

/** What a row shows follows from this: of what there is, and of the second. */
function seenOf({ actor, process, depth, position, siblings }: Row, now: number): string {
  return [
    actor.version,
    process?.id,
    process?.version,
    depth,
    position,
    siblings,
    Math.floor(now / 1_000),
  ].join()
}

/** A slot whose process is not at work says more than the process. */
function isSlotOfNote(slot: Actor): boolean {
  return (slot.scenes.shown?.phase ?? slot.phase) !== 'up'
}

interface NameProps {
  readonly actor: Actor
  /** Of a process in its slot, which is named already. */
  readonly isPid?: boolean
  readonly isChosen: boolean
  readonly isEntry: boolean
}

function Name({ actor, isPid = false, isChosen, isEntry }: NameProps) {
  const name = actor.name.replace(/ \d+$/, '')
  return (
    <a
      class="actor"
      href={linkTo('overview', actor.id)}
      data-open={linkTo('machine', actor.id)}
      tabIndex={isEntry ? 0 : -1}
      aria-current={isChosen ? 'true' : undefined}
    >
      <span class={isPid ? 'hidden' : undefined}>{name}</span>
      {actor.pid !== undefined && <span class="pid">{actor.pid}</span>}
    </a>
  )
}

const SECONDS = 60

/** The phases of the last minute, the newest at the right. */
function Ribbon({ marks, now }: { marks: readonly Mark[]; now: number }) {
  const sorted = marks.toSorted((one, other) => one.at - other.at)
  const cells = Array.from({ length: SECONDS }, (_, second) =>
    phaseAt(sorted, now - (SECONDS - 1 - second) * 1_000),
  )
  return (
    <svg class="strip" viewBox={`0 0 ${SECONDS} 10`} preserveAspectRatio="none" aria-hidden="true">
      {runsOf(cells).map(({ phase, from, length }) => (
        <rect key={from} class={phase} x={from} y="0" width={length} height="10" />
      ))}
    </svg>
  )
}

function phaseAt(marks: readonly Mark[], at: number): string | undefined {
  // What lasted less than a second is shown in the second in which it was.
  const within = marks.filter((mark) => mark.at > at - 1_000 && mark.at <= at)
  const notable = within.find(({ phase }) => phase !== 'up' && phase !== 'ended')
  return (notable ?? marks.findLast((mark) => mark.at <= at))?.phase
}

function runsOf(cells: readonly (string | undefined)[]) {
  const runs: { phase: string; from: number; length: number }[] = []
  cells.forEach((phase, from) => {
    const last = runs.at(-1)
    if (phase === undefined) return
    if (last && last.phase === phase && last.from + last.length === from) last.length += 1
    else runs.push({ phase, from, length: 1 })
  })
  return runs
}

function useArrowKeys(table: { readonly current: HTMLTableElement | null }): void {
  useEffect(() => {
    const heed = (event: KeyboardEvent) => {
      const here = document.activeElement
      if (!(here instanceof HTMLAnchorElement) || !table.current?.contains(here)) {
        if (['ArrowDown', 'ArrowUp'].includes(event.key) && here === document.body) {
          event.preventDefault()
          table.current?.querySelector<HTMLAnchorElement>('a[tabindex="0"]')?.focus()
        }
        return
      }
      if (event.key === 'Enter') {
        event.preventDefault()
        location.hash = here.dataset.open ?? ''
        return
      }
      const next = neighbour(table.current, here, event.key)
      if (!next) return
      event.preventDefault()
      next.focus()
      location.hash = next.getAttribute('href') ?? ''
    }
    addEventListener('keydown', heed)
    return () => removeEventListener('keydown', heed)
  }, [table])
}

function neighbour(table: HTMLTableElement, here: Element, key: string): HTMLAnchorElement | undefined {
  const rows = [...table.querySelectorAll('tbody tr')]
  const linksOf = (row: Element | null | undefined) => [
    ...(row?.querySelectorAll<HTMLAnchorElement>('a') ?? []),
  ]
  const row = here.closest('tr')
  const at = rows.indexOf(row as Element)
  const links = linksOf(row)
  const column = links.indexOf(here as HTMLAnchorElement)
  const into = (number: number) => {
    const found = linksOf(rows[number])
    return found[Math.min(column, found.length - 1)]
  }
  switch (key) {
    case 'ArrowDown':
      return into(at + 1)
    case 'ArrowUp':
      return into(at - 1)
    case 'ArrowRight':
      return links[column + 1]
    case 'ArrowLeft':
      return links[column - 1]
    case 'Home':
      return into(0)
    case 'End':
      return into(rows.length - 1)
    default:
      return undefined
  }
}
