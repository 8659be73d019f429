import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import type { AnyStateMachine, AnyStateNode } from 'xstate'
import { getStateNodes } from 'xstate/graph'
import {
  busMachine,
  childMachine,
  clusterMachine,
  monitorMachine,
  orphansMachine,
  pusherMachine,
  schedulerMachine,
  sentinelMachine,
  workerMachine,
} from '../../machines/index.ts'

const folder = join(import.meta.dirname, '..', '..', 'machines')
const readme = readFileSync(join(folder, 'README.md'), 'utf8')
const protocol = readFileSync(join(folder, 'protocol.ts'), 'utf8')

const machines: readonly AnyStateMachine[] = [
  ...[clusterMachine, sentinelMachine, childMachine, pusherMachine, workerMachine, monitorMachine],
  schedulerMachine,
  busMachine,
  orphansMachine,
]
const machineNamed = (name: string) => machines.find(({ id }) => id === name)

interface Arrow {
  readonly from: string
  readonly to: string
  readonly label: string
}

interface Diagram {
  readonly initials: Set<string>
  readonly states: Set<string>
  readonly arrows: Arrow[]
}

const sectionOf = (title: string): string =>
  readme.split(/^## /m).find((section) => section.startsWith(`${title}\n`)) ?? ''

/** Reads the part of mermaid that our diagrams use; states are named as xstate names them. */
function diagramOf(id: string): Diagram {
  const title = `${id[0]?.toUpperCase()}${id.slice(1)}`
  const [, text = ''] = /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(sectionOf(title)) ?? []
  const diagram: Diagram = { initials: new Set(), states: new Set(), arrows: [] }
  const aliases = new Map<string, string>()
  const above = [id]
  const stateNamed = (name: string) => {
    const state = `${above.at(-1)}.${aliases.get(name) ?? name}`
    diagram.states.add(state)
    return state
  }
  for (const line of text
    .trim()
    .split('\n')
    .map((one) => one.trim())) {
    const [, label, alias] = /^state "(\w+)" as (\w+)$/.exec(line) ?? []
    const [, opened] = /^state (\w+) \{$/.exec(line) ?? []
    const [, from, to, why = ''] = /^(\S+) --> (\w+)(?:: (.*))?$/.exec(line) ?? []
    if (label && alias) aliases.set(alias, label)
    else if (opened) above.push(stateNamed(opened))
    else if (line === '}') above.pop()
    else if (from === '[*]' && to) diagram.initials.add(stateNamed(to))
    else if (from && to) diagram.arrows.push({ from: stateNamed(from), to: stateNamed(to), label: why })
    else if (line !== '--') throw new Error(`The diagram of ${id} has a line that is no state: ${line}`)
  }
  return diagram
}

const nodesOf = (machine: AnyStateMachine): AnyStateNode[] => getStateNodes(machine.root)

/** Every transition of a machine that leads elsewhere. */
function transitionsOf(machine: AnyStateMachine): Arrow[] {
  return [machine.root as AnyStateNode, ...nodesOf(machine)].flatMap((node) =>
    [...[...node.transitions.values()].flat(), ...(node.always ?? [])].flatMap(({ target, eventType }) =>
      (target ?? []).map((to: AnyStateNode) => ({ from: node.id, to: to.id, label: eventType })),
    ),
  )
}

const isWithin = (inner: string, outer: string): boolean => inner === outer || inner.startsWith(`${outer}.`)

/** Whether an arrow of a diagram stands for a transition: its ends may be drawn at what is around them. */
const standsFor = (arrow: Arrow, transition: Arrow): boolean =>
  isWithin(transition.from, arrow.from) && isWithin(transition.to, arrow.to)

const show = ({ from, to, label }: Arrow): string => `${from} → ${to} (${label})`

/** Events that a label names; its other words are for people. */
const eventsIn = (label: string): string[] => label.match(/\b[a-z]+\.[a-zA-Z]+\b/g) ?? []

for (const machine of machines)
  describe(`the diagram of the ${machine.id} machine`, () => {
    let diagram: Diagram
    let transitions: Arrow[]

    before(() => {
      diagram = diagramOf(machine.id)
      transitions = transitionsOf(machine)
    })

    it('draws its states, all of them and no others', () => {
      expect([...diagram.states]).to.have.members(nodesOf(machine).map(({ id }) => id))
    })

    it('begins where the machine begins', () => {
      for (const initial of diagram.initials) {
        const node = nodesOf(machine).find(({ id }) => id === initial) as AnyStateNode
        expect(node.parent?.config.initial, initial).to.equal(node.key)
      }
      expect([...diagram.initials].some((id) => id.split('.').length === 2)).to.equal(true)
    })

    it('draws each of its transitions', () => {
      const undrawn = transitions.filter((one) => !diagram.arrows.some((arrow) => standsFor(arrow, one)))
      expect(undrawn.map(show)).to.deep.equal([])
    })

    it('draws no transition that it does not have, nor by an event that does not lead there', () => {
      const untrue = diagram.arrows.filter((arrow) => {
        const meant = transitions.filter((one) => standsFor(arrow, one))
        return (
          meant.length === 0 ||
          !eventsIn(arrow.label).every((type) => meant.some(({ label }) => label === type))
        )
      })
      expect(untrue.map(show)).to.deep.equal([])
    })
  })

describe('the catalogue of events', () => {
  const rows = sectionOf('The events between processes')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
    .map(([, type = '', from = '', to = '', when = '']) => ({ type, from, to: to.split(', '), when }))

  it('has every order and report of the protocol once, and no others', () => {
    const declared = [...protocol.matchAll(/readonly type: '([^']+)'/g)].map(([, type]) => type)
    expect(rows.map(({ type }) => type)).to.have.members(declared)
  })

  it('says who hears it, and says it of all', () => {
    for (const { type, from, to } of rows) {
      // A role may have a report from an actor of its own, and passes it on.
      const hearing = machines
        .filter(({ id, events }) => id !== from && events.includes(type))
        .map(({ id }) => id)
      const named = to.filter((name) => machineNamed(name))
      expect(named, type).to.have.members(hearing)
    }
  })

  it('says who says it, and when', () => {
    for (const { type, from, when } of rows) {
      expect(from, type).to.be.oneOf([
        ...machines.map(({ id }) => id),
        'every role',
        'fromProcess',
        'serveProcess',
      ])
      expect(when, type).not.to.equal('')
    }
  })
})

describe('the stop procedure', () => {
  it('is told in the sentinel’s stages, in their order', () => {
    const told = [...sectionOf('The stop procedure').matchAll(/^\| `(\w+)` /gm)].map(([, stage]) => stage)
    const stages = nodesOf(sentinelMachine).filter(({ parent }) => parent?.id === 'sentinel.stopping.stage')
    expect(told).to.deep.equal(stages.map(({ key }) => key))
  })
})

describe('the README’s pictures', () => {
  const front = readFileSync(join(folder, '..', 'README.md'), 'utf8')
  const frames = readFileSync(join(folder, '..', 'lib', 'roles', 'frames.ts'), 'utf8')

  it('show a process for each machine that has one, under who forks it', () => {
    const [, tree = ''] = /## The processes\n\n```\n([\s\S]*?)```/.exec(front) ?? []
    const drawn = tree
      .trimEnd()
      .split('\n')
      .map((line) => /^(.*?)\s{2,}([A-Z][a-z]+) {2,}/.exec(line)?.slice(1) ?? [])
    const depth = (branch = '') => branch.search(/[└├]/)
    expect(drawn.map(([branch, name]) => [name?.toLowerCase(), depth(branch)])).to.deep.equal([
      ['cluster', -1],
      ['sentinel', 0],
      ...['pusher', 'worker', 'monitor', 'scheduler'].map((role) => [role, 3]),
    ])
    const roles = machines.map(({ id }) => id).filter((id) => !['child', 'bus', 'orphans'].includes(id))
    expect(drawn.map(([, name]) => name?.toLowerCase())).to.have.members(roles)
  })

  it('send between the roles what the frames have, from whom and to whom they say', () => {
    const [, path = ''] = /```mermaid\nsequenceDiagram\n([\s\S]*?)```/.exec(front) ?? []
    const roles = ['Pusher', 'Worker', 'Monitor']
    const steps = [...path.matchAll(/^ {2}(\w+)->>(\w+): (\w+)/gm)].map(([, from, to, kind]) => ({
      from,
      to,
      kind,
    }))
    const frameSteps = steps.filter(({ from = '', to = '' }) => roles.includes(from) && roles.includes(to))
    expect(frameSteps).to.have.length(6)
    for (const { from, to, kind } of frameSteps) {
      const [, type = ''] =
        new RegExp(`export type ${from}To${to} =([\\s\\S]*?)(?:\\nexport|$)`).exec(frames) ?? []
      expect(type, `${from} to ${to}`).to.include(`kind: '${kind}'`)
    }
  })
})
