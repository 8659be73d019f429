import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import { Client } from '../../lib/client.ts'
import { asyncTask, queueSize } from '../../lib/tasks/enqueue.ts'
import { purgeQueue } from '../../lib/tasks/purge.ts'
import { Schedule, schedule } from '../../lib/tasks/schedule.ts'

describe('a queue that is purged', () => {
  let dataDir: string
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-purge-'))
    client = new Client({ dataDir, name: 'mine' })
  })
  afterEach(async () => {
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  it('has forgotten what waited, and what of it was unique may be enqueued again', async () => {
    await asyncTask('send', ['a'], { client, delay: 3600 })
    await asyncTask('send', ['b'], { client, unique: true })
    await asyncTask('send', ['c'], { client, cluster: 'other' })
    expect(await purgeQueue({ client })).to.equal(2)
    expect(await queueSize({ client })).to.equal(0)
    expect(await queueSize({ client, cluster: 'other' })).to.equal(1)
    expect((await asyncTask('send', ['b'], { client, unique: true })).isNew).to.equal(true)
    expect(await purgeQueue({ client, cluster: 'other' })).to.equal(1)
  })

  it('holds up no schedule that waits for the end of its last task', async () => {
    const options = {
      client,
      name: 'sweep',
      minutes: 15,
      overlap: 'skip',
      nextRun: new Date('2100-01-01'),
    } as const
    const sweep = await schedule('sweep.files', ['a'], options)
    const task = await sweep.run()
    const awaited = () => client.atStore(({ schedules }) => schedules.awaited('mine'))
    expect(await awaited()).to.deep.equal([{ taskId: task.id, scheduleId: sweep.id }])

    await purgeQueue({ client })
    expect(await awaited()).to.deep.equal([])
    expect(await task.fetch()).to.deep.include({
      ...{ id: task.id, name: task.name, func: 'sweep.files', args: ['a'], group: 'sweep', cluster: 'mine' },
      ...{ state: 'cancelled', final: true },
    })
    const found = await Schedule.find('sweep', { client })
    expect(found, 'that it was purged is no fault of the schedule').to.include({
      state: 'active',
      error: null,
    })
    expect(await found?.success()).to.equal(false)
  })

  it('holds up none where what is kept of another cannot be read', async () => {
    const planned = (name: string) => schedule('sweep.files', [], { client, name, minutes: 15 })
    const [broken, sound] = [await planned('broken'), await planned('sound')]
    const lost = await broken.run()
    const task = await sound.run()
    const file = new DatabaseSync(join(dataDir, 'results.db'))
    file.exec("update schedules set plan = 'nonsense' where name = 'broken'")
    file.close()

    expect(await purgeQueue({ client })).to.equal(2)
    expect(await task.fetch()).to.include({ state: 'cancelled' })
    expect(await lost.fetch()).to.equal(undefined)
  })
})
