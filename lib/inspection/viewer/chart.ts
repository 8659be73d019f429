/** A machine as it is drawn: its states and transitions, read from the definition that an inspector is given. */

/** A machine's or a state's definition, as it comes over the wire: a stranger's text, so nothing in it is certain. */
export type Definition = Readonly<Record<string, unknown>>

export interface Chart {
  readonly id: string
  readonly description: string
  readonly root: State
  /** Every state by its path; the machine itself is ''. */
  readonly states: ReadonlyMap<string, State>
  readonly transitions: readonly Transition[]
}

export interface State {
  /** From the top, with dots: `running.taking`. */
  readonly path: string
  readonly key: string
  readonly kind: 'atomic' | 'compound' | 'parallel' | 'final' | 'history'
  readonly description: string
  readonly tags: readonly string[]
  /** What lives while it is active. */
  readonly invokes: readonly string[]
  /** The path of the child that it begins in. */
  readonly initial: string | undefined
  readonly states: readonly State[]
}

export interface Transition {
  readonly from: string
  /** Undefined where the machine stays where it is. */
  readonly to: string | undefined
  /** What is heard: the descriptor of an event; the other kinds have none. */
  readonly event: string
  readonly kind: 'event' | 'after' | 'always' | 'done' | 'error'
  /** As it is written at an arrow. */
  readonly label: string
  readonly actions: readonly string[]
}

/** Arrows from the same state to the same state are drawn as one. */
export interface Arrow {
  readonly from: string
  readonly to: string
  readonly labels: readonly string[]
}

/** Undefined for an actor that is no machine. */
export function chartOf(definition: Definition): Chart | undefined {
  if (!isRecord(definition.states)) return undefined
  const root = stateOf(definition, '', '')
  const states = new Map(withinOf(root).map((state) => [state.path, state]))
  const idOf = (state: State, config: Definition) => textOf(config.id) || state.path
  const ids = new Map(
    configsOf(definition, '').map(([path, config]) => {
      const state = states.get(path) as State
      return [idOf(state, config), path]
    }),
  )
  const transitions = configsOf(definition, '').flatMap(([path, config]) =>
    transitionsOf(path, config, (target) => resolve(target, path, ids)),
  )
  return { id: textOf(definition.id), description: root.description, root, states, transitions }
}

/** The arrows of a chart, in the order of its transitions. */
export function arrowsOf({ transitions }: Chart): Arrow[] {
  const arrows = new Map<string, { from: string; to: string; labels: string[] }>()
  for (const { from, to, label } of transitions) {
    if (to === undefined) continue
    const key = arrowKey(from, to)
    const arrow = arrows.get(key) ?? { from, to, labels: [] }
    arrows.set(key, arrow)
    if (!arrow.labels.includes(label)) arrow.labels.push(label)
  }
  return [...arrows.values()]
}

export function arrowKey(from: string, to: string): string {
  return `${from} → ${to}`
}

/** The paths of all active states of a snapshot's value, the outer ones first. */
export function pathsOf(value: unknown, above = ''): string[] {
  if (typeof value === 'string') return [below(above, value)]
  if (!isRecord(value)) return []
  return Object.entries(value).flatMap(([key, inner]) => [
    below(above, key),
    ...pathsOf(inner, below(above, key)),
  ])
}

/** The innermost active states, as people read them: `running.taking`; of parallel states each in turn. */
export function leavesOf(value: unknown): string[] {
  const paths = pathsOf(value)
  return paths.filter((path) => !paths.some((other) => other.startsWith(`${path}.`)))
}

/** Innermost states in few words: `running.idle`, and of parallel ones `running: taking, settled`. */
export function placesOf(leaves: readonly string[]): string {
  const [first = '', ...others] = leaves
  if (others.length === 0) return first
  return `${first.split('.')[0]}: ${leaves.map((leaf) => leaf.split('.').at(-1)).join(', ')}`
}

/** Tells one definition from another, so that a layout is not used for a machine that only has the same name. */
export function fingerprintOf(definition: Definition): string {
  let hash = 0x811c9dc5
  for (const character of JSON.stringify(definition))
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}

function stateOf(config: Definition, path: string, key: string): State {
  const children = childrenOf(config)
  const states = children.map(([name, child]) => stateOf(child, below(path, name), name))
  return {
    ...{ path, key, states, kind: kindOf(config, states.length) },
    description: textOf(config.description),
    tags: listOf(config.tags).map(textOf),
    invokes: listOf(config.invoke).map((one) => (isRecord(one) ? textOf(one.src) || textOf(one.id) : '')),
    initial: typeof config.initial === 'string' ? below(path, config.initial) : undefined,
  }
}

