import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import { Cluster } from '../lib/cluster.ts'
import type { Answer, Order } from '../lib/control.ts'
import { openEnvelope, sealEnvelope } from '../lib/envelope.ts'
import { OrderDesk } from '../lib/orders.ts'
import { Signer } from '../lib/signing.ts'

const signer = new Signer(['key'])

/** What a cluster was told, in place of one that runs. */
function made() {
  const told: string[] = []
  const cluster = new Cluster({ logLevel: 'silent' })
  const note = (what: string) => async () => void told.push(what)
  const end = new Promise<boolean>(() => {})
  Object.assign(cluster, {
    ...{ pause: note('pause'), resume: note('resume'), reload: note('reload') },
    stop: () => {
      told.push('stop')
      return end
    },
  })
  return { told, cluster, desk: new OrderDesk(cluster, signer) }
}

const sealed = (order: string, ...args: unknown[]) =>
  sealEnvelope('order', { id: randomUUID(), at: Date.now(), to: null, order, args } as Order, signer)

const answerIn = ({ answer }: { readonly answer?: string }): Answer =>
  openEnvelope<Answer>('answer', answer as string, signer)

describe('the desk for orders', () => {
  it('calls the method of the cluster, and answers what was done', async () => {
    const { told, desk, cluster } = made()
    const results = []
    for (const order of ['pause', 'resume', 'reload']) {
      const heard = await desk.hear(sealed(order))
      expect(heard).to.include({ type: 'obeyed', order })
      results.push(answerIn(heard).result)
    }
    expect(told).to.deep.equal(['pause', 'resume', 'reload'])
    expect(results).to.deep.equal(['paused', 'resumed', 'reloaded'])
    const { clusterId, name, result } = answerIn(await desk.hear(sealed('ping')))
    expect([clusterId, name]).to.deep.equal([cluster.clusterId, cluster.name])
    expect(result).to.include({ status: 'Stopped', queue: 'default', pid: process.pid })
  })

  it('hands on what an order carries', async () => {
    const { told, desk, cluster } = made()
    Object.assign(cluster, {
      scale: async (workers: number) => void told.push(`scale ${workers}`),
      heedCancellations: () => told.push('cancel') > 0,
    })
    expect(answerIn(await desk.hear(sealed('scale', 3))).result).to.equal('scaled to 3')
    expect(answerIn(await desk.hear(sealed('cancel'))).result).to.equal(true)
    expect(told).to.deep.equal(['scale 3', 'cancel'])
  })

  it('answers an order to stop before the cluster has ended', async () => {
    const { told, desk } = made()
    expect(answerIn(await desk.hear(sealed('stop'))).result).to.equal('stopping')
    expect(told).to.deep.equal(['stop'])
  })

  it('answers with the reason where the cluster does not run', async () => {
    const desk = new OrderDesk(new Cluster({ logLevel: 'silent' }), signer)
    for (const order of ['pause', 'resume', 'reload']) {
      const heard = await desk.hear(sealed(order))
      expect(heard.type).to.equal('refused')
      expect(answerIn(heard).error).to.include({
        code: 'QCLUSTER_NOT_RUNNING',
        message: `Expected a running cluster to ${order}, got one that is idle; start() one, and give orders before it stops.`,
      })
    }
  })

  it('answers with the reason when the number of workers is none', async () => {
    const { desk } = made()
    for (const workers of [0, -1, 1.5, 'three', null, {}, [2], undefined, 1e300])
      expect(answerIn(await desk.hear(sealed('scale', workers))).error?.code).to.equal('QCLUSTER_CONFIG')
  })

  it('knows no order but those of the table', async () => {
    const { desk } = made()
    for (const order of ['explode', 'constructor', '__proto__', 'toString', ''])
      expect(answerIn(await desk.hear(sealed(order))).error?.message).to.include(
        'one of the orders ping, pause, resume, scale, reload, cancel, stop',
      )
  })

  it('gives no answer to who does not sign with our key, and does nothing', async () => {
    const { told, desk } = made()
    for (const body of [sealed('stop').replace('stop', 'ping'), 'stop', '']) {
      const heard = await desk.hear(body)
      expect([heard.type, heard.answer]).to.deep.equal(['refused', undefined])
    }
    expect(told).to.deep.equal([])
  })
})
