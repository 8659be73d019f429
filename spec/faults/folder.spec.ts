import { rm } from 'node:fs/promises'
import { expect } from 'chai'
import { eventually } from '../contracts/material.ts'
import { Stage } from '../stories/stage.ts'

const TASKS = `import { appendFileSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const wait = defineTask('wait', async (n) => {
  while (!existsSync('go')) await sleep(20)
  appendFileSync('ledger', n + '\\n')
  return n
})`

describe('a cluster whose data folder is removed', function () {
  this.timeout(60_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })

  it('says so once, finishes what runs, and goes on with a new folder and the same key', async () => {
    const cluster = stage.qcluster('start', '--workers', '1')
    await cluster.line(/running\./)
    const enqueue = stage.qcluster('enqueue', 'wait', '1')
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    await cluster.line(/processing/)
    await rm(stage.dataDir, { recursive: true })
    await cluster.line(/lost the broker - .*queue\.db was removed or replaced while it was in use/)
    await cluster.line(/connected to the broker again/)
    await stage.write('go', '')
    await eventually(async () => (await stage.lines('ledger')).length, 1)
    const next = stage.qcluster('enqueue', 'wait', '2', '--wait=30')
    expect(await next.exit, next.log()).to.deep.equal([0, null])
    expect(next.log()).to.equal('2\n')
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(await stage.lines('ledger')).to.deep.equal(['1', '2'])
    expect(cluster.log().match(/lost the broker/g)).to.have.length(1)
    expect(cluster.log().match(/lost the store/g)?.length ?? 0).to.be.at.most(1)
  })
})
