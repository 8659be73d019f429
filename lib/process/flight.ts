/**
 * The flight recorder of a process: what its top machine was told last and where that led, in a file that outlives it.
 * A process that is killed cannot say anything any more, so each step is written as it happens, by one write of a few
 * microseconds; a report to the parent would be lost when it matters.
 */
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { AnyActorLogic, AnyEventObject, AnyMachineSnapshot, AnyStateMachine } from 'xstate'
import { decisive } from './portrait.ts'

/** Where a machine is, and what it decides by. */
interface Stand {
  readonly at: number
  readonly status: string
  readonly state: unknown
  readonly context: unknown
  /** The actors that it has, by their ids: what each runs, by its name in the machine. */
  readonly children: Readonly<Record<string, string>>
}

/** An event, and where it led. */
export interface Step {
  readonly at: number
  readonly event: AnyEventObject
  readonly status: string
  readonly state: unknown
  /** The name of what was thrown, where the machine broke. */
  readonly thrown?: string
}

/** The last two steps came again: so many single steps more, in turns. */
interface Again {
  readonly at: number
  readonly again: number
}

/** What was recorded: where the machine stood once, and every step from there. */
export interface Recording {
  readonly start: Stand
  readonly steps: readonly (Step | Again)[]
}

/** Steps in one file of two: so many to twice as many are kept. */
const MOST = 200
/** Milliseconds between two times that it is written how often the same came again. */
const CYCLE = 100

const flightPath = (directory: string, name: string): string => join(directory, `${name}.flight`)
const formerPath = (path: string): string => `${path}.former`

/**
 * The same machine, recorded from its first state on. Only steps of its own are: not those of the actors that it has.
 * @param name the process's, which the files are called by
 */
export function recorded(logic: AnyActorLogic, directory: string, name: string): AnyActorLogic {
  const machine = logic as AnyStateMachine
  const recorder = new FlightRecorder(flightPath(directory, name))
  return Object.create(machine, {
    getInitialSnapshot: {
      value: (...given: Parameters<AnyStateMachine['getInitialSnapshot']>) => {
        const first = machine.getInitialSnapshot(...given)
        recorder.begin(first)
        return first
      },
    },
    transition: {
      value: (...given: Parameters<AnyStateMachine['transition']>) => {
        const [, event] = given
        try {
          const next = machine.transition(...given)
          recorder.note(event, next)
          return next
        } catch (error) {
          recorder.noteThrown(event, error)
          throw error
        }
      },
    },
  }) as AnyActorLogic
}

/** What a process has recorded; undefined where it had not begun, or none of it can be read. */
export function readFlight(directory: string, name: string): Recording | undefined {
  const path = flightPath(directory, name)
  const lines = [formerPath(path), path].map(linesOf)
  const [start, ...steps] = lines[0]?.length
    ? lines.flatMap((part, n) => (n === 0 ? part : part.slice(1)))
    : (lines[1] ?? [])
  return start === undefined ? undefined : { start: start as Stand, steps: steps as Step[] }
}

/** Removes what a process has recorded. */
export function removeFlight(directory: string, name: string): void {
  const path = flightPath(directory, name)
  for (const one of [path, formerPath(path)]) rmSync(one, { force: true })
}

/** Writes one line a step, and after so many begins a new file with where the machine stands. */
class FlightRecorder {
  readonly #path: string
  #file: number | undefined
  #lines = 0
  #stand: AnyMachineSnapshot | undefined
  /** The last two steps without their times: what comes in turns is counted. */
  #last: readonly [string, string] = ['', '']
  #again = 0
  #writtenAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(path: string) {
    this.#path = path
  }

  begin(first: AnyMachineSnapshot): void {
    this.#stand = first
    this.#open()
  }

  note(event: AnyEventObject, next: AnyMachineSnapshot): void {
    this.#stand = next
    // Nothing is left to be told then, and a recorder that is stopped must not open a file again.
    if (event.type === 'xstate.stop') return
    this.#add({ event: decisive(event), status: next.status, state: next.value })
  }

  noteThrown(event: AnyEventObject, error: unknown): void {
    const { name = 'Error' } = (error ?? {}) as Partial<Error>
    this.#add({ event: decisive(event), status: 'error', state: this.#stand?.value, thrown: String(name) })
  }

  #add(step: object): void {
    const text = JSON.stringify(step)
    if (text === this.#last[0]) {
      this.#last = [this.#last[1], text]
      this.#again += 1
      this.#writeAgainSoon()
      return
    }
    this.#writeAgain()
    this.#last = [this.#last[1], text]
    this.#write(`{"at":${Date.now()},${text.slice(1)}`)
    if (this.#lines > MOST) this.#turn()
  }

  /** At once, unless it was just now: where a machine goes to and fro thousands of times a second, the last is enough. */
  #writeAgainSoon(): void {
    const wait = this.#writtenAt + CYCLE - performance.now()
    if (wait <= 0) this.#writeAgain()
    else this.#timer ??= setTimeout(() => this.#writeAgain(), wait).unref()
  }

  #writeAgain(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#again === 0) return
    this.#write(JSON.stringify({ at: Date.now(), again: this.#again }))
    this.#again = 0
  }

  #turn(): void {
    closeSync(this.#file as number)
    renameSync(this.#path, formerPath(this.#path))
    this.#open()
  }

  #open(): void {
    this.#file = openSync(this.#path, 'wx', 0o600)
    this.#last = ['', '']
    this.#lines = 0
    this.#write(JSON.stringify(standOf(this.#stand as AnyMachineSnapshot)))
  }

  #write(line: string): void {
    this.#lines += 1
    this.#writtenAt = performance.now()
    writeSync(this.#file as number, `${line}\n`)
  }
}

/** A restored actor finds the actors that it had by these. */
function standOf({ status, value, context, children }: AnyMachineSnapshot): Stand {
  const named = Object.entries(children as Readonly<Record<string, { readonly src: unknown }>>)
  return {
    at: Date.now(),
    status,
    state: value,
    context: decisive(context),
    children: Object.fromEntries(named.map(([id, { src }]) => [id, String(src)])),
  }
}

/** None where there is no such file. A process that was killed may have left half a line at the end. */
function linesOf(path: string): unknown[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
