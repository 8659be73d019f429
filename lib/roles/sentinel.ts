import { fromCallback, fromPromise } from 'xstate'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { RunningTask } from '../../machines/protocol.ts'
import { type RunsCancelled, type SentinelInput, sentinelMachine } from '../../machines/sentinel.ts'
import { brokerOptionsOf, createBroker } from '../brokers/index.ts'
import { childFlags, type Settings, statCycle } from '../config.ts'
import type { RunningRecord } from '../process/board.ts'
import { fromProcess, type ProcessOptions } from '../process/fork.ts'
import { TITLE_ROOM } from '../process/title.ts'
import { createStore, storeOptionsOf } from '../stores/index.ts'
import { processorsOf } from './affinity.ts'
import { Boards } from './boards.ts'
import { Flights } from './flights.ts'
import { Observer } from './observer.ts'
import type { RoleContext, RoleInput } from './role.ts'
import { isOverdue, Watch } from './watch.ts'
import { WearCheck } from './wear.ts'

/**
 * What the sentinel's machine is provided with: processes to fork (from `entry`), boards to read, services to ask.
 * `relay` passes on what the children have to say to the log.
 */
export function sentinel(role: RoleContext, entry: string, relay: (records: readonly unknown[]) => void) {
  const { settings, directory, cluster, events, record } = role
  const boards = new Boards(directory)
  const observer = new Observer((worker) => boards.seen(worker), statCycle(settings))
  const flights = new Flights(role)
  return sentinelMachine.provide({
    actions: {
      announce: (_, { event, ...fields }) =>
        record(event, { process: role.name, pid: process.pid, cluster, queue: settings.name, ...fields }),
    },
    actors: {
      pingServices: fromPromise<void>(() => pingServices(role)),
      child: childMachine.provide({
        actions: {
          closeFlight: ({ context }, { isKept, testament }) => {
            if (isKept) flights.keep(context.role, testament)
            flights.forget(testament.worker)
          },
        },
        actors: {
          process: fromProcess<{ type: string }, IncarnationInput>({
            module: entry,
            // What a task has started ends with its worker.
            ownGroup: ({ role }) => role === 'worker',
            titleRoom: TITLE_ROOM,
            execArgv: ({ role }) => [...childFlags(), ...(role === 'worker' ? heapFlags(settings) : [])],
            cpus: ({ id, role }) => (role === 'worker' ? processorsOf(id, settings.cpuAffinity) : []),
            onPinned: pinning(role),
            onRecords: relay,
            onVitals: (name, vitals) => observer.hear(name, vitals),
            childInput: (input): RoleInput => ({ role: input.role, settings, directory, cluster, events }),
          }),
          lastWords: fromPromise(async ({ input }) => {
            observer.bury(input.name)
            return input.role === 'worker' ? boards.take(input.name).map(lastWord) : []
          }),
        },
      }),
      watch: fromCallback<RunsCancelled>(({ sendBack, receive }) => {
        const { guardCycle, timeoutGrace } = settings
        const wear = new WearCheck(settings, (worker) => observer.vitalsOf(worker))
        const watch = new Watch({
          ...{ boards, observer, wear, timeoutGrace },
          ...{ cycle: guardCycle * 1000, tell: sendBack },
        })
        receive(({ taskIds }) => watch.doom(taskIds))
        return () => watch.close()
      }),
    },
  })
}

/** The settings that the sentinel's machine decides by, in milliseconds. */
export function sentinelInput({ name, settings, heritage }: RoleContext): SentinelInput {
  const { workers, scheduler, grace, maxRestarts, restartWindow } = settings
  return {
    ...{ name, pid: process.pid, scheduler, maxRestarts },
    workers: heritage?.workers ?? workers,
    revived: heritage !== undefined,
    paused: heritage?.paused ?? false,
    grace: grace * 1000,
    restartWindow: restartWindow * 1000,
  }
}

function heapFlags({ maxHeap }: Settings): string[] {
  return maxHeap === null ? [] : [`--max-old-space-size=${maxHeap}`]
}

/** Tells of each worker that has its processors, and once that none can. */
function pinning({ name, record }: RoleContext): NonNullable<ProcessOptions['onPinned']> {
  let refused = false
  return (worker, pid, cpus, error) => {
    if (!error) record('worker.pinned', { process: worker, pid, cpus: cpus.join(', ') })
    else if (!refused) record('affinity.refused', { process: name, pid: process.pid, reason: error.message })
    refused ||= error !== null
  }
}

async function pingServices({ settings }: RoleContext): Promise<void> {
  const broker = await createBroker(brokerOptionsOf(settings))
  const store = await createStore(storeOptionsOf(settings))
  for (const service of [broker, store])
    try {
      await service.connect()
      await service.ping()
    } finally {
      await service.close()
    }
}

/** What a dead worker was running. */
function lastWord(record: RunningRecord): RunningTask {
  const { slot: _slot, startedNs, deadline, ...task } = record
  const timeout = deadline === 0n ? {} : { timeout: Number(deadline - startedNs) / 1e9 }
  return { ...task, ...timeout, overran: isOverdue(record) }
}
