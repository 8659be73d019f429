import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asyncTask } from 'qcluster'
import { TestCluster } from 'qcluster/testing'
import { charge } from './tasks.ts'

test('charges a card after two failures, seconds and then minutes later', async () => {
  await using cluster = await TestCluster.start({ tasks: [charge] })
  const task = await asyncTask(charge, [42], { client: cluster.client, delay: 3600 })

  await cluster.advance(3600)
  assert.equal(cluster.runsOf(charge), 1, 'busy')
  await cluster.advance(5)
  assert.equal(cluster.runsOf(charge), 2, 'the service said when')
  await cluster.advance(119)
  assert.equal(cluster.runsOf(charge), 2)
  await cluster.advance(1)
  assert.equal(await task.result(), 'charged 42')
})
