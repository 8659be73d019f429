import { emit, setup } from 'xstate'
import type { OrphanedReport, ReadyReport, SchedulerOrder } from './protocol.ts'

export type SchedulerEvent = SchedulerOrder | OrphanedReport

/** Turns due schedules into tasks; without schedules it waits. Provide the action `announce`. */
export const schedulerMachine = setup({
  types: {} as {
    events: SchedulerEvent
    emitted: ReadyReport
    tags: 'running'
  },
  actions: {
    /** Says what happened to whoever reads the log. */
    announce: (_, _params: { event: string }) => {},
    reportReady: emit({ type: 'process.ready' } as const),
  },
}).createMachine({
  id: 'scheduler',
  description: 'Turns due schedules into tasks',
  options: { maxIterations: 1000 },
  initial: 'starting',
  states: {
    starting: {
      description: 'Getting ready',
      always: 'running',
    },
    running: {
      description: 'Waiting for the next due schedule',
      tags: 'running',
      entry: [{ type: 'announce', params: { event: 'scheduler.ready' } }, 'reportReady'],
      on: { 'scheduler.stop': 'stopping', 'process.orphaned': 'stopping' },
    },
    stopping: {
      description: 'Nothing is under way that could not be left',
      always: 'stopped',
    },
    stopped: {
      description: 'Leaves',
      type: 'final',
    },
  },
})
