import type { EventObject } from 'xstate'
import type { EventsWanted } from '../../machines/protocol.ts'
import { statCycle } from '../config.ts'
import { createRecorder, type LogRecord, writeLines } from '../logger.ts'
import type { RoleContext, RoleInput } from '../roles/role.ts'
import { type Root, type ServedProcess, serveProcess } from './serve.ts'
import { Title } from './title.ts'

/** The module that every process of a cluster starts from. It imports only what its role needs. */
serveProcess(async (served: ServedProcess) => {
  const input = served.input as RoleInput
  // A sentinel hands this very list on to the children that it forks later.
  const events = [...input.events]
  const recorder = createRecorder({
    level: input.settings.logLevel,
    events: new Set(events),
    send: served.record,
  })
  const context: RoleContext = {
    ...input,
    events,
    name: served.name,
    title: new Title(input),
    measure: served.measure,
    flush: served.flush,
    record: (event, fields = {}) => recorder.record(event as never, fields as never),
  }
  const onOrder = (order: EventObject) => {
    if (order.type !== 'events.wanted') return
    events.splice(0, events.length, ...(order as EventsWanted).events)
    recorder.select({ events: new Set(events) })
  }
  return {
    // A machine is not given its process's input, settings and secrets, which whoever inspects it could see.
    ...{ input: undefined, ...(await rootOf(context, served)) },
    orphanGrace: orphanGrace(input),
    vitalsCycle: statCycle(input.settings),
    // Without a parent it tells the rest of the story itself.
    onOrphanRecords: (records) => writeLines(records as readonly LogRecord[], input.settings),
    flightDirectory: input.directory,
    onOrder,
  }
})

/**
 * A sentinel outlives the children that it stops, and a monitor the workers that it may have to kill: the end of their
 * grace is the beginning of the last that these do.
 */
function orphanGrace({ role, settings }: RoleInput): number {
  const longer = { sentinel: 10, monitor: 5 }[role as string] ?? 0
  return (settings.grace + longer) * 1000
}

async function rootOf(context: RoleContext, served: ServedProcess): Promise<Root> {
  switch (context.role) {
    case 'worker':
      return { logic: (await import('../roles/worker.ts')).worker(context) }
    case 'monitor':
      return { logic: (await import('../roles/monitor.ts')).monitor(context) }
    case 'pusher':
      return { logic: (await import('../roles/pusher.ts')).pusher(context) }
    case 'scheduler':
      return { logic: (await import('../roles/scheduler.ts')).scheduler(context) }
    case 'sentinel':
      return sentinelRoot(context, served)
  }
}

async function sentinelRoot(context: RoleContext, { record }: ServedProcess): Promise<Root> {
  const [{ sentinel, sentinelInput }, { shareRuntimeDirectory }] = await Promise.all([
    import('../roles/sentinel.ts'),
    import('../directory.ts'),
  ])
  // Should the cluster be killed, nobody may sweep away what its orphans still work with.
  shareRuntimeDirectory(context.directory)
  const relay = (records: readonly unknown[]) => {
    for (const one of records) record(one)
  }
  return {
    logic: sentinel(context, import.meta.filename, relay),
    input: sentinelInput(context),
  }
}
