import { useEffect, useRef } from 'preact/hooks'
import type { Actor, Block } from './actors.ts'
import { type Sight, State } from './app.tsx'
import { type Chart, nameOf } from './chart.ts'
import { Diagram } from './diagram.tsx'
import { Happenings } from './happenings.tsx'
import { layoutFor } from './layouts.ts'
import { Nested } from './nested.tsx'
import { Progresses } from './progress.tsx'
import { linkTo } from './route.ts'
import { lasted } from './time.ts'
import { machinesBelow, parentOf, rowsOf, successorOf } from './tree.ts'

/** One machine: its statechart, where it is and since when, and what happened to it last. */
export function MachinePage({ actors, actor: chosen, now, filter }: Sight) {
  const actor =
    chosen ?? rowsOf(actors, now).find((row) => row.actor.name.startsWith('sentinel'))?.actor ?? actors.root
  if (!actor) return null
  const parent = parentOf(actors, actor)
  const successor = successorOf(actors, actor)
  const below = machinesBelow(actors, actor.id).filter((one) => one.endedAt === undefined)
  return (
    <>
      <section class="panel stage" aria-label={`Statechart of ${actor.name}`}>
        <Portrait actor={actor} now={now} />
      </section>
      <aside class="panel side">
        <dl class="facts">
          <dt>Machine</dt>
          <dd>{String(actor.definition.id ?? actor.name)}</dd>
          {actor.pid !== undefined && <dt>Process</dt>}
          {actor.pid !== undefined && <dd class="number">{actor.pid}</dd>}
          {parent && <dt>Below</dt>}
          {parent && (
            <dd>
              <a href={linkTo('machine', parent.id)}>{parent.name}</a>
            </dd>
          )}
          {below.length > 0 && <dt>Above</dt>}
          {below.length > 0 && (
            <dd class="links">
              {below.map((one) => (
                <a key={one.id} href={linkTo('machine', one.id)}>
                  {one.name}
                </a>
              ))}
            </dd>
          )}
          <dt>Events</dt>
          <dd>
            <a href={linkTo('sequence', actor.id)}>between it and the others</a>
          </dd>
        </dl>
        {successor && (
          <p class="note">
            <a href={linkTo('machine', successor.id)}>{successor.name}</a> has taken its place.
          </p>
        )}
        {actor.chart && <Places actor={actor} chart={actor.chart} />}
        <Progresses runs={actor.progress} />
        <Happenings actors={actors} list={actor.happenings} filter={filter} most={50} />
      </aside>
    </>
  )
}

/** Its statechart, with a head that says where it is. */
export function Portrait({ actor, now }: { actor: Actor; now: number }) {
  return (
    <>
      <header class="title">
        <h2>
          <a href={linkTo('machine', actor.id)}>{actor.name}</a>
        </h2>
        <State actor={actor} />
        <span class="since">
          {actor.endedAt === undefined
            ? `for ${actor.sinceAtLeast ? 'at least ' : ''}${lasted(now - actor.since)}`
            : `ended ${lasted(now - actor.endedAt)} ago`}
        </span>
        {actor.scenes.shown?.event && !actor.sinceAtLeast && (
          <code class="event">{nameOf(actor.scenes.shown.event)}</code>
        )}
      </header>
      {actor.block && <p class="note troubled">{BLOCKS[actor.block]}</p>}
      {actor.chart ? (
        <Drawing actor={actor} chart={actor.chart} />
      ) : (
        <p class="hint">This actor is no machine.</p>
      )}
    </>
  )
}

const BLOCKS: Readonly<Record<Block, string>> = {
  itself: 'It should have spoken long since: its event loop is kept busy, or its process is stopped.',
  broker: 'The broker takes no messages now; it is low on memory or disk.',
}

function Drawing({ actor, chart }: { actor: Actor; chart: Chart }) {
  const frame = useRef<HTMLElement>(null)
  const { shown } = actor.scenes
  useFollowing(frame, actor.id, shown?.leaves.join(' '))
  const layout = layoutFor(actor.definition)
  return (
    <section class="canvas" ref={frame} tabIndex={0} aria-label={`Drawing of ${actor.name}, can be scrolled`}>
      {layout ? (
        <Diagram
          key={actor.id}
          layout={layout}
          chart={chart}
          scenes={actor.scenes}
          count={actor.scenes.count}
        />
      ) : (
        <Nested state={chart.root} chart={chart} scenes={actor.scenes} />
      )}
    </section>
  )
}

/** Keeps in sight what is active, where the drawing is larger than its frame. */
function useFollowing(
  frame: { readonly current: HTMLElement | null },
  actor: string,
  leaves: string | undefined,
): void {
  const last = useRef('')
  useEffect(() => {
    const lit = frame.current?.querySelectorAll('.lit.leaf')
    const box = frame.current?.getBoundingClientRect()
    if (!lit?.length || !box || !frame.current) return
    const rects = [...lit].map((one) => one.getBoundingClientRect())
    const middle = (low: number, high: number) => (low + high) / 2
    const behavior = last.current === actor ? 'smooth' : 'instant'
    last.current = actor
    frame.current.scrollBy({
      left:
        middle(Math.min(...rects.map(({ left }) => left)), Math.max(...rects.map(({ right }) => right))) -
        middle(box.left, box.right),
      top:
        middle(Math.min(...rects.map(({ top }) => top)), Math.max(...rects.map(({ bottom }) => bottom))) -
        middle(box.top, box.bottom),
      behavior,
    })
  }, [frame, actor, leaves])
}

/** Where it is, in words. */
function Places({ actor, chart }: { actor: Actor; chart: Chart }) {
  const active = [...(actor.scenes.shown?.active ?? [])].flatMap((path) => chart.states.get(path) ?? [])
  return (
    <section class="places" aria-label="Active states">
      <h3>Where it is</h3>
      <ul>
        {active.map(({ path, key, description, invokes }) => (
          <li key={path} class={`depth-${path.split('.').length - 1}`}>
            <b>{key}</b> {description}
            {invokes.filter(Boolean).length > 0 && <span class="invokes">runs {invokes.join(', ')}</span>}
          </li>
        ))}
      </ul>
    </section>
  )
}
