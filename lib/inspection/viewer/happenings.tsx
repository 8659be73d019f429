import { memo } from 'preact/compat'
import type { Actors, Happening } from './actors.ts'
import { nameOf, placesOf } from './chart.ts'
import { linkTo } from './route.ts'
import { clock } from './time.ts'
import { lineOf } from './tree.ts'

export interface HappeningsProps {
  readonly actors: Actors
  readonly list: readonly Happening[]
  readonly filter: string
  readonly most: number
}

/** What happened last, the newest first. */
export function Happenings({ actors, list, filter, most }: HappeningsProps) {
  const shown = list
    .filter((one) => wordsOf(one).includes(filter))
    .slice(-most)
    .reverse()
  return (
    <section class="happenings" aria-label="Last events">
      <h3>
        Last events <span class="count">{shown.length}</span>
      </h3>
      <ol>
        {shown.map((one) => (
          <Entry key={one.serial} actors={actors} happening={one} />
        ))}
      </ol>
      {shown.length === 0 && (
        <p class="hint">{filter ? `No event has “${filter}”.` : 'None since you look.'}</p>
      )}
    </section>
  )
}

function wordsOf({ event, leaves }: Happening): string {
  return `${event} ${leaves.join(' ')}`.toLowerCase()
}

/** What has happened changes no more. */
const Entry = memo(({ actors, happening }: { actors: Actors; happening: Happening }) => {
  const { at, kind, event, leaves, phase, payload, count } = happening
  const from = lineOf(actors, happening)?.from
  return (
    <li class={kind}>
      <time>{clock(at)}</time>
      {kind === 'dropped' && <span>{count} events came too fast to be told</span>}
      {kind === 'change' && (
        <span class={`state ${phase}`}>
          <i class="dot" aria-hidden="true" /> {placesOf(leaves)}
        </span>
      )}
      {kind === 'event' && (
        <span class="event">
          {nameOf(event)}
          {count > 1 && <span class="times"> ×{count}</span>}
          {payload && (
            <details>
              <summary>payload</summary>
              <pre>{JSON.stringify(payload, null, 2)}</pre>
            </details>
          )}
        </span>
      )}
      {kind === 'event' && from && from.id !== happening.actor && (
        <a class="from" href={linkTo('machine', from.id)}>
          {from.name}
        </a>
      )}
    </li>
  )
})
