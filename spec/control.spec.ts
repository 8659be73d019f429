import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type Broker, createBroker } from '../lib/brokers/index.ts'
import { Client } from '../lib/client.ts'
import { control, type Order, OrderGate, sealAnswer } from '../lib/control.ts'
import { FRESH, openEnvelope, sealEnvelope } from '../lib/envelope.ts'
import { SignatureError } from '../lib/errors.ts'
import { Signer } from '../lib/signing.ts'
import { composeStat, sealStat } from '../lib/stat.ts'

const signer = new Signer(['key'])
const me = randomUUID()

describe('the gate for orders', () => {
  let gate: OrderGate

  beforeEach(() => {
    gate = new OrderGate(me, signer)
  })

  const order = (given: Partial<Order> = {}): Order => ({
    ...{ id: randomUUID(), at: Date.now(), to: me, order: 'ping', args: [] },
    ...given,
  })
  const sealed = (given: Partial<Order> = {}, by = signer) => sealEnvelope('order', order(given), by)
  const refusal = (body: string) => {
    try {
      return `admitted ${gate.admit(body).order}`
    } catch (error) {
      expect(error).to.be.instanceOf(SignatureError)
      return (error as Error).message
    }
  }

  it('admits an order to this cluster, and one to all', () => {
    expect(gate.admit(sealed())).to.include({ order: 'ping', to: me })
    expect(gate.admit(sealed({ to: null }))).to.include({ order: 'ping', to: null })
  })

  it('refuses one that is forged, or signed with a foreign key', () => {
    expect(refusal(sealed().replace('ping', 'stop'))).to.include('signed with our key')
    expect(refusal(sealed({}, new Signer(['foreign'])))).to.include('signed with our key')
    expect(refusal(sealEnvelope('answer', order(), signer))).to.include('signed with our key')
  })

  it('refuses one that is stale', () => {
    expect(refusal(sealed({ at: Date.now() - FRESH - 1_000 }))).to.include('Expected an order of now')
  })

  it('refuses one that it has obeyed before', () => {
    const body = sealed()
    gate.admit(body)
    expect(refusal(body)).to.include('it was obeyed before')
  })

  it('refuses one that was given before it listened: a former cluster may have obeyed it', () => {
    expect(refusal(sealed({ to: null, at: Date.now() - 5_000 }))).to.include('before this cluster listened')
  })

  it('refuses one that is meant for another cluster', () => {
    const other = randomUUID()
    expect(refusal(sealed({ to: other }))).to.include(`meant for the cluster ${other}`)
  })
})

describe('control', () => {
  let dataDir: string
  let client: Client
  let broker: Broker

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-control-'))
    client = new Client({ dataDir, secretKey: 'key' })
    broker = await createBroker({ dataDir })
    await broker.connect()
  })
  afterEach(async () => {
    await client.close()
    await broker.close()
    await rm(dataDir, { recursive: true })
  })

  /** A cluster that is listed, and whose answers are made by the spec. */
  async function cluster(answer: (order: Order, clusterId: string) => string | undefined): Promise<string> {
    const clusterId = randomUUID()
    const stat = composeStat({
      ...{ clusterId, name: 'four-plain-words-here', queue: 'default', host: 'h', pid: 1, startedAt: 0 },
      ...{ life: 'running', reincarnations: 0, workerCount: 1, queueLimit: 10, counters: {}, processes: [] },
    })
    await broker.publishStat(clusterId, sealStat(stat, signer), 60_000)
    const onOrder = async (body: string) => answer(openEnvelope<Order>('order', body, signer), clusterId)
    const onLost = (error: Error) => {
      throw error
    }
    await broker.onControl({ clusterId, onOrder, onLost })
    return clusterId
  }

  const done = ({ id }: Order, clusterId: string, by = signer) =>
    sealAnswer({ id, at: Date.now(), clusterId, name: 'n', result: 'done' }, by)

  it('collects the answer of each cluster', async () => {
    const ids = [await cluster(done), await cluster(done)]
    const answers = await control('ping', { client, patience: 30_000 })
    expect(answers.map(({ clusterId, result }) => [clusterId, result])).to.have.deep.members(
      ids.map((id) => [id, 'done']),
    )
  })

  it('names a cluster that does not answer', async () => {
    const [one, mute] = [await cluster(done), await cluster(() => undefined)]
    const answers = await control('pause', { client, patience: 500 })
    expect(answers.map(({ clusterId }) => clusterId)).to.have.members([one, mute])
    expect(answers.find(({ clusterId }) => clusterId === mute)?.error)
      .to.include({ code: 'QCLUSTER_NO_ANSWER' })
      .and.to.have.property('message')
      .that.includes('"pause" within 500 ms')
  })

  it('believes no answer that is forged, of another order, or of a cluster that was not asked', async () => {
    const lies = [
      (order: Order, id: string) => done(order, id, new Signer(['foreign'])),
      (order: Order, id: string) => done({ ...order, id: randomUUID() }, id),
      (order: Order) => done(order, randomUUID()),
      () => 'no envelope \u001b[2J',
    ]
    for (const lie of lies) {
      const liar = await cluster(lie)
      const answers = await control('ping', { client, cluster: liar, patience: 300 })
      expect(answers.map(({ error }) => error?.code)).to.deep.equal(['QCLUSTER_NO_ANSWER'])
    }
  })

  it('does not wait for a cluster that nobody knows', async () => {
    expect(await control('ping', { client, cluster: randomUUID(), patience: 60_000 })).to.deep.equal([])
  })
})
