import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { Broker } from '../../lib/brokers/broker.ts'
import { Client } from '../../lib/client.ts'
import { Signer } from '../../lib/signing.ts'
import { type Stat, sealStat } from '../../lib/stat.ts'
import { type Progress, progress } from '../../lib/tasks/progress.ts'
import { outcomeOf } from '../contracts/material.ts'

const ID = '0199f3c2a7d47b3c8f0e5d1c2b3a4f5e'

describe('the progress of a task', () => {
  let dataDir: string
  let client: Client
  /** What the worker shows at each look, and at the last one. */
  let shown: (Partial<Progress> | undefined)[]

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-progress-'))
    const signer = new Signer(['secret'])
    const broker = {
      connect: async () => {},
      close: async () => {},
      stats: async () => [sealStat(stat(shown.length > 1 ? shown.shift() : shown[0]), signer)],
    }
    client = new Client(
      { dataDir, secretKey: 'secret' },
      { makeBroker: async () => broker as unknown as Broker },
    )
  })
  afterEach(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  const stat = (run: Partial<Progress> | undefined) =>
    ({
      ...{ clusterId: 'c', host: 'h', startedAt: 1, at: Date.now() },
      processes: [{ pid: 7, tasks: run ? [{ taskId: ID, name: 'four words', startedAt: 5, ...run }] : [] }],
    }) as unknown as Stat

  const finish = () => client.atStore((store) => store.save([outcomeOf(ID, { name: 'four words' })]))

  it('is told each time that it is new, until the last outcome', async () => {
    const half = { attempt: 1, progress: 0.5, message: 'half' }
    shown = [undefined, { attempt: 1 }, half, half, { ...half, attempt: 2 }, { attempt: 2, progress: 1 }]
    const seen: Progress[] = []
    for await (const one of progress(ID, { client, interval: 0 })) {
      seen.push(one)
      if (one.progress === 1) await finish()
    }
    expect(seen).to.deep.equal([
      { ...half, startedAt: 5 },
      { ...half, attempt: 2, startedAt: 5 },
      { attempt: 2, progress: 1, message: '', startedAt: 5 },
    ])
  })

  it('is looked for by the name, and is none of a task that is over', async () => {
    shown = [undefined]
    await finish()
    expect(await progress('four words', { client }).next()).to.deep.equal({ done: true, value: undefined })
  })

  it('is looked for no longer than a signal says', async () => {
    shown = [{ attempt: 1, progress: 0.5 }]
    const controller = new AbortController()
    const looking = progress(ID, { client, interval: 3_600_000, signal: controller.signal })
    await looking.next()
    const next = looking.next()
    const reason = new Error('the reader has gone')
    controller.abort(reason)
    expect(await next.catch((error: unknown) => error)).to.equal(reason)
    const late = progress(ID, { client, signal: controller.signal }).next()
    expect(await late.catch((error: unknown) => error)).to.equal(reason)
  })

  it('needs an interval that is one', () => {
    expect(() => progress(ID, { client, interval: -1 })).to.throw('interval must be milliseconds')
  })
})
