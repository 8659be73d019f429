import type { Command } from 'commander'
import { EXIT } from '../errors.ts'
import { type Flight, readFlightFile } from '../flights.ts'
import { type Replayed, replay } from '../inspection/replay.ts'
import { escapeControls } from '../logger.ts'
import type { Recording } from '../process/flight.ts'
import { jsonOf } from './values.ts'

const EXAMPLES = `
The log names the file when a process dies that could not say why. Ends with 6 where a state is not the recorded one.

Examples:
  qcluster replay .qcluster/flights/2026-11-24T16-20-00.000Z-worker-5e0a7c31.json
  qcluster replay --json FILE | jq '.steps[-1]'`

/** `qcluster replay`: what a process did before it died. */
export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('Step through what a process that died did last, on its machine, and show where it ended.')
    .argument('<file>', 'the file that the log names')
    .option('--json', 'As JSON.')
    .addHelpText('after', EXAMPLES)
    .action(show)
}

function show(file: string, { json }: { readonly json?: boolean }): void {
  const flight = readFlightFile<Recording>(file)
  const steps = replay(flight.machine, flight.recording)
  const matches = steps.every(isSame)
  const { recording: _, ...about } = flight
  if (json) console.log(jsonOf({ ...about, matches, steps }))
  else console.log([headOf(flight), ...linesOf(steps), '', endOf(steps)].map(escapeControls).join('\n'))
  if (!matches) process.exitCode = EXIT.differs
}

const isSame = ({ recorded, rebuilt }: Replayed): boolean => recorded === rebuilt

function headOf({ machine, process, cluster, endedAt, code, signal, running }: Flight): string {
  const how = signal ? `killed by ${signal}` : `left with exit code ${code}`
  const tasks = running.map(({ taskId, run }) => `${taskId} (run ${run})`).join(', ')
  const while_ = tasks === '' ? '' : `, while it ran ${tasks}`
  return `${machine} ${process} of ${cluster}: ${how} at ${new Date(endedAt).toISOString()}${while_}`
}

function linesOf(steps: readonly Replayed[]): string[] {
  const width = Math.max(...steps.map(({ event }) => event.length))
  return steps.map((step, n) => {
    const since = step.at - (steps[n - 1]?.at ?? step.at)
    const differs = isSame(step) ? '' : `  ✖ rebuilt: ${step.rebuilt}`
    return `${`${n}`.padStart(5)} ${`+${since} ms`.padStart(12)}  ${step.event.padEnd(width)}  ${step.recorded}${differs}`
  })
}

function endOf(steps: readonly Replayed[]): string {
  const last = steps.at(-1) as Replayed
  const first = steps.findIndex((step) => !isSame(step))
  return first < 0
    ? `It ended in ${last.recorded}, as it was recorded.`
    : `The rebuilt state differs from the recorded one from step ${first} on: the file was changed, or the machine is another one.`
}
