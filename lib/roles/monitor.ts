import { fromCallback, fromPromise } from 'xstate'
import { monitorMachine, type OutcomesOrder, type OutcomesReport } from '../../machines/monitor.ts'
import type { Settings } from '../config.ts'
import { sealNotices } from '../notices.ts'
import { killGroup } from '../process/fork.ts'
import { type Line, type Peers, socketPath, sockets } from '../process/socket.ts'
import { Signer } from '../signing.ts'
import { createStore, retentionOf, storeOptionsOf } from '../stores/index.ts'
import type { Store } from '../stores/store.ts'
import type { MonitorToPusher, MonitorToWorker, PusherToMonitor, WorkerToMonitor } from './frames.ts'
import { Outcomes } from './outcomes.ts'
import type { RoleContext } from './role.ts'
import { Sequels } from './sequel.ts'

/** What a monitor reaches; replaced where a cluster is in one process. */
export interface MonitorParts {
  readonly peers: Peers
  readonly makeStore: (settings: Settings) => Promise<Store>
}

/** What the monitor's machine is provided with: a store, and the outcomes all its life. */
export function monitor(
  role: RoleContext,
  { peers = sockets, makeStore = storeOf }: Partial<MonitorParts> = {},
) {
  const { settings, record } = role
  const signer = new Signer(settings.secretKey)
  let store: Store | undefined
  let report: (event: OutcomesReport) => void = () => {}

  const outcomes = new Outcomes({
    store: {
      save: (batch) => (store as Store).save(batch),
      decisions: (taskIds) => (store as Store).decisions(taskIds),
    },
    sequels: new Sequels({
      store: {
        save: (batch) => (store as Store).save(batch),
        fetch: (taskIds) => (store as Store).fetch(taskIds),
        countGroup: (group) => (store as Store).countGroup(group),
        list: (filter) => (store as Store).list(filter),
        delete: (taskIds) => (store as Store).delete(taskIds),
      },
      packing: settings,
      cached: settings.cached,
    }),
    cancellations: {
      list: () => (store as Store).cancellations.list(),
      forget: (taskIds) => (store as Store).cancellations.forget(taskIds),
    },
    release: (taskIds) => (store as Store).uniques.release(taskIds),
    queue: settings.name,
    maxAttempts: settings.maxAttempts,
    retry: settings.retry * 1000,
    ackFailures: settings.ackFailures,
    cached: settings.cached,
    saveSuccesses: settings.saveLimit >= 0,
    report: (event) => report(event),
    record,
    sealNotices: (told) => (settings.broker === null ? [] : sealNotices(told, signer)),
  })

  /** Of the workers whose connections are open, which is why their pids are still theirs. */
  const pids = new Set<number>()
  const stir = role.measure(() => outcomes.measures)
  return monitorMachine.provide({
    // A cluster that lives does it first, and says so in its log.
    delays: { GRACE: settings.grace * 1000 + 1_000 },
    actions: {
      announce: (_, { event, ...fields }) =>
        record(event, { process: role.name, pid: process.pid, ...fields }),
    },
    actors: {
      connectStore: fromPromise<void>(async () => {
        const made = store ?? (await makeStore(settings))
        // A stop may have asked for it again, and made another one meanwhile.
        store ??= made
        await store.connect()
      }),
      outcomes: fromCallback<OutcomesOrder>(({ sendBack, receive }) => {
        report = sendBack
        receive((order) => {
          if (order.type === 'outcomes.desert') for (const pid of pids) killGroup({ pid })
          else if (order.type === 'peer.listening') void attach(outcomes, peers, order.socket)
          else obey(outcomes, order)
        })
        const path = socketPath(role.directory, `m${process.pid}`)
        const server = peers.listen<WorkerToMonitor, MonitorToWorker>(path, (socket) =>
          receiveFrom(outcomes, socket, { stir, pids }),
        )
        void server.then(() => sendBack({ type: 'outcomes.listening', socket: path }))
        return () => void server.then((open) => open.destroy())
      }),
    },
  })
}

function storeOf(settings: Settings): Promise<Store> {
  return createStore({ ...storeOptionsOf(settings), retention: retentionOf(settings) })
}

type PlainOrder = Exclude<OutcomesOrder, { type: 'outcomes.desert' | 'peer.listening' }>

function obey(outcomes: Outcomes, order: PlainOrder): void {
  switch (order.type) {
    case 'worker.buried':
      outcomes.bury(order)
      break
    case 'cancellations.made':
      outcomes.heed()
      break
    case 'outcomes.save':
      outcomes.save()
      break
    case 'outcomes.finish':
      outcomes.finish()
      break
    case 'outcomes.abandon':
      outcomes.abandon()
      break
    case 'outcomes.awaitDesertion':
      outcomes.awaitDesertion()
  }
}

async function attach(outcomes: Outcomes, peers: Peers, path: string): Promise<void> {
  const socket = await peers.connect<PusherToMonitor, MonitorToPusher>(path)
  if (!socket) return
  socket.onMessage((message) => outcomes.hearPusher(message))
  socket.onClose(() => outcomes.unattend())
  outcomes.attend((message) => socket.send(message))
}

function receiveFrom(
  outcomes: Outcomes,
  socket: Line<WorkerToMonitor, MonitorToWorker>,
  { stir, pids }: { readonly stir: () => void; readonly pids: Set<number> },
): void {
  let worker: string | undefined
  let pid = 0
  socket.onMessage((message) => {
    stir()
    if (message.kind === 'hello') {
      ;({ worker, pid } = message)
      pids.add(pid)
      outcomes.welcome(worker, (reply) => socket.send(reply))
    } else if (worker !== undefined) {
      if (message.kind === 'leaving') outcomes.dismiss(worker)
      else outcomes.hear(worker, message.outcomes)
    }
  })
  socket.onClose(() => {
    pids.delete(pid)
    if (worker !== undefined) outcomes.farewell(worker)
    socket.destroy()
  })
}
