import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createWebSocketInspector } from '@statelyai/inspect'
import { asyncTask, Cluster, close, configure, type Options } from 'qcluster'
import type { AnyMachineSnapshot, InspectionEvent } from 'xstate'
import { brew } from './tasks.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'qcluster-inspect-'))
process.on('exit', () => rmSync(dataDir, { recursive: true, force: true }))
const tasks = [join(import.meta.dirname, 'tasks.ts')]
const options: Options = { dataDir, tasks, workers: 1, logLevel: 'silent' }

/** Actor → where its machine was last. */
const states = new Map<string, string>()
let printed = ''
let news = Promise.withResolvers<void>()

/** Prints a line for each machine that is somewhere else than before. */
function show(event: InspectionEvent): void {
  if (event.type !== '@xstate.snapshot') return
  const { value } = event.snapshot as AnyMachineSnapshot
  // The name of an actor: `worker-1` is the slot, `worker 4711` the machine of the process in it.
  const { id } = event.actorRef as unknown as { id: string }
  const state = JSON.stringify(value)
  if (value === undefined || states.get(id) === state) return
  states.set(id, state)
  print(`${id} ${state}`)
}

function print(line: string): void {
  console.log(line)
  printed += `${line}\n`
  news.resolve()
  news = Promise.withResolvers()
}

/** Resolves when something like it has been printed: a state may be gone again before anybody could look. */
async function seen(pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const found = pattern.exec(printed)
    if (found) return found
    await news.promise
  }
}

configure(options)
await using cluster = new Cluster({ ...options, inspect: show })
await cluster.start()

// Who comes later is shown all that there is, too: here whatever listens at this address, such as the Stately inspector's server.
const [url] = process.argv.slice(2)
const inspector = url === undefined ? undefined : createWebSocketInspector({ url })
if (inspector) cluster.inspect(inspector.inspect)

const task = await asyncTask(brew, ['Assam'])
const [, pid] = await seen(/^worker (\d+) {"running":"working"}$/m)
print(`${await task.result({ wait: 20_000 })} is ready`)
await seen(/^worker \d+ {"running":"working"}\n.*^worker \d+ {"running":"idle"}$/ms)

print(`kill -9 ${pid}`)
process.kill(Number(pid), 'SIGKILL')
await seen(/^worker-1 "backingOff"\n.*^worker-1 {"alive":"up"}$/ms)

await cluster.stop()
await close()
inspector?.stop()
