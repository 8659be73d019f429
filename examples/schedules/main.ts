import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, close, configure, type Options, Schedule, schedule } from 'qcluster'
import { chime, clean } from './tasks.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'qcluster-schedules-'))
const options: Options = { dataDir, tasks: [join(import.meta.dirname, 'tasks.ts')], workers: 2 }
configure(options)

const bell = await schedule(chime, ['ding'], {
  name: 'bell',
  cron: '* * * * * *',
  intendedDateKwarg: 'date',
})
await schedule(clean, [], { name: 'cleaning', cron: '* * * * * *', overlap: 'skip' })
await schedule(chime, ['a report'], {
  name: 'report',
  cron: '30 9 * * 1-5',
  timeZone: 'Europe/Amsterdam',
  misfire: 'skip',
})

const report = await Schedule.find('report')
for (const time of (await report?.preview(3)) ?? []) console.log(`report at ${time.toISOString()}`)

const cluster = new Cluster(options)
const [rung, skipped] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
let count = 0
cluster.on('schedule.met', ({ schedule: name }) => {
  if (name === 'bell') count += 1
  if (count === 3) rung.resolve()
})
cluster.on('schedule.skipped', ({ schedule: name }) => {
  if (name === 'cleaning') skipped.resolve()
})
await cluster.start()
await Promise.all([rung.promise, skipped.promise])

const paused = await bell.pause()
const task = await paused.run()
await task.result({ wait: 20_000 })
console.log(`${paused.name} is ${paused.state}, and was rung by hand`)

await cluster.stop()
await close()
await rm(dataDir, { recursive: true })
