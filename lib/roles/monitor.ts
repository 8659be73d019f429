import { fromCallback, fromPromise } from 'xstate'
import { monitorMachine, type OutcomesOrder, type OutcomesReport } from '../../machines/monitor.ts'
import type { Settings } from '../config.ts'
import { sealNotices } from '../notices.ts'
import { connectIfThere, type FrameSocket, listen, socketPath } from '../process/socket.ts'
import { Signer } from '../signing.ts'
import { createStore, storeOptionsOf } from '../stores/index.ts'
import type { Retention, Store } from '../stores/store.ts'
import { encodeError } from '../tasks/failure.ts'
import type { MonitorToPusher, MonitorToWorker, PusherToMonitor, WorkerToMonitor } from './frames.ts'
import { Outcomes } from './outcomes.ts'
import type { RoleContext } from './role.ts'

/** What the monitor's machine is provided with: a store, and the outcomes all its life. */
export function monitor(role: RoleContext) {
  const { settings, record } = role
  const signer = new Signer(settings.secretKey)
  let store: Store | undefined
  let report: (event: OutcomesReport) => void = () => {}

  const outcomes = new Outcomes({
    store: {
      save: (batch) => (store as Store).save(batch),
      decisions: (taskIds) => (store as Store).decisions(taskIds),
    },
    release: (taskIds) => (store as Store).uniques.release(taskIds),
    queue: settings.name,
    maxAttempts: settings.maxAttempts,
    retry: settings.retry * 1000,
    saveSuccesses: settings.saveLimit >= 0,
    report: (event) => report(event),
    record,
    sealNotices: (told) => (settings.broker === null ? [] : sealNotices(told, signer)),
    encodeFailure: (message) => encodeError({ name: 'Error', message }),
  })

  const stir = role.measure(() => outcomes.measures)
  return monitorMachine.provide({
    actions: {
      announce: (_, { event, ...fields }) =>
        record(event, { process: role.name, pid: process.pid, ...fields }),
    },
    actors: {
      connectStore: fromPromise<void>(async () => {
        const retention = retentionOf(settings)
        const opened = store ?? (await createStore({ ...storeOptionsOf(settings), retention }))
        store = opened
        await opened.connect()
      }),
      outcomes: fromCallback<OutcomesOrder>(({ sendBack, receive }) => {
        report = sendBack
        receive((order) => obey(outcomes, order))
        const path = socketPath(role.directory, `m${process.pid}`)
        const server = listen<WorkerToMonitor, MonitorToWorker>(path, (socket) =>
          receiveFrom(outcomes, socket, stir),
        )
        void server.then(() => sendBack({ type: 'outcomes.listening', socket: path }))
        return () => void server.then((open) => open.destroy())
      }),
    },
  })
}

function retentionOf({ name, saveLimit, saveLimitPer, saveFor }: Settings): Retention {
  return { queue: name, limit: saveLimit, per: saveLimitPer, atLeast: saveFor * 1000 }
}

function obey(outcomes: Outcomes, order: OutcomesOrder): void {
  switch (order.type) {
    case 'peer.listening':
      void attach(outcomes, order.socket)
      break
    case 'worker.buried':
      outcomes.bury(order)
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

async function attach(outcomes: Outcomes, path: string): Promise<void> {
  const socket = await connectIfThere<PusherToMonitor, MonitorToPusher>(path)
  if (!socket) return
  socket.onMessage((message) => outcomes.hearPusher(message))
  socket.onClose(() => outcomes.unattend())
  outcomes.attend((message) => socket.send(message))
}

function receiveFrom(
  outcomes: Outcomes,
  socket: FrameSocket<WorkerToMonitor, MonitorToWorker>,
  stir: () => void,
): void {
  let worker: string | undefined
  socket.onMessage((message) => {
    stir()
    if (message.kind === 'hello') {
      worker = message.worker
      outcomes.welcome(worker, (reply) => socket.send(reply))
    } else if (worker !== undefined) outcomes.hear(worker, message.outcomes)
  })
  socket.onClose(() => {
    if (worker !== undefined) outcomes.farewell(worker)
    socket.destroy()
  })
}
