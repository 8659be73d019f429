/** Blow after blow, until all were struck or the time is over. */
import type { Doubles } from './ledger.ts'
import { type Blow, FAULTS } from './pairs.ts'
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

/** Role × state × fault: what became of the cluster, and which tasks were run twice. */
export function tableOf(trials: readonly Trial[]): string {
  const rows = Object.entries(Object.groupBy(trials, ({ blow }) => blow.state)).map(([state, some = []]) => {
    const cells = FAULTS.map((fault) => some.find(({ blow }) => blow.fault === fault))
    return `| \`${state}\` | ${cells.map((trial) => (trial ? wordsOf(trial) : '')).join(' | ')} |`
  })
  const head = [`| State | ${FAULTS.join(' | ')} |`, '| --- | --- | --- | --- |']
  return [...head, ...rows.toSorted()].join('\n')
}

export function wordsOf({ reached, end, doubles, faults }: Trial): string {
  if (faults.length > 0) return `**${faults.join('; ')}**`
  if (!reached) return 'not reached'
  const again = Object.entries(doubles).filter(([, count]) => count > 0)
  return [end, ...again.map(([reason, count]) => `${count} ${reason}`)].join(', ')
}

/** What the table adds up to, with the states that did not come about. */
export function summaryOf(blows: readonly Blow[], trials: readonly Trial[]): string {
  const struck = trials.filter(({ reached }) => reached)
  const accepted = trials.reduce((sum, trial) => sum + trial.accepted, 0)
  const again = (Object.keys(trials[0]?.doubles ?? {}) as (keyof Doubles)[]).map((reason) => {
    const count = trials.reduce((sum, { doubles }) => sum + doubles[reason], 0)
    return `${count} ${reason}`
  })
  const unreached = new Set(trials.filter((trial) => !trial.reached).map(({ blow }) => blow.state))
  for (const { blow } of struck) unreached.delete(blow.state)
  return [
    `${blows.length} blows, ${trials.length} tried, ${struck.length} struck in their state, `,
    `${trials.filter(({ faults }) => faults.length > 0).length} with a fault; `,
    `${accepted} tasks, run twice: ${again.join(', ')}. `,
    unreached.size > 0 ? `Not reached: ${[...unreached].toSorted().join(', ')}.` : 'Every state was reached.',
  ].join('')
}
