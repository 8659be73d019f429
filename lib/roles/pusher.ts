import { fromCallback, fromPromise } from 'xstate'
import {
  type DeliveriesOrder,
  type DeliveriesReport,
  type DispatcherOrder,
  type DispatcherReport,
  pusherMachine,
} from '../../machines/pusher.ts'
import type { Broker, Settlement } from '../brokers/broker.ts'
import { brokerOptionsOf, createBroker } from '../brokers/index.ts'
import type { Settings } from '../config.ts'
import { openPackage } from '../package.ts'
import { type Line, type Peers, socketPath, sockets } from '../process/socket.ts'
import { restoreSecret, Signer } from '../signing.ts'
import { Dispatcher } from './dispatcher.ts'
import type { MonitorToPusher, PusherToMonitor, PusherToWorker, WorkerToPusher } from './frames.ts'
import { Intake } from './intake.ts'
import { Prefetch } from './prefetch.ts'
import type { RoleContext } from './role.ts'

/** What a pusher reaches; replaced where a cluster is in one process. */
export interface PusherParts {
  readonly peers: Peers
  readonly makeBroker: (settings: Settings) => Promise<Broker>
}

/** What the pusher's machine is provided with: a broker, a consumer while it is connected, a dispatcher all its life. */
export function pusher(
  role: RoleContext,
  { peers = sockets, makeBroker = brokerOf }: Partial<PusherParts> = {},
) {
  const { settings, record } = role
  const signer = new Signer(settings.secretKey)
  let broker: Broker | undefined
  let report: (event: DispatcherReport | DeliveriesReport) => void = () => {}
  const prefetch = new Prefetch(settings.queueLimit)

  const dispatcher = new Dispatcher({
    queue: settings.name,
    concurrency: settings.concurrency,
    maxDeliveries: settings.maxDeliveries,
    signer,
    open: (sealed) => openPackage(sealed, settings.name, signer),
    settle: (settlements: readonly Settlement[]) => intake.settle(settlements),
    notify: (notices) => broker?.notify?.(notices),
    report: (event) => report(event),
    refused: (reason) => record('package.refused', { reason }),
  })

  const stir = role.measure(() => ({
    gauges: { ...dispatcher.gauges, blocked: broker?.blocked === undefined ? 0 : 1 },
  }))

  const intake = new Intake({
    queue: settings.name,
    onDeliveries: (deliveries) => {
      dispatcher.take(deliveries)
      stir()
    },
    onOpened: () => report({ type: 'deliveries.opened' }),
    // Told as the dispatcher, which lives longer than the consumer: while its receipts are out, the loss matters.
    onLost: (error) => report({ type: 'broker.lost', reason: error.message }),
  })

  const followWork = () => {
    stir()
    if (prefetch.follow(dispatcher.window.runTime, dispatcher.slots, performance.now()))
      intake.setPrefetch(prefetch.current)
  }

  return pusherMachine.provide({
    actions: {
      announce: (_, { event, ...fields }) =>
        record(event, { process: role.name, pid: process.pid, ...fields }),
    },
    actors: {
      dispatcher: fromCallback<DispatcherOrder>(({ sendBack, receive }) => {
        report = sendBack
        receive((order) => obey(dispatcher, order))
        const path = socketPath(role.directory, `p${process.pid}`)
        const server = peers.listen<WorkerToPusher | MonitorToPusher, PusherToWorker | PusherToMonitor>(
          path,
          (socket) => receiveFrom(dispatcher, socket, followWork),
        )
        void server.then(() => sendBack({ type: 'dispatcher.listening', socket: path }))
        return () => void server.then((open) => open.destroy())
      }),
      connectBroker: fromPromise<void>(async () => {
        const made = broker ?? (await makeBroker(settings))
        // Who was paused and goes on may have made another one meanwhile.
        broker ??= made
        // Before there is a new folder that a producer could find without a key.
        if (settings.isKeyOfFolder) await restoreSecret(settings.dataDir, settings.secretKey[0] as string)
        // After a loss it opens again what it has lost: a connection that lasts is kept.
        await broker.connect()
      }),
      deliveries: fromCallback<DeliveriesOrder>(({ receive }) => {
        receive(() => intake.check())
        intake.open(broker as Broker, prefetch.current)
        return () => intake.close()
      }),
      closeBroker: fromPromise<void>(async () => broker?.close()),
    },
  })
}

function brokerOf(settings: Settings): Promise<Broker> {
  return createBroker(brokerOptionsOf(settings))
}

function obey(dispatcher: Dispatcher, order: DispatcherOrder): void {
  switch (order.type) {
    case 'dispatcher.join':
      dispatcher.join(order.workers)
      break
    case 'worker.gone':
      dispatcher.gone(order.worker)
      break
    case 'dispatcher.drain':
      dispatcher.drain()
      break
    case 'dispatcher.abandon':
      dispatcher.abandon()
      break
    case 'dispatcher.awaitDesertion':
      dispatcher.awaitDesertion()
      break
    case 'dispatcher.void':
      dispatcher.voidReceipts()
  }
}

/** Who connects says first who it is: a worker by its name, the monitor by what it has not seen settled. */
function receiveFrom(
  dispatcher: Dispatcher,
  socket: Line<WorkerToPusher | MonitorToPusher, PusherToWorker | PusherToMonitor>,
  followWork: () => void,
): void {
  let worker: string | undefined
  let isMonitor = false
  socket.onMessage((message) => {
    if (message.kind === 'hello' && 'worker' in message) {
      worker = message.worker
      dispatcher.seat(worker, message.holds, (reply) => socket.send(reply))
    } else if (worker !== undefined) {
      dispatcher.hear(worker, message as WorkerToPusher)
      followWork()
    } else {
      if (!isMonitor) dispatcher.attend((reply) => socket.send(reply))
      isMonitor = true
      dispatcher.hearMonitor(message as MonitorToPusher)
    }
  })
  socket.onClose(() => {
    if (worker !== undefined) dispatcher.unseat(worker)
    else if (isMonitor) dispatcher.unattend()
    socket.destroy()
  })
}
