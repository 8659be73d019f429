/**
 * Where the viewer draws the states and arrows of our machines: `npm run layouts` renews it, and a spec fails when it is
 * stale. It is worked out here, for the engine that does it is many times as large as the viewer.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import elk, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk.bundled.js'
import type { AnyStateMachine } from 'xstate'
import {
  type Arrow,
  arrowsOf,
  type Chart,
  chartOf,
  type Definition,
  fingerprintOf,
  type State,
} from '../lib/inspection/viewer/chart.ts'
import type { Layout } from '../lib/inspection/viewer/layout.ts'
import { definitionOf } from '../lib/process/definition.ts'
import * as machines from '../machines/index.ts'

const FOLDER = join(import.meta.dirname, '..', 'lib', 'inspection', 'viewer', 'layouts')

export const drawnMachines: readonly AnyStateMachine[] = [
  ...[machines.clusterMachine, machines.busMachine, machines.sentinelMachine, machines.childMachine],
  ...[machines.pusherMachine, machines.workerMachine, machines.monitorMachine, machines.schedulerMachine],
]

/** The layout of a machine as its file holds it. */
export async function layoutText(machine: AnyStateMachine): Promise<string> {
  const { states, arrows, starts, ...rest } = await layoutOf(machine)
  const lines = (list: readonly unknown[]) =>
    `[\n    ${list.map((one) => JSON.stringify(one)).join(',\n    ')}\n  ]`
  const fields = Object.entries(rest).map(([key, value]) => `  "${key}": ${JSON.stringify(value)},\n`)
  return `{\n${fields.join('')}  "states": ${lines(states)},\n  "starts": ${lines(starts)},\n  "arrows": ${lines(arrows)}\n}\n`
}

/** The layout that is there. */
export function savedLayoutText({ id }: AnyStateMachine): string {
  return readFileSync(fileOf(id), 'utf8')
}

function fileOf(id: string): string {
  return join(FOLDER, `${id}.json`)
}

/** Pixels that a character takes in a title and in a label; heights of a line, of a box and of a group's head. */
const SIZES = { title: 8.4, label: 7.2, line: 14, box: 36, head: 30, start: 10 } as const
const START = '/start'

const SPACING = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.json.edgeCoords': 'ROOT',
  'elk.json.shapeCoords': 'ROOT',
  'elk.edgeLabels.inline': 'false',
  'elk.layered.spacing.nodeNodeBetweenLayers': '18',
  'elk.layered.spacing.edgeNodeBetweenLayers': '9',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '9',
  'elk.spacing.nodeNode': '22',
  'elk.spacing.edgeNode': '12',
  'elk.spacing.edgeEdge': '10',
  'elk.spacing.edgeLabel': '4',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.layered.considerModelOrder.strategy': 'NODES_AND_EDGES',
  'elk.layered.cycleBreaking.strategy': 'MODEL_ORDER',
  'elk.randomSeed': '1',
} as const

async function layoutOf(machine: AnyStateMachine): Promise<Layout> {
  const definition = definitionOf(machine, machine.id) as Definition
  const chart = chartOf(definition) as Chart
  const drawn = await draw(chart)
  return { machine: machine.id, fingerprint: fingerprintOf(definition), ...read(drawn, arrowsOf(chart)) }
}

async function draw(chart: Chart): Promise<ElkNode> {
  const arrows = arrowsOf(chart)
  return new elk.default().layout({
    ...{ id: '', children: childrenOf(chart.root), layoutOptions: SPACING },
    edges: [...arrows.map(arrowEdge), ...[...chart.states.values()].flatMap(startEdge)],
  })
}

function childrenOf(state: State): ElkNode[] {
  const start =
    state.initial === undefined
      ? []
      : [{ id: `${state.path}${START}`, width: SIZES.start, height: SIZES.start }]
  return [...start, ...state.states.map(boxOf)]
}

function boxOf(state: State): ElkNode {
  const width = Math.round(state.key.length * SIZES.title + 34)
  if (state.states.length === 0) return { id: state.path, width: Math.max(88, width), height: SIZES.box }
  return {
    ...{ id: state.path, children: childrenOf(state) },
    layoutOptions: {
      'elk.padding': `[top=${SIZES.head + 4},left=16,bottom=14,right=16]`,
      'elk.nodeSize.constraints': 'MINIMUM_SIZE',
      'elk.nodeSize.minimum': `(${width}, 0)`,
    },
  }
}

function arrowEdge({ from, to, labels }: Arrow, number: number): ElkExtendedEdge {
  const width = Math.max(...labels.map((label) => label.length)) * SIZES.label + 8
  const label = { text: labels.join(), width: Math.round(width), height: labels.length * SIZES.line + 2 }
  return { id: `arrow ${number}`, sources: [from], targets: [to], labels: [label] }
}

function startEdge({ path, initial }: State): ElkExtendedEdge[] {
  return initial === undefined
    ? []
    : [{ id: `start ${path}`, sources: [`${path}${START}`], targets: [initial] }]
}

function read(drawn: ElkNode, arrows: readonly Arrow[]): Omit<Layout, 'machine' | 'fingerprint'> {
  const edges = new Map(edgesIn(drawn).map((edge) => [edge.id, edge]))
  const nodes = nodesIn(drawn).slice(1)
  const isStart = ({ id }: ElkNode) => id.endsWith(START)
  return {
    ...{ width: Math.ceil(drawn.width ?? 0), height: Math.ceil(drawn.height ?? 0) },
    states: nodes
      .filter((node) => !isStart(node))
      .map(({ id, x = 0, y = 0, width = 0, height = 0 }) => ({
        path: id,
        box: [x, y, width, height].map(round) as Box,
      })),
    starts: nodes.filter(isStart).map(({ id, x = 0, y = 0 }) => {
      const path = id.slice(0, -START.length)
      const middle = SIZES.start / 2
      return {
        path,
        at: [round(x + middle), round(y + middle)],
        points: pointsOf(edges.get(`start ${path}`)),
      }
    }),
    arrows: arrows.map(({ from, to, labels }, number) => {
      const edge = edges.get(`arrow ${number}`)
      const { x = 0, y = 0, width = 0, height = 0 } = edge?.labels?.[0] ?? {}
      return { from, to, labels, points: pointsOf(edge), box: [x, y, width, height].map(round) as Box }
    }),
  }
}

type Box = [number, number, number, number]

function nodesIn(node: ElkNode): ElkNode[] {
  return [node, ...(node.children ?? []).flatMap(nodesIn)]
}

function edgesIn(node: ElkNode): ElkExtendedEdge[] {
  return [...(node.edges ?? []), ...(node.children ?? []).flatMap(edgesIn)]
}

function pointsOf(edge: ElkExtendedEdge | undefined): [number, number][] {
  const [section] = edge?.sections ?? []
  if (!section) return []
  return [section.startPoint, ...(section.bendPoints ?? []), section.endPoint].map(({ x, y }) => [
    round(x),
    round(y),
  ])
}

const round = (pixels: number): number => Math.round(pixels * 2) / 2

if (import.meta.main) {
  mkdirSync(FOLDER, { recursive: true })
  for (const machine of drawnMachines) writeFileSync(fileOf(machine.id), await layoutText(machine))
}
