import { createWebSocketReceiver } from '@statelyai/inspect'
import { expect } from 'chai'
import { type Command, Stage } from './stage.ts'

interface Frame {
  readonly type: string
  readonly sessionId: string
  readonly parentId?: string
  readonly name: string
  readonly snapshot: { readonly value?: unknown; readonly status: string }
}

/** The receiver of the Stately inspector, and what it has received. */
class Receiver {
  readonly #frames: Frame[] = []
  #news = Promise.withResolvers<void>()

  constructor(server: string) {
    createWebSocketReceiver({ server }).subscribe((event) => {
      this.#frames.push(event as unknown as Frame)
      this.#news.resolve()
      this.#news = Promise.withResolvers()
    })
  }

  /** The first value that is there when something has been received. */
  async finds<T>(find: () => T | undefined): Promise<T> {
    for (let found = find(); ; found = find()) {
      if (found) return found
      await this.#news.promise
    }
  }

  actor(name: RegExp): Frame | undefined {
    return this.#frames.findLast((one) => one.type === '@xstate.actor' && name.test(one.name))
  }

  states(actor: Frame | undefined): string[] {
    return this.#frames
      .filter(({ type, sessionId }) => type === '@xstate.snapshot' && sessionId === actor?.sessionId)
      .map(({ snapshot }) => JSON.stringify(snapshot.value))
  }
}

describe('the inspector of a cluster in a terminal', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': 'export function add(a, b) { return a + b }' })

  const address = async (command: Command) => (await command.line(/ws:\/\/\S+/)) as string
  const pidOf = (worker: Frame) => Number(worker.name.split(' ')[1])
  const UP = '{"alive":"up"}'

  /** Kills the one worker, which is idle, and sees its slot back off on the wire. */
  async function seeBackOff(receiver: Receiver): Promise<void> {
    const root = await receiver.finds(() => receiver.actor(/^cluster \d+$/))
    // A process that dies before would end the start.
    await receiver.finds(() => receiver.states(root).at(-1) === '{"running":"taking"}')
    const worker = await receiver.finds(() => receiver.actor(/^worker \d+$/))
    const slot = await receiver.finds(() => receiver.actor(/^worker-1$/))
    await receiver.finds(() => receiver.states(worker).at(-1) === '{"running":"idle"}')
    await receiver.finds(() => receiver.states(slot).at(-1) === UP)
    process.kill(pidOf(worker), 'SIGKILL')
    await receiver.finds(() => receiver.states(slot).includes('"backingOff"'))
    await receiver.finds(() => receiver.states(slot).at(-1) === UP)
    await receiver.finds(() => receiver.actor(/^worker \d+$/)?.name !== worker.name)
  }

  it('shows it to the receiver of the Stately inspector, until its end', async () => {
    const cluster = stage.qcluster('start', '--workers', '1', '--inspect=0')
    const receiver = new Receiver(await address(cluster))
    await seeBackOff(receiver)
    cluster.process.kill('SIGTERM')
    const root = receiver.actor(/^cluster \d+$/)
    await receiver.finds(() => receiver.states(root).at(-1) === '"stopped"')
    expect(await cluster.exit, cluster.log()).to.deep.equal([0, null])
  })

  it('shows one that runs elsewhere, over the bus', async () => {
    const cluster = stage.qcluster('start', '--workers', '1')
    await cluster.line(/running\./)
    const inspector = stage.qcluster('inspect', '--at', '0')
    const url = await address(inspector)
    await seeBackOff(new Receiver(url))
    const late = new Receiver(url)
    await late.finds(() => late.actor(/^pusher \d+$/))
    await late.finds(() => late.states(late.actor(/^cluster \d+$/)).at(-1) === '{"running":"taking"}')
    cluster.process.kill('SIGTERM')
    await cluster.exit
    await inspector.line(/does not answer any more/)
    expect(await inspector.exit).to.deep.equal([1, null])
  })

  it('refuses an address that is none, and a cluster that is not there', async () => {
    const wrong = stage.qcluster('start', '--inspect=here')
    expect(await wrong.exit).to.deep.equal([2, null])
    expect(wrong.log()).to.include('Expected an address such as 8080 or 0.0.0.0:8080, got "here".')
    const nowhere = stage.qcluster('inspect', '--at', 'nowhere')
    expect(await nowhere.exit).to.deep.equal([2, null])
    expect(nowhere.log()).to.include('got "nowhere".')
    const alone = stage.qcluster('inspect', '--at', '0')
    expect(await alone.exit).to.deep.equal([2, null])
    expect(alone.log()).to.include('No clusters appear to be running at this broker')
  })
})
