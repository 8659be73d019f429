import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Actor, type Actors, aspectOf } from './actors.ts'
import { placesOf } from './chart.ts'
import { MachinePage } from './machine.tsx'
import { Overview } from './overview.tsx'
import { PHASES, type Phase } from './phase.ts'
import { linkTo, type Route, VIEWS, type View } from './route.ts'
import { SequencePage } from './sequence.tsx'
import { useTheme } from './theme.ts'
import { lasted } from './time.ts'
import { rowsOf } from './tree.ts'
import type { Contact } from './wire.ts'

/** What every page is given. */
export interface Sight {
  readonly actors: Actors
  /** The machine that is looked at. */
  readonly actor: Actor | undefined
  /** The time at the server. */
  readonly now: number
  /** What is looked for, in small letters. */
  readonly filter: string
}

export interface AppProps {
  readonly actors: Actors
  readonly contact: Contact
  readonly route: Route
  readonly now: number
}

/** A page is named in `VIEWS`, and here. */
const PAGES: Readonly<Record<View, { name: string; Page: (sight: Sight) => ComponentChildren }>> = {
  overview: { name: 'Overview', Page: Overview },
  machine: { name: 'Machine', Page: MachinePage },
  sequence: { name: 'Sequence', Page: SequencePage },
}

export function App({ actors, contact, route, now }: AppProps) {
  const [filter, setFilter] = useState('')
  const search = useRef<HTMLInputElement>(null)
  const [theme, turnTheme] = useTheme()
  const actor = actors.get(route.actor)
  useKeys(route, { search, turnTheme, clear: () => setFilter('') })
  const { Page } = PAGES[route.view]
  return (
    <>
      <header class="bar">
        <Brand root={actors.root} now={now} />
        <nav class="tabs" aria-label="Views">
          {VIEWS.map((view, number) => (
            <a
              key={view}
              href={linkTo(view, route.actor)}
              aria-current={view === route.view ? 'page' : undefined}
            >
              <kbd>{number + 1}</kbd> {PAGES[view].name}
            </a>
          ))}
        </nav>
        <label class="search">
          <span class="hidden">Filter by name, state or event</span>
          <input
            ref={search}
            type="search"
            placeholder="Filter"
            value={filter}
            onInput={({ currentTarget }) => setFilter(currentTarget.value)}
          />
        </label>
        <button
          type="button"
          class="quiet"
          onClick={turnTheme}
          aria-label={`Colours: ${theme}. Change them.`}
          title="Light, dark or as the system (t)"
        >
          <ThemeSign theme={theme} />
        </button>
      </header>
      <Banner contact={contact} root={actors.root} now={now} />
      <main class={`page ${route.view}`}>
        {actors.root ? (
          <Page actors={actors} actor={actor} now={now} filter={filter.trim().toLowerCase()} />
        ) : (
          <Nothing contact={contact} />
        )}
      </main>
      <Legend actors={actors} now={now} />
    </>
  )
}

function Brand({ root, now }: { root: Actor | undefined; now: number }) {
  return (
    <h1 class="brand">
      <img src="./icon.svg" alt="" width="26" height="26" />
      <span>
        qcluster
        {root && (
          <small>
            <State actor={root} /> {lasted((root.endedAt ?? now) - root.since)}
          </small>
        )}
      </span>
    </h1>
  )
}

/** Where a machine is, in words and in the colour of its phase. */
export function State({ actor }: { actor: Actor }) {
  const words = placesOf(actor.scenes.shown?.leaves ?? actor.leaves)
  return (
    <span class={`state ${aspectOf(actor)}`}>
      <i class="dot" aria-hidden="true" />
      {words || (actor.scenes.shown?.status ?? actor.status)}
      {actor.block && ', blocked'}
    </span>
  )
}

function Banner({ contact, root, now }: { contact: Contact; root: Actor | undefined; now: number }) {
  if (root?.endedAt !== undefined)
    return (
      <p class={`banner ${root.phase}`} role="status">
        {root.phase === 'failed' ? 'The cluster has failed' : 'The cluster has ended'}{' '}
        {lasted(now - root.endedAt)} ago. This is what was seen of it last.
      </p>
    )
  if (contact !== 'lost' || !root) return null
  return (
    <p class="banner troubled" role="status">
      <i class="spinner" aria-hidden="true" /> The connection is lost; connecting again … What you see is how
      it was.
    </p>
  )
}

function Nothing({ contact }: { contact: Contact }) {
  const words = {
    connecting: ['Connecting …', 'In a moment every machine will be here.'],
    connected: ['Nobody is here yet', 'The machines appear as soon as the cluster tells of them.'],
    lost: [
      'Nobody answers',
      'Is the cluster still running? Where a token is demanded, open the whole address that qcluster has printed.',
    ],
  } as const
  const [title, text] = words[contact]
  return (
    <div class="nothing" role="status">
      <i class="spinner" aria-hidden="true" />
      <h2>{title}</h2>
      <p>{text}</p>
    </div>
  )
}

function Legend({ actors, now }: { actors: Actors; now: number }) {
  const rows = rowsOf(actors, now)
  const phases = rows.map(({ actor, process }) => aspectOf(process ?? actor))
  return (
    <footer class="legend">
      <ul aria-label="Phases">
        {(Object.keys(PHASES) as Phase[]).map((phase) => (
          <li key={phase} class={phase}>
            <i class="dot" aria-hidden="true" /> {PHASES[phase]}{' '}
            <b>{phases.filter((one) => one === phase).length}</b>
          </li>
        ))}
      </ul>
      <p class="keys">
        <kbd>↑</kbd> <kbd>↓</kbd> tree <kbd>↵</kbd> open <kbd>1</kbd> <kbd>2</kbd> <kbd>3</kbd> views{' '}
        <kbd>/</kbd> filter <kbd>t</kbd> colours
      </p>
    </footer>
  )
}

function ThemeSign({ theme }: { theme: string }) {
  return (
    <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <circle cx="10" cy="10" r="6.5" fill="none" stroke="currentColor" stroke-width="1.6" />
      {theme !== 'light' && (
        <path
          d={
            theme === 'dark'
              ? 'M10 3.5a6.5 6.5 0 0 1 0 13z M10 3.5a6.5 6.5 0 0 0 0 13z'
              : 'M10 3.5a6.5 6.5 0 0 1 0 13z'
          }
          fill="currentColor"
        />
      )}
    </svg>
  )
}

interface Keys {
  readonly search: { readonly current: HTMLInputElement | null }
  readonly turnTheme: () => void
  readonly clear: () => void
}

function useKeys(route: Route, { search, turnTheme, clear }: Keys): void {
  useEffect(() => {
    const heed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      const isTyping = event.target instanceof HTMLInputElement
      if (event.key === 'Escape' && isTyping) {
        clear()
        search.current?.blur()
      }
      if (isTyping) return
      const view = VIEWS[Number(event.key) - 1]
      if (view) location.hash = linkTo(view, route.actor)
      else if (event.key === 't') turnTheme()
      else if (event.key === '/') {
        event.preventDefault()
        search.current?.focus()
      }
    }
    addEventListener('keydown', heed)
    return () => removeEventListener('keydown', heed)
  }, [route.view, route.actor, turnTheme])
}
