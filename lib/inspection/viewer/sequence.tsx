import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Actor, Actors } from './actors.ts'
import type { Sight } from './app.tsx'
import { nameOf, placesOf } from './chart.ts'
import { linkTo } from './route.ts'
import { clock } from './time.ts'
import { type Line, lineOf, rowsOf } from './tree.ts'

/** Pixels between two lanes: as many as there is room for. */
const LANE = { least: 84, most: 240 } as const
/** Pixels left of the first lane, for the time. */
const MARGIN = 108
const MOST_LINES = 120

/** What the machines said to each other, on a lane for each of them, the newest below. */
export function SequencePage({ actors, actor, now, filter }: Sight) {
  const [paused, setPaused] = useState<readonly Line[] | undefined>(undefined)
  const lines = paused ?? linesOf(actors, actor, filter)
  const lanes = lanesOf(actors, lines, actor, now)
  const scroller = useRef<HTMLElement>(null)
  useEnd(scroller, lines.at(-1)?.happening.serial)
  const room = (useWidth(scroller) - MARGIN) / Math.max(1, lanes.length)
  const lane = Math.floor(Math.min(LANE.most, Math.max(LANE.least, room)))
  const width = MARGIN + Math.max(1, lanes.length) * lane
  const at = (one: Actor) => MARGIN + lanes.indexOf(one) * lane + lane / 2
  return (
    <section class="panel sequence" aria-label="Sequence of events">
      <header class="title">
        <h2>{actor ? `Around ${actor.name}` : 'Everybody'}</h2>
        {actor && <a href={linkTo('sequence', undefined)}>show everybody</a>}
        <span class="spring" />
        <button
          type="button"
          aria-pressed={paused !== undefined}
          onClick={() => setPaused(paused ? undefined : lines)}
        >
          {paused ? 'Go on' : 'Hold'}
        </button>
      </header>
      <section class="scroller" ref={scroller} tabIndex={0} aria-label="Events, can be scrolled">
        <div class="lanes" style={{ width: `${width}px` }}>
          <div class="heads">
            {lanes.map((one) => (
              <a
                key={one.id}
                class={`head ${one.phase}${one === actor ? ' chosen' : ''}`}
                style={{ left: `${at(one) - lane / 2 + 4}px`, width: `${lane - 8}px` }}
                href={linkTo('machine', one.id)}
                title={one.name}
              >
                <span class="name">{one.name.replace(/ \d+$/, '')}</span>
                {one.pid !== undefined && <span class="pid">{one.pid}</span>}
              </a>
            ))}
          </div>
          <div class="threads" aria-hidden="true">
            {lanes.map((one) => (
              <i
                key={one.id}
                class={one.endedAt === undefined ? undefined : 'past'}
                style={{ left: `${at(one)}px` }}
              />
            ))}
          </div>
          <ol class="lines">
            {lines.map((line) => (
              <Step key={line.happening.serial} line={line} at={at} />
            ))}
          </ol>
        </div>
        {lines.length === 0 && (
          <p class="hint">{filter ? `Nothing has “${filter}”.` : 'Nothing has happened since you look.'}</p>
        )}
      </section>
    </section>
  )
}

function Step({ line: { happening, from, to }, at }: { line: Line; at: (actor: Actor) => number }) {
  const { kind, event, leaves, phase, count } = happening
  const [start, end] = [at(from ?? to), at(to)]
  const words = {
    change: placesOf(leaves),
    dropped: `${count} events not told`,
    event: count > 1 ? `${nameOf(event)} ×${count}` : nameOf(event),
  }[kind]
  const isOwn = start === end
  return (
    <li class={`step ${kind}`}>
      <time>{clock(happening.at)}</time>
      {kind === 'event' && !isOwn && (
        <span
          class={`shaft ${start < end ? 'right' : 'left'}`}
          style={{ left: `${Math.min(start, end)}px`, width: `${Math.abs(end - start)}px` }}
        >
          <span class="words">{words}</span>
        </span>
      )}
      {(kind !== 'event' || isOwn) && (
        <span class={`mark ${kind === 'change' ? phase : 'own'}`} style={{ left: `${end}px` }}>
          {kind === 'change' && <i class="dot" aria-hidden="true" />}
          {words}
        </span>
      )}
      <span class="hidden">
        {kind === 'event' ? `from ${from?.name ?? 'outside'} to ${to.name}` : to.name}
      </span>
    </li>
  )
}

function linesOf(actors: Actors, actor: Actor | undefined, filter: string): Line[] {
  return (
    actors.happenings
      .flatMap((happening) => lineOf(actors, happening) ?? [])
      .filter(({ from, to }) => actor === undefined || from === actor || to === actor)
      .filter(({ happening, from, to }) =>
        [happening.event, from?.name ?? '', to.name, ...happening.leaves].some((text) =>
          text.toLowerCase().includes(filter),
        ),
      )
      // Each process tells in batches of its own.
      .toSorted((one, other) => one.happening.at - other.happening.at)
      .slice(-MOST_LINES)
  )
}

/** Those that the lines are about, in the order of the tree. */
function lanesOf(actors: Actors, lines: readonly Line[], actor: Actor | undefined, now: number): Actor[] {
  const order = rowsOf(actors, now).flatMap(({ actor: one, process }) => (process ? [one, process] : [one]))
  const taking = new Set(lines.flatMap(({ from, to }) => (from ? [from, to] : [to])))
  if (actor?.chart) taking.add(actor)
  const placeOf = (one: Actor) => (order.includes(one) ? order.indexOf(one) : order.length)
  return [...taking].toSorted((one, other) => placeOf(one) - placeOf(other))
}

/** The width that there is for something, in pixels. */
function useWidth(element: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    if (!element.current) return
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0))
    observer.observe(element.current)
    return () => observer.disconnect()
  }, [element])
  return width
}

/** Stays at the end for whoever is there already. */
function useEnd(scroller: { readonly current: HTMLElement | null }, last: number | undefined): void {
  const wasAtEnd = useRef(true)
  useEffect(() => {
    const element = scroller.current
    if (!element) return
    const note = () => {
      wasAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 60
    }
    element.addEventListener('scroll', note, { passive: true })
    return () => element.removeEventListener('scroll', note)
  }, [scroller])
  useEffect(() => {
    if (wasAtEnd.current && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight
  }, [scroller, last])
}
