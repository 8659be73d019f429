/** What a cluster does about the children of a sentinel that died: waits for their end, or brings it about. */
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fromPromise } from 'xstate'
import { orphansMachine } from '../machines/orphans.ts'
import type { ForkedProcess } from '../machines/protocol.ts'
import { isGone } from './directory.ts'
import { boardPath } from './process/board.ts'
import { killGroup } from './process/fork.ts'

/** Milliseconds between two looks at who is left: nobody hears of the end of a process that is not its child. */
const CYCLE = 50

export interface OrphansParts {
  /** Where their sockets and boards are. */
  readonly directory: () => string
  /** Hears of those that had to be killed. */
  readonly onKill: (killed: readonly ForkedProcess[]) => void
}

/** What the orphans' machine is provided with. */
export function orphans({ directory, onKill }: OrphansParts) {
  return orphansMachine.provide({
    actors: {
      absence: fromPromise<void, readonly ForkedProcess[]>(async ({ input, signal }) => {
        while (!signal.aborted && !input.every(isGone)) await sleep(CYCLE)
        // No sentinel is left that would take down what they ran.
        for (const { name } of input) rmSync(boardPath(directory(), name), { force: true })
      }),
    },
    actions: {
      kill: (_, processes) => {
        const killed = processes.filter((one) => !isGone(one))
        for (const one of killed) end(one)
        if (killed.length > 0) onKill(killed)
      },
    },
  })
}

function end(one: ForkedProcess): void {
  try {
    process.kill(one.pid, 'SIGKILL')
  } catch {
    // It has left by itself since it was looked at.
  }
  killGroup(one)
}