function kindOf({ type }: Definition, children: number): State['kind'] {
  if (type === 'parallel' || type === 'final' || type === 'history') return type
  return children > 0 ? 'compound' : 'atomic'
}

function withinOf(state: State): State[] {
  return [state, ...state.states.flatMap(withinOf)]
}

function configsOf(config: Definition, path: string): [string, Definition][] {
  return [[path, config], ...childrenOf(config).flatMap(([key, child]) => configsOf(child, below(path, key)))]
}

function childrenOf({ states }: Definition): [string, Definition][] {
  return isRecord(states)
    ? Object.entries(states).filter((entry): entry is [string, Definition] => isRecord(entry[1]))
    : []
}

function transitionsOf(
  from: string,
  config: Definition,
  resolveTarget: (target: string) => string | undefined,
): Transition[] {
  const read = (kind: Transition['kind'], event: string, name: string, written: unknown) =>
    listOf(written).map((one) => transitionOf({ from, kind, event }, name, one, resolveTarget))
  const mapped = (map: unknown): [string, unknown][] => (isRecord(map) ? Object.entries(map) : [])
  return [
    ...mapped(config.on).flatMap(([event, one]) => read('event', event, nameOf(event), one)),
    ...mapped(config.after).flatMap(([delay, one]) => read('after', delay, `after ${delayOf(delay)}`, one)),
    ...listOf(config.invoke).flatMap((one) => (isRecord(one) ? invocation(one, read) : [])),
    ...read('done', '', 'done', config.onDone),
    ...read('always', '', '', config.always),
  ]
}

type Read = (kind: Transition['kind'], event: string, name: string, written: unknown) => Transition[]

function invocation(invoke: Definition, read: Read): Transition[] {
  const src = textOf(invoke.src) || textOf(invoke.id)
  return [
    ...read('done', src, `${src} done`, invoke.onDone),
    ...read('error', src, `${src} failed`, invoke.onError),
  ]
}

function transitionOf(
  base: Pick<Transition, 'from' | 'kind' | 'event'>,
  name: string,
  written: unknown,
  resolveTarget: (target: string) => string | undefined,
): Transition {
  const { target, guard, actions } = isRecord(written)
    ? written
    : { target: written, guard: undefined, actions: [] }
  const condition = isRecord(guard) ? textOf(guard.type).replace(COMBINED, '…') : ''
  const [first] = listOf(target)
  return {
    ...base,
    to: typeof first === 'string' ? resolveTarget(first) : undefined,
    label: [name, condition && `[${condition}]`].filter(Boolean).join(' ') || 'always',
    actions: listOf(actions)
      .map((one) => (isRecord(one) ? textOf(one.type) : textOf(one)))
      .filter(Boolean),
  }
}

/** A guard that is made of others has no name of its own. */
const COMBINED = /^(and|or|not|stateIn)$/

/** What XState calls the end of a wait or of an invoked actor says little to a reader. */
export function nameOf(event: string): string {
  const [, delay] = /^xstate\.after\.([^.]+)\./.exec(event) ?? []
  if (delay !== undefined) return `after ${delayOf(delay)}`
  // An invocation without an id is called by its number and its state.
  const [, end, actor] = /^xstate\.(done|error)\.actor\.(?:\d+\.)?(.+)$/.exec(event) ?? []
  if (end === undefined) return event
  return `${actor === '*' ? 'actor' : actor} ${end === 'done' ? 'done' : 'failed'}`
}

function delayOf(delay: string): string {
  return /^\d+$/.test(delay) ? `${Number(delay) / 1_000} s` : delay
}

function resolve(target: string, from: string, ids: ReadonlyMap<string, string>): string | undefined {
  if (target.startsWith('.')) return below(from, target.slice(1))
  if (!target.startsWith('#')) return below(from.split('.').slice(0, -1).join('.'), target)
  const id = target.slice(1)
  if (ids.has(id)) return ids.get(id)
  const root = [...ids.keys()].find((one) => id.startsWith(`${one}.`))
  return root === undefined ? undefined : below(ids.get(root) as string, id.slice(root.length + 1))
}

function below(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

function listOf(one: unknown): readonly unknown[] {
  return one === undefined || one === null ? [] : [one].flat()
}

function textOf(one: unknown): string {
  return typeof one === 'string' ? one : ''
}

function isRecord(one: unknown): one is Definition {
  return typeof one === 'object' && one !== null && !Array.isArray(one)
}
