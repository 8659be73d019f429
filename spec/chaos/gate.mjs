/**
 * Loaded by every process of a cluster that is put to the test. The first whose machine enters the state that is named in
 * the environment says so in a file and stops itself there: whatever happens to it next happens in that state.
 */
import { writeFileSync } from 'node:fs'
import { Actor } from 'xstate'

const [machine, state, file] = (process.env.CHAOS_GATE ?? '').split(' ')
const start = Actor.prototype.start

Actor.prototype.start = function () {
  if (this._parent === undefined && this.logic.id === machine) this.subscribe({ next: hold, error: () => {} })
  return start.call(this)
}

function hold({ _nodes: nodes }) {
  if (!nodes?.some(({ id }) => id === state)) return
  try {
    writeFileSync(file, `${process.pid}`, { flag: 'wx' })
  } catch {
    return // Another one was first, or this one has been here before.
  }
  process.kill(process.pid, 'SIGSTOP')
}
