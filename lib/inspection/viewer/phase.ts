/** How somebody who passes by should take a machine's state: one of few phases, each with a colour of its own. */

export type Phase = 'up' | 'busy' | 'starting' | 'troubled' | 'stopping' | 'ended' | 'failed'

/** What a phase is called in the legend. */
export const PHASES: Readonly<Record<Phase, string>> = {
  ...{ starting: 'starting', up: 'ready', busy: 'at work', troubled: 'in trouble' },
  ...{ stopping: 'stopping', ended: 'ended', failed: 'failed' },
}

const SIGNS: readonly (readonly [Phase, RegExp])[] = [
  ['failed', /^failed$/],
  ['troubled', /\b(reconnecting|backingOff|examining|killing|exterminating|aborting)\b/],
  ['stopping', /\b(stopping|closing|draining|leaving)/],
  ['ended', /^(stopped|gone|done)$/],
  ['starting', /\b(starting|connecting|opening)\b|^idle$/],
  ['busy', /\b(working|running\.busy)\b/],
]

/** @param leaves the innermost active states */
export function phaseOf(status: string, leaves: readonly string[]): Phase {
  if (status === 'error') return 'failed'
  const found = SIGNS.find(([, sign]) => leaves.some((leaf) => sign.test(leaf)))?.[0]
  if (status !== 'active' && found !== 'failed') return 'ended'
  return found ?? 'up'
}
