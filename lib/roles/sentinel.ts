import { readdir, rm } from 'node:fs/promises'
import { fromCallback, fromPromise } from 'xstate'
import { childMachine, type IncarnationInput } from '../../machines/child.ts'
import type { RunningTask } from '../../machines/protocol.ts'
import { type SentinelInput, sentinelMachine } from '../../machines/sentinel.ts'
import { brokerOptionsOf, createBroker } from '../brokers/index.ts'
import { TIMEOUT_GRACE } from '../config.ts'
import { FrameError } from '../errors.ts'
import { boardPath, openBoard, type RunningRecord } from '../process/board.ts'
import { fromProcess } from '../process/fork.ts'
import { createStore, storeOptionsOf } from '../stores/index.ts'
import type { RoleContext, RoleInput } from './role.ts'

/** How often the timer boards are read at the least. Milliseconds. */
const LONGEST_CYCLE = 250

/**
 * What the sentinel's machine is provided with: processes to fork (from `entry`), boards to read, services to ask.
 * `relay` passes on what the children have to say to the log.
 */
export function sentinel(role: RoleContext, entry: string, relay: (records: readonly unknown[]) => void) {
  const { settings, directory, cluster, events, record } = role
  return sentinelMachine.provide({
    actions: {
      announce: (_, { event, ...fields }) =>
        record(event, { process: role.name, pid: process.pid, cluster, queue: settings.name, ...fields }),
    },
    actors: {
      pingServices: fromPromise<void>(() => pingServices(role)),
      child: childMachine.provide({
        actors: {
          process: fromProcess<{ type: string }, IncarnationInput>({
            module: entry,
            onRecords: relay,
            childInput: (input): RoleInput => ({ role: input.role, settings, directory, cluster, events }),
          }),
          lastWords: fromPromise(async ({ input }) =>
            input.role === 'worker' ? lastWords(directory, input.name) : [],
          ),
        },
      }),
      timerBoard: fromCallback<{ type: string }>(({ sendBack }) => {
        const look = async () => {
          for (const worker of await overdueWorkers(directory)) sendBack({ type: 'worker.overran', worker })
        }
        const timer = setInterval(() => void look(), Math.min(settings.guardCycle * 1000, LONGEST_CYCLE))
        return () => clearInterval(timer)
      }),
    },
  })
}

/** The settings that the sentinel's machine decides by, in milliseconds. */
export function sentinelInput({ name, settings }: RoleContext): SentinelInput {
  const { workers, scheduler, grace, maxRestarts, restartWindow } = settings
  return {
    ...{ name, pid: process.pid, workers, scheduler, maxRestarts },
    grace: grace * 1000,
    restartWindow: restartWindow * 1000,
  }
}

async function pingServices({ settings }: RoleContext): Promise<void> {
  const broker = await createBroker(brokerOptionsOf(settings))
  const store = await createStore(storeOptionsOf(settings))
  for (const service of [broker, store]) {
    await service.connect()
    await service.ping()
    await service.close()
  }
}

/** None where another cluster has swept the directory of one that it knows dead, while we end what that one left. */
async function filesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

async function overdueWorkers(directory: string): Promise<string[]> {
  const boards = (await filesOf(directory)).filter((file) => file.endsWith('.board'))
  const workers = boards.map((file) => file.slice(0, -'.board'.length))
  const latest = process.hrtime.bigint() - BigInt(TIMEOUT_GRACE * 1e9)
  return workers.filter((worker) => readBoard(directory, worker).some((task) => isOverdue(task, latest)))
}

/** What a dead worker was running. Its board is read once more and then removed: it belongs to one incarnation. */
async function lastWords(directory: string, worker: string): Promise<RunningTask[]> {
  const running = readBoard(directory, worker).map((record): RunningTask => {
    const { slot: _slot, startedNs: _startedNs, deadline: _deadline, ...task } = record
    return { ...task, overran: isOverdue(record) }
  })
  await rm(boardPath(directory, worker), { force: true })
  return running
}

function isOverdue({ deadline }: RunningRecord, now = process.hrtime.bigint()): boolean {
  return deadline !== 0n && now >= deadline
}

/**
 * A worker that died before it had a board ran nothing. Of a damaged board nothing is believed either: what the worker
 * had then counts as never started and is handed on, which is better than to fall with it.
 */
function readBoard(directory: string, worker: string): RunningRecord[] {
  try {
    const board = openBoard(boardPath(directory, worker))
    try {
      return board.read()
    } finally {
      board.close()
    }
  } catch (error) {
    if (error instanceof FrameError || (error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
