import assert from 'node:assert/strict'
import { test } from 'node:test'
import { schedule } from 'qcluster'
import { TestCluster } from 'qcluster/testing'
import { charge, order, receipt, report } from './tasks.ts'

test('charges a card after two failures, seconds and then minutes later, and sends a receipt', async () => {
  await using cluster = await TestCluster.start({ tasks: [charge, receipt] })
  const task = await order(42)
  assert.equal(cluster.enqueued(charge)[0]?.delay, 3600)

  await cluster.advance(3600)
  assert.equal(cluster.runs(charge).length, 1, 'busy')
  await cluster.advance(5)
  assert.equal(cluster.runs(charge).length, 2, 'the service said when')
  await cluster.advance(119)
  assert.equal(cluster.runs(charge).length, 2)
  await cluster.advance(1)
  assert.equal(await task.result(), 'charged 42')
  assert.deepEqual(
    cluster.runs(receipt).map(({ result }) => result),
    ['sent: charged 42'],
  )
})

test('reports on working days at eight, whatever the clocks do', async () => {
  await using cluster = await TestCluster.start({
    tasks: [report],
    startAt: new Date('2027-03-26T00:00:00Z'),
  })
  await schedule(report, [], { cron: '0 8 * * 1-5', timeZone: 'Europe/Amsterdam' })
  await cluster.advance(4 * 24 * 3600)
  // Friday and Monday; on the Sunday between them the clocks go forward.
  assert.equal(cluster.runs(report).length, 2)
})
