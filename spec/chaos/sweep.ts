/** Blow after blow, until all were struck or the time is over. */
import type { Blow } from './pairs.ts'
import { hit, type Trial, type TrialOptions } from './trial.ts'

export interface SweepOptions extends TrialOptions {
  readonly minutes: number
  readonly onTrial?: (trial: Trial) => void
}

export async function sweep(blows: readonly Blow[], options: SweepOptions): Promise<Trial[]> {
  const end = performance.now() + options.minutes * 60_000
  const trials: Trial[] = []
  for (const blow of blows) {
    if (performance.now() >= end) break
    const trial = await hit(blow, options)
    trials.push(trial)
    options.onTrial?.(trial)
  }
  return trials
}

/** Role × state × fault: how many runs were doubled, and whether the cluster went on. */
export function tableOf(trials: readonly Trial[]): string {
  const rows = Object.entries(Object.groupBy(trials, ({ blow }) => blow.state)).map(([state, some = []]) => {
    const cell = (fault: Blow['fault']) => {
      const trial = some.find(({ blow }) => blow.fault === fault)
      return trial ? wordsOf(trial) : ''
    }
    return `| \`${state}\` | ${cell('SIGKILL')} | ${cell('SIGSTOP')} | ${cell('SIGTERM')} |`
  })
  return ['| State | SIGKILL | SIGSTOP | SIGTERM |', '| --- | --- | --- | --- |', ...rows.toSorted()].join(
    '\n',
  )
}

export function wordsOf({ reached, end, doubles, faults }: Trial): string {
  if (faults.length > 0) return `**${faults.join('; ')}**`
  if (!reached) return 'not reached'
  return doubles > 0 ? `${end}, ${doubles} run twice` : end
}
