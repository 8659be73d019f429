import { arrowKey, type Chart, type State } from './chart.ts'
import type { Scenes } from './scenes.ts'

export interface NestedProps {
  readonly state: State
  readonly chart: Chart
  readonly scenes: Scenes
}

/** A statechart as boxes in boxes, for a machine of which no layout is known. */
export function Nested({ state, chart, scenes }: NestedProps) {
  const isLit = state.path === '' || (scenes.shown?.active.has(state.path) ?? false)
  const isLeaf = state.states.length === 0
  const transitions = chart.transitions.filter(({ from, to }) => from === state.path && to !== undefined)
  return (
    <div
      class={`nested ${state.kind} ${isLeaf ? 'leaf' : 'group'}${isLit ? ' lit' : ''}`}
      data-state={state.path}
    >
      <p class="key">{state.path === '' ? chart.id : state.key}</p>
      {state.description && <p class="description">{state.description}</p>}
      {transitions.length > 0 && (
        <ul class="ways">
          {transitions.map(({ from, to = '', label }, number) => (
            <li key={number} class={scenes.followed.has(arrowKey(from, to)) ? 'followed' : undefined}>
              <span class="event">{label}</span> → {to || chart.id}
            </li>
          ))}
        </ul>
      )}
      {!isLeaf && (
        <div class="within">
          {state.states.map((child) => (
            <Nested key={child.path} state={child} chart={chart} scenes={scenes} />
          ))}
        </div>
      )}
    </div>
  )
}
