import { registerHooks } from 'node:module'
import { setPriority } from 'node:os'
import { fromCallback, fromPromise } from 'xstate'
import { type RunnerOrder, type RunnerReport, workerMachine } from '../../machines/worker.ts'
import { Client, configure } from '../client.ts'
import { type Clock, systemClock } from '../clock.ts'
import { toErrorRecord } from '../errors.ts'
import { type BoardWriter, boardPath, createBoard } from '../process/board.ts'
import { type Peers, sockets } from '../process/socket.ts'
import { type LoadedTask, loadTasks } from '../tasks/load.ts'
import { emitSafely } from '../tasks/signals.ts'
import type { MonitorToWorker, PusherToWorker, WorkerToMonitor, WorkerToPusher } from './frames.ts'
import type { RoleContext } from './role.ts'
import { Runner } from './runner.ts'

/** What a worker reaches; replaced where a cluster is in one process. */
export interface WorkerParts {
  readonly peers: Peers
  readonly clock: Clock
  /** Loads the tasks; what they enqueue goes to their own cluster. */
  readonly load: (role: RoleContext) => Promise<ReadonlyMap<string, LoadedTask>>
  readonly openBoard: (role: RoleContext) => BoardWriter
}

/** What the worker's machine is provided with: its tasks, and a runner once they are loaded. */
export function worker(
  role: RoleContext,
  { peers = sockets, clock = systemClock, load = loadOwn, openBoard = ownBoard }: Partial<WorkerParts> = {},
) {
  const { settings, record, flush, name, title } = role
  let tasks: ReadonlyMap<string, LoadedTask> = new Map()
  return workerMachine.provide({
    actions: {
      announce: (_, { event }) => record(event, { process: name, pid: process.pid }),
    },
    actors: {
      loadTasks: fromPromise<void>(async () => {
        if (settings.nice !== 0) setPriority(settings.nice)
        tasks = await load(role)
        const unheard = (signal: string, error: Error) =>
          record('signal.failed', { process: name, signal, error: toErrorRecord(error) })
        await emitSafely('postSpawn', unheard, name)
      }),
      runner: fromCallback<RunnerOrder>(({ sendBack, receive }) => {
        const board = openBoard(role)
        const runner = new Runner({
          ...{ worker: name, tasks, record, flush, clock },
          board: telling(board, () => stir()),
          ...{ concurrency: settings.concurrency },
          ...{ timeout: settings.timeout, packing: settings },
          show: (task: string) => title.show(task),
          report: (event: RunnerReport) => {
            if (event.type === 'runner.idle') title.rest()
            sendBack(event)
          },
        })
        const stir = role.measure(() => runner.measures)
        receive((order) => {
          if (order.type === 'peer.listening') void meet(runner, peers, order)
          else if (order.type === 'runner.finish') runner.finish()
          else runner.abort()
        })
        return () => board.close()
      }),
    },
  })
}

function loadOwn({ settings, record, name, events }: RoleContext): Promise<ReadonlyMap<string, LoadedTask>> {
  // A task that enqueues a task does so on its own cluster.
  configure(Client.of(settings))
  if (events.includes('tasks.loaded'))
    watchLoading((modules) => record('tasks.loaded', { process: name, modules }))
  return loadTasks(settings.tasks)
}

function ownBoard({ directory, name, settings }: RoleContext): BoardWriter {
  return createBoard(boardPath(directory, name), settings.concurrency)
}

/** A board on which a run that begins is news: who is silent after that counts as blocked. */
function telling(board: BoardWriter, stir: () => void): BoardWriter {
  return {
    start(slot, run) {
      stir()
      board.start(slot, run)
    },
    finish: (slot) => board.finish(slot),
    close: () => board.close(),
  }
}

/** Tells which modules of the user's are loaded, from now on, in batches. */
function watchLoading(tell: (modules: readonly string[]) => void): void {
  const fresh = new Set<string>()
  const flush = () => {
    tell([...fresh])
    fresh.clear()
  }
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const resolved = nextResolve(specifier, context)
      if (isUsers(resolved.url)) {
        if (fresh.size === 0) queueMicrotask(flush)
        fresh.add(resolved.url)
      }
      return resolved
    },
  })
}

function isUsers(url: string): boolean {
  return url.startsWith('file:') && !url.includes('/node_modules/') && !url.startsWith(OWN)
}

const OWN = new URL('../..', import.meta.url).href

type Introduction = Extract<RunnerOrder, { type: 'peer.listening' }>

function meet(runner: Runner, peers: Peers, { role, socket: path }: Introduction): Promise<void> {
  return role === 'monitor' ? meetMonitor(runner, peers, path) : meetPusher(runner, peers, path)
}

async function meetMonitor(runner: Runner, peers: Peers, path: string): Promise<void> {
  const socket = await peers.connect<MonitorToWorker, WorkerToMonitor>(path)
  if (!socket) return
  socket.onMessage(({ keys }) => runner.released(keys))
  socket.onClose(() => runner.monitorLeft())
  runner.meetMonitor(
    (message) => socket.send(message),
    () => socket.flush(),
  )
}

async function meetPusher(runner: Runner, peers: Peers, path: string): Promise<void> {
  const socket = await peers.connect<PusherToWorker, WorkerToPusher>(path)
  if (!socket) return
  socket.onMessage((message) => {
    if (message.kind === 'jobs') runner.take(message.jobs)
    else if (message.kind === 'cancelled') runner.cancel(message.cancellations)
    else runner.bidFarewell()
  })
  socket.onClose(() => runner.pusherLeft())
  runner.meetPusher((message) => socket.send(message))
}
