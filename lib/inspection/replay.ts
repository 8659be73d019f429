/** A recorded machine once more: the same machine without its effects, told the same events. */
import {
  type AnyEventObject,
  type AnyStateMachine,
  createActor,
  fromCallback,
  SimulatedClock,
  type Snapshot,
} from 'xstate'
import * as machines from '../../machines/index.ts'
import { ConfigError } from '../errors.ts'
import type { Recording, Step } from '../process/flight.ts'
import { stateText } from '../process/vitals.ts'

/** One event, where it led when it was recorded, and where it leads now. */
export interface Replayed {
  readonly at: number
  /** The event's type; the first one is where the recording began. */
  readonly event: string
  readonly recorded: string
  readonly rebuilt: string
}

const MACHINES: Readonly<Record<string, AnyStateMachine>> = {
  sentinel: machines.sentinelMachine,
  pusher: machines.pusherMachine,
  worker: machines.workerMachine,
  monitor: machines.monitorMachine,
  scheduler: machines.schedulerMachine,
}

/**
 * Replays a recording, step by step. No process is forked, nothing is connected, and no time passes.
 * @throws {ConfigError} where there is no such machine, or it has no such state
 */
export function replay(name: string, recording: Recording): Replayed[] {
  const machine = MACHINES[name]
  if (!machine) throw new ConfigError(`Expected the machine of a forked process, got "${name}".`)
  try {
    return replayOn(inert(machine), recording)
  } catch (error) {
    throw new ConfigError(`The flight does not fit the machine "${name}": ${(error as Error).message}.`, {
      cause: error,
    })
  }
}

function replayOn(machine: AnyStateMachine, { start, steps }: Recording): Replayed[] {
  const actor = createActor(machine, {
    snapshot: snapshotOf(start) as Snapshot<unknown>,
    clock: new SimulatedClock(),
  })
  // A machine that breaks is seen in its snapshot.
  actor.subscribe({ error: () => {} })
  const here = () => textOf(actor.getSnapshot() as { status: string; value: unknown })
  actor.start()
  const first = {
    at: start.at,
    event: '(start)',
    recorded: textOf({ ...start, value: start.state }),
    rebuilt: here(),
  }
  const rest = expanded(steps).map(({ at, event, status, state }) => {
    actor.send(event)
    return { at, event: event.type, recorded: textOf({ status, value: state }), rebuilt: here() }
  })
  actor.stop()
  return [first, ...rest]
}

/** The machine with actors that do nothing. What its actions do is provided elsewhere, and absent here. */
function inert(machine: AnyStateMachine): AnyStateMachine {
  const names = Object.keys(machine.implementations.actors)
  const idle = fromCallback<AnyEventObject>(() => {})
  return machine.provide({ actors: Object.fromEntries(names.map((name) => [name, idle])) })
}

function snapshotOf({ status, state, context, children }: Recording['start']): object {
  const restored = Object.entries(children).map(([id, src]) => [
    id,
    { src, snapshot: { status: 'active' }, syncSnapshot: false },
  ])
  return { status, value: state, context, historyValue: {}, children: Object.fromEntries(restored) }
}

/** What came again in turns is told once more as often. */
function expanded(steps: Recording['steps']): Step[] {
  const all: Step[] = []
  for (const step of steps)
    if (!('again' in step)) all.push(step)
    else
      for (let n = 0; n < Math.min(step.again, MOST_AGAIN + (step.again % 2)); n += 1)
        all.push({ ...(all.at(-2) as Step), at: step.at })
  return all
}

/** After a few turns there is nothing new in them. Even, so that it ends where it ended. */
const MOST_AGAIN = 4

function textOf({ status, value }: { readonly status: string; readonly value?: unknown }): string {
  const where = stateText(value as never)
  return status === 'error' ? `${where} (error)` : where
}
