import { schedulerMachine } from '../../machines/scheduler.ts'
import type { RoleContext } from './role.ts'

/** What the scheduler's machine is provided with. */
export function scheduler({ name, record }: RoleContext) {
  return schedulerMachine.provide({
    actions: { announce: (_, { event }) => record(event, { process: name, pid: process.pid }) },
  })
}
