/** What a machine looks like, for whoever draws it: its states and transitions, and nothing that its author put in them. */
import type { AnyActorLogic } from 'xstate'

/** A part of a machine's configuration, as its author wrote it. */
type Config = Readonly<Record<string, unknown>>

const drawn = new WeakMap<object, object>()

/**
 * The machine as plain data: what is named here, and no context, input, output, parameter or meta data. An actor that is no
 * machine has an id only.
 */
export function definitionOf(logic: AnyActorLogic, name: string): object {
  const { config } = logic as { config?: unknown }
  if (!isObject(config)) return { id: name }
  const known = drawn.get(config) ?? stateOf(config)
  drawn.set(config, known)
  return known
}

function stateOf(config: Config): object {
  return defined({
    ...pick(config, ['id', 'type', 'description', 'history', 'target', 'tags']),
    initial: initialOf(config.initial),
    entry: namesOf(config.entry),
    exit: namesOf(config.exit),
    invoke: listOf(config.invoke, invocationOf),
    on: mapOf(config.on, transitionsOf),
    after: mapOf(config.after, transitionsOf),
    always: transitionsOf(config.always),
    onDone: transitionsOf(config.onDone),
    states: mapOf(config.states, (state) => (isObject(state) ? stateOf(state) : {})),
  })
}

function initialOf(initial: unknown): unknown {
  return isObject(initial) ? initial.target : initial
}

function invocationOf(invocation: unknown): unknown {
  if (!isObject(invocation)) return undefined
  return defined({
    ...pick(invocation, ['id', 'systemId']),
    src: nameOf(invocation.src),
    onDone: transitionsOf(invocation.onDone),
    onError: transitionsOf(invocation.onError),
    onSnapshot: transitionsOf(invocation.onSnapshot),
  })
}

function transitionsOf(transitions: unknown): unknown {
  return Array.isArray(transitions) ? transitions.map(transitionOf) : transitionOf(transitions)
}

function transitionOf(transition: unknown): unknown {
  if (!isObject(transition)) return transition
  return defined({
    ...pick(transition, ['target', 'reenter', 'description']),
    guard: transition.guard === undefined ? undefined : reference(transition.guard),
    actions: namesOf(transition.actions),
  })
}

function namesOf(actions: unknown): unknown {
  return listOf(actions, reference)
}

/** An action or a guard as the inspectors read it. */
const reference = (named: unknown): object => ({ type: nameOf(named) })

/** What is built in has a type, what is written in place at most the name of its function. */
function nameOf(named: unknown): string {
  if (typeof named === 'string') return named
  const { type, name } = (named ?? {}) as { type?: unknown; name?: unknown }
  return [type, name].find((one) => typeof one === 'string') ?? ''
}

function listOf(list: unknown, show: (one: unknown) => unknown): unknown {
  return list === undefined ? undefined : [list].flat().map(show)
}

function mapOf(map: unknown, show: (one: unknown) => unknown): unknown {
  if (!isObject(map)) return undefined
  return Object.fromEntries(Object.entries(map).map(([key, one]) => [key, show(one)]))
}

function pick(config: Config, keys: readonly string[]): object {
  return Object.fromEntries(keys.filter((key) => key in config).map((key) => [key, config[key]]))
}

function defined(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

function isObject(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
