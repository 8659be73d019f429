import { memo } from 'preact/compat'
import { arrowKey, type Chart, type State } from './chart.ts'
import type { Layout } from './layout.ts'
import type { Scenes } from './scenes.ts'

export interface DiagramProps {
  readonly layout: Layout
  readonly chart: Chart
  readonly scenes: Scenes
  /** Of the scenes that have been shown; what is drawn changes with it only. */
  readonly count: number
}

/** A statechart at places that were worked out beforehand. */
export const Diagram = memo(({ layout, chart, scenes, count }: DiagramProps) => {
  const { shown, before, followed } = scenes
  const isLit = (path: string) => shown?.active.has(path) ?? false
  const words = shown?.leaves.join(', ') || 'nowhere yet'
  return (
    <svg
      class={`diagram ${shown?.phase ?? ''}`}
      viewBox={`0 0 ${layout.width} ${layout.height}`}
      style={{ '--width': layout.width, '--height': layout.height }}
      role="img"
      aria-label={`${chart.description || chart.id}. Active: ${words}.`}
    >
      {layout.states.map(({ path, box }) => {
        const state = chart.states.get(path)
        const wasLit = before?.active.has(path) ?? false
        return state && <Box key={path} state={state} box={box} isLit={isLit(path)} wasLit={wasLit} />
      })}
      {layout.starts.map(({ path, at, points }) => (
        <g key={path} class="start">
          <circle cx={at[0]} cy={at[1]} r="4.5" />
          <Line points={points} />
        </g>
      ))}
      {layout.arrows.map((arrow) => {
        const isFollowed = followed.has(arrowKey(arrow.from, arrow.to))
        return (
          <g
            key={arrowKey(arrow.from, arrow.to)}
            class={`arrow${isFollowed ? ' followed' : ''}${isLit(arrow.from) ? ' open' : ''}`}
          >
            <Line points={arrow.points} />
            {isFollowed && <path key={count} class="pulse" d={pathOf(arrow.points)} pathLength="1" />}
          </g>
        )
      })}
      {layout.arrows.map((arrow) => (
        <Labels
          key={arrowKey(arrow.from, arrow.to)}
          labels={arrow.labels}
          box={arrow.box}
          isFollowed={followed.has(arrowKey(arrow.from, arrow.to))}
          isOpen={isLit(arrow.from)}
        />
      ))}
    </svg>
  )
})

type Box = readonly [number, number, number, number]

const Box = memo(
  ({
    state,
    box: [x, y, width, height],
    isLit,
    wasLit,
  }: {
    state: State
    box: Box
    isLit: boolean
    wasLit: boolean
  }) => {
    const isLeaf = state.states.length === 0
    const classes = ['box', state.kind, isLeaf ? 'leaf' : 'group', isLit && 'lit', wasLit && !isLit && 'left']
    return (
      <g class={classes.filter(Boolean).join(' ')} data-state={state.path}>
        <title>{state.description || state.key}</title>
        <rect class="body" x={x} y={y} width={width} height={height} rx={isLeaf ? 10 : 14} />
        {state.kind === 'final' && (
          <rect class="inner" x={x + 3.5} y={y + 3.5} width={width - 7} height={height - 7} rx="7" />
        )}
        {isLeaf ? (
          <text
            class="key"
            x={x + width / 2}
            y={y + height / 2}
            text-anchor="middle"
            dominant-baseline="central"
          >
            {state.key}
          </text>
        ) : (
          <text class="key" x={x + 14} y={y + 20}>
            {state.key}
          </text>
        )}
      </g>
    )
  },
)

const Labels = memo(
  ({
    labels,
    box: [x, y, width, height],
    isFollowed,
    isOpen,
  }: {
    labels: readonly string[]
    box: Box
    isFollowed: boolean
    isOpen: boolean
  }) => (
    <text class={`labels${isFollowed ? ' followed' : ''}${isOpen ? ' open' : ''}`} text-anchor="middle">
      {labels.map((label, line) => (
        <tspan
          key={label}
          x={x + width / 2}
          y={y + (height / labels.length) * (line + 0.5)}
          dominant-baseline="central"
        >
          {label}
        </tspan>
      ))}
    </text>
  ),
)

type Points = readonly (readonly [number, number])[]

const Line = memo(({ points }: { points: Points }) => (
  <>
    <path class="line" d={pathOf(points)} />
    <path class="tip" d={tipOf(points)} />
  </>
))

const RADIUS = 6

/** A line with rounded corners. */
function pathOf(points: Points): string {
  return points
    .map((point, at) => {
      const [before, after] = [points[at - 1], points[at + 1]]
      if (!before) return `M${point[0]} ${point[1]}`
      if (!after) return `L${point[0]} ${point[1]}`
      const [inX, inY] = towards(point, before)
      const [outX, outY] = towards(point, after)
      return `L${inX} ${inY}Q${point[0]} ${point[1]} ${outX} ${outY}`
    })
    .join('')
}

/** A little way from a corner. */
function towards(
  [x, y]: readonly [number, number],
  [otherX, otherY]: readonly [number, number],
): [number, number] {
  const length = Math.hypot(otherX - x, otherY - y) || 1
  const part = Math.min(RADIUS, length / 2) / length
  return [x + (otherX - x) * part, y + (otherY - y) * part]
}

function tipOf(points: Points): string {
  const [end, before] = [points.at(-1), points.at(-2)]
  if (!end || !before) return ''
  const angle = Math.atan2(end[1] - before[1], end[0] - before[0])
  const corner = (turn: number) =>
    `${(end[0] - 7 * Math.cos(angle + turn)).toFixed(1)} ${(end[1] - 7 * Math.sin(angle + turn)).toFixed(1)}`
  return `M${end[0]} ${end[1]}L${corner(0.42)}L${corner(-0.42)}Z`
}
