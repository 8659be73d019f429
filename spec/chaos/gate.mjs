/**
 * Loaded by every process of a cluster that is put to the test. The first whose machine enters the state that is named in
 * the environment says so in a file and stops itself there: whatever happens to it next happens in that state.
 * Some states come about only by an outage, which is made here of the process's own files and connections.
 */
import { existsSync, linkSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { StatementSync } from 'node:sqlite'
import { Actor } from 'xstate'

const { role, state, file, outage, nudge, ledger } = JSON.parse(process.env.CHAOS_GATE ?? '{}')
const start = Actor.prototype.start
let isAway = false

Actor.prototype.start = function () {
  if (this._parent !== undefined || this.logic.id !== role) return start.call(this)
  this.subscribe({ next: (snapshot) => pass(this, snapshot), error: () => {} })
  // What has been entered before the first task is at work may not change for long.
  if (ledger) setInterval(() => isDue(this.getSnapshot()) && hold(), 20).unref()
  return start.call(this)
}

function isDue({ _nodes: nodes = [] }) {
  return nodes.some((node) => node.id === state) && (!ledger || existsSync(ledger)) && !existsSync(file)
}

function pass(actor, snapshot) {
  const isIn = (id) => (snapshot._nodes ?? []).some((node) => node.id === id)
  if (existsSync(file)) isAway = false
  else if (isDue(snapshot)) hold()
  else {
    if (isIn(outage)) lose()
    if (nudge && isIn(nudge.state)) queueMicrotask(() => actor.send({ type: nudge.type }))
  }
}

function hold() {
  isAway = false
  try {
    // Whoever finds the file is to find a pid in it.
    writeFileSync(`${file}-${process.pid}`, `${process.pid}`)
    linkSync(`${file}-${process.pid}`, file)
  } catch {
    return // Another one was first, or this one has been here before.
  }
  process.kill(process.pid, 'SIGSTOP')
}

/** Its database cannot be read or written, and its connections to other machines' services are broken. */
function lose() {
  isAway = true
  for (const handle of process._getActiveHandles())
    if (handle instanceof Socket && handle.remotePort !== undefined) handle.destroy(new Error('cut off'))
}

for (const method of ['run', 'get', 'all']) {
  const work = StatementSync.prototype[method]
  StatementSync.prototype[method] = function (...values) {
    if (isAway) throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 10 })
    return work.apply(this, values)
  }
}
