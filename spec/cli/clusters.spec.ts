import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type Broker, createBroker } from '../../lib/brokers/index.ts'
import { type Order, sealAnswer } from '../../lib/control.ts'
import { openEnvelope } from '../../lib/envelope.ts'
import { Signer } from '../../lib/signing.ts'
import { composeStat, sealStat } from '../../lib/stat.ts'
import { createStore } from '../../lib/stores/index.ts'
import { outcomeOf } from '../contracts/material.ts'
import { qcluster as run } from './terminal.ts'

const signer = new Signer(['key'])

describe('the command line, of clusters', function () {
  this.timeout(60_000)
  let folder: string
  let dataDir: string
  let broker: Broker

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-cli-'))
    dataDir = join(folder, '.qcluster')
    broker = await createBroker({ dataDir })
    await broker.connect()
  })
  afterEach(async () => {
    await broker.close()
    await rm(folder, { recursive: true })
  })

  const qcluster = (...args: string[]) => run(folder, args, { ...process.env, QCLUSTER_SECRET_KEY: 'key' })

  /** A cluster that is listed, and notes the orders that it hears. */
  async function cluster(answer: 'done' | 'refuses' | 'silent' = 'done') {
    const [clusterId, name, heard] = [randomUUID(), 'four-plain-words-here', [] as unknown[]]
    const stat = composeStat({
      ...{ clusterId, name, queue: 'default', host: 'tower', pid: 1, startedAt: Date.now() },
      ...{ life: 'paused', reincarnations: 2, workerCount: 3, queueLimit: 10, counters: {}, processes: [] },
    })
    await broker.publishStat(clusterId, sealStat(stat, signer), 60_000)
    const onOrder = async (body: string) => {
      const { id, order, args } = openEnvelope<Order>('order', body, signer)
      heard.push([order, ...args])
      if (answer === 'silent') return undefined
      const said =
        answer === 'done' ? { result: 'done' } : { error: { name: 'Error', message: 'no\u001b[2J' } }
      return sealAnswer({ id, at: Date.now(), clusterId, name, ...said }, signer)
    }
    await broker.onControl({
      ...{ clusterId, onOrder },
      onLost: (error) => {
        throw error
      },
    })
    return { clusterId, heard }
  }

  it('shows clusters, what waits for them and what is saved', async () => {
    const { clusterId } = await cluster()
    const store = await createStore({ dataDir })
    await store.connect()
    const failure = { success: false, fate: 'deadLetter', result: '{}' } as const
    await store.save([
      outcomeOf('a'.repeat(32)),
      outcomeOf('b'.repeat(32)),
      outcomeOf('c'.repeat(32), failure),
    ])
    await store.close()

    const { code, stdout } = await qcluster('info')
    expect(code).to.equal(0)
    expect(stdout).to.match(/^-- default on SQLite .* --$/m)
    expect(stdout).to.match(
      /^Clusters 1 {2}Workers 0 {2}Restarts 2 {2}Queued 0\(0\) {2}Successes 2 {2}Failures 1$/m,
    )
    expect(stdout).to.match(/^tower +\S{8} +four-plain-words-here +default +Paused +0\/3 /m)
    const view = JSON.parse((await qcluster('info', '--json')).stdout)
    expect(view).to.deep.include({ queue: 'default', queued: 0, saved: { successes: 2, failures: 1 } })
    expect(view.clusters[0]).to.include({ clusterId, status: 'Paused' })
    expect(await qcluster('info', '--ids')).to.include({ code: 0, stdout: `${clusterId}\n` })
  })

  it('prints no id where no cluster runs, and says so beside it', async () => {
    const words = 'No clusters appear to be running.\n'
    expect(await qcluster('info', '--ids')).to.deep.equal({ code: 0, stdout: '', stderr: words })
    expect(await qcluster('info', '--ids', '--json')).to.include({ code: 0, stdout: '[]\n' })
    expect((await qcluster('info')).stdout).to.include(words)
    expect(await qcluster('memory')).to.deep.equal({ code: 0, stdout: words, stderr: '' })
  })

  it('brings an order with its argument to all, or to the one that is meant', async () => {
    const [one, other] = [await cluster(), await cluster()]
    const { code, stdout } = await qcluster('control', 'scale', '3', '--all')
    expect(code).to.equal(0)
    expect(stdout).to.match(/^(four-plain-words-here \S{36} {2}done\n){2}$/)
    const { clusterId } = one
    const stopped = await qcluster('control', 'stop', '--cluster', clusterId, '--json')
    expect(JSON.parse(stopped.stdout)).to.have.lengthOf(1)
    expect(JSON.parse(stopped.stdout)[0]).to.include({ clusterId, result: 'done' })
    expect(one.heard).to.deep.equal([['scale', 3], ['stop']])
    expect(other.heard).to.deep.equal([['scale', 3]])
  })

  it('ends with exit code 1 when a cluster refuses, does not answer, or none is there', async () => {
    expect(await qcluster('control', 'ping', '--all')).to.deep.equal({
      ...{ code: 1, stdout: '', stderr: 'No cluster answered.\n' },
    })
    expect(await qcluster('control', 'ping', '--cluster', randomUUID())).to.include({ code: 1, stdout: '' })
    await cluster()
    const { clusterId } = await cluster('refuses')
    const refused = await qcluster('control', 'reload', '--all')
    expect(refused.code).to.equal(1)
    expect(refused.stdout).to.include(`${clusterId}  refused: no\\u001b[2J\n`).and.to.include('  done\n')
    const mute = await cluster('silent')
    const silent = await qcluster('control', 'pause', '--cluster', mute.clusterId, '--wait', '0.3')
    expect(silent.code).to.equal(1)
    expect(silent.stdout).to.include('Expected an answer to "pause" within 300 ms, got none')
  })

  it('ends with exit code 2 when nobody is meant, or both, or a number is none', async () => {
    const id = randomUUID()
    for (const args of [
      ['ping'],
      ['ping', '--all', '--cluster', id],
      ['scale', '--all'],
      ['explode', '--all'],
    ])
      expect(await qcluster('control', ...args), args.join(' ')).to.include({ code: 2, stdout: '' })
    for (const args of [
      ['scale', 'many', '--all'],
      ['ping', '--all', '--wait', '0'],
    ])
      expect(await qcluster('control', ...args), args.join(' ')).to.include({ code: 2, stdout: '' })
  })
})
