import { createRecorder } from '../logger.ts'
import type { RoleContext, RoleInput } from '../roles/role.ts'
import { type Root, type ServedProcess, serveProcess } from './serve.ts'

/** The module that every process of a cluster starts from. It imports only what its role needs. */
serveProcess(async (served: ServedProcess) => {
  const input = served.input as RoleInput
  const recorder = createRecorder({
    level: input.settings.logLevel,
    events: new Set(input.events),
    send: served.record,
  })
  const context: RoleContext = {
    ...input,
    name: served.name,
    record: (event, fields = {}) => recorder.record(event as never, fields as never),
  }
  return { ...(await rootOf(context, served)), orphanGrace: orphanGrace(input) }
})

/** A sentinel outlives the children that it stops: the end of their grace is the beginning of its last stages. */
function orphanGrace({ role, settings }: RoleInput): number {
  return (role === 'sentinel' ? settings.grace + 10 : settings.grace) * 1000
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
  const { sentinel, sentinelInput } = await import('../roles/sentinel.ts')
  const relay = (records: readonly unknown[]) => {
    for (const one of records) record(one)
  }
  return { logic: sentinel(context, import.meta.filename, relay), input: sentinelInput(context) }
}
