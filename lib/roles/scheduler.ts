import { fromCallback } from 'xstate'
import { schedulerMachine, type TimetableOrder, type TimetableReport } from '../../machines/scheduler.ts'
import { Client } from '../client.ts'
import type { Settings } from '../config.ts'
import { BrokerError, toErrorRecord } from '../errors.ts'
import type { RoleContext } from './role.ts'
import { Timetable } from './timetable.ts'

/** What a scheduler reaches; replaced where a cluster is in one process. */
export interface SchedulerParts {
  readonly makeClient: (settings: Settings) => Client
}

/** What the scheduler's machine is provided with: the schedules of its queue, over a client of its own. */
export function scheduler(
  { name, settings, record, measure }: RoleContext,
  { makeClient = Client.of }: Partial<SchedulerParts> = {},
) {
  return schedulerMachine.provide({
    actions: {
      announce: (_, { event, ...fields }) => record(event, { process: name, pid: process.pid, ...fields }),
    },
    actors: {
      timetable: fromCallback<TimetableOrder>(({ sendBack, receive }) => {
        // No code of the user's runs in this process.
        const client = makeClient({ ...settings, sync: false })
        const timetable = new Timetable({
          ...{ client, queue: settings.name },
          record: (event, fields) => record(event, { process: name, ...fields }),
          onChange: () => sendBack({ type: 'timetable.changed' } satisfies TimetableReport),
        })
        const stir = measure(() => ({ counters: timetable.counters }))
        const tell = (report: TimetableReport) => {
          stir()
          sendBack(report)
        }
        receive(() => void look(timetable).then(tell))
        return () => void client.close()
      }),
    },
  })
}

async function look(timetable: Timetable): Promise<TimetableReport> {
  try {
    return { type: 'timetable.looked', wait: await timetable.look() }
  } catch (error) {
    const service = error instanceof BrokerError ? 'broker' : 'store'
    return { type: 'timetable.failed', service, reason: toErrorRecord(error).message }
  }
}
