import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect } from 'chai'
import { pause, range } from '../contracts/material.ts'
import { type Command, processesBelow, Stage } from './stage.ts'

const TASKS = `import { appendFileSync } from 'node:fs'
import { defineTask } from 'qcluster'
export const note = defineTask('note', ({ date }) => appendFileSync('notes', date + '\\n'))`

const ADD = `import { close, schedule } from 'qcluster'
for (const [task, options] of JSON.parse(process.argv.at(-1)))
  await schedule(task, [{}], { intendedDateKwarg: 'date', ...options })
await close()`

const LIST = `import { close, Schedule } from 'qcluster'
console.log(JSON.stringify(await Schedule.list()))
await close()`

describe('schedules', function () {
  this.timeout(90_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })

  async function start(count: number): Promise<Command[]> {
    const args = ['--workers', '1', '--log-level', 'debug', '--log-format', 'json']
    const clusters = range(count).map(() => stage.qcluster('start', ...args))
    await Promise.all(clusters.map((cluster) => cluster.line(/running\./)))
    return clusters
  }

  async function stop(clusters: readonly Command[]): Promise<void> {
    for (const cluster of clusters) cluster.process.kill('SIGTERM')
    for (const cluster of clusters) expect(await cluster.exit).to.deep.equal([0, null])
  }

  async function add(...schedules: [task: string, options: object][]): Promise<void> {
    const command = stage.script(ADD, JSON.stringify(schedules))
    expect(await command.exit, command.log()).to.deep.equal([0, null])
  }

  async function list(): Promise<Record<string, unknown>[]> {
    const command = stage.script(LIST)
    expect(await command.exit, command.log()).to.deep.equal([0, null])
    return JSON.parse(command.log())
  }

  /** The slots that tasks have noted, once they are at least so many. */
  async function slots(count: number): Promise<number[]> {
    for (;;) {
      const lines = await stage.lines('notes')
      if (lines.length >= count) return lines.map((line) => Date.parse(line))
      await pause()
    }
  }

  const recordsOf = (cluster: Command, event: string): { at: string; schedule: string; taskId: string }[] =>
    cluster
      .log()
      .split('\n')
      .filter((line) => line.includes(`"event":"${event}"`))
      .map((line) => JSON.parse(line))

  it('are met by one of four clusters each time, and say so where nobody knows their task', async () => {
    const clusters = await start(4)
    await add(
      ['nope.nada', { name: 'ghost', type: 'hourly' }],
      ['note', { name: 'tick', cron: '* * * * * *' }],
    )
    const ticks = () =>
      clusters
        .flatMap((cluster) => recordsOf(cluster, 'schedule.met'))
        .filter(({ schedule }) => schedule === 'tick')
    // The id of a task of a schedule begins with the slot that it is for.
    const late = () =>
      ticks().map(({ at, taskId }) => Date.parse(at) - Number.parseInt(taskId.slice(0, 12), 16))
    const isPunctual = () => Math.min(...late()) < 100
    await slots(5)
    // A busy machine may be late now and then, but not thirty times in a row.
    for (let count = 6; count <= 30 && !isPunctual(); count++) await slots(count)
    await stop(clusters)
    const noted = (await slots(5)).toSorted()
    const first = noted[0] as number
    expect(noted, 'each slot once').to.deep.equal(range(noted.length).map((n) => first + n * 1_000))
    // What was met last may wait for the next cluster.
    expect(noted.length).to.be.within(5, ticks().length)
    expect(isPunctual(), `milliseconds: ${late()}`).to.equal(true)
    const ghost = (await list()).find(({ name }) => name === 'ghost')
    expect(ghost).to.include({
      state: 'failing',
      error: 'Its last task failed: Function nope.nada is not defined',
    })
  })

  it('lose no slot whose scheduler is killed between its claim and the broker', async () => {
    const [cluster] = await start(1)
    if (!cluster) throw new Error('There is no cluster.')
    const queue = new DatabaseSync(join(stage.dataDir, 'queue.db'), { timeout: 10_000 })
    const results = new DatabaseSync(join(stage.dataDir, 'results.db'))
    // Nothing can be handed to the broker while somebody else writes there.
    queue.exec('begin immediate')
    try {
      await add(['note', { name: 'once', repeats: 1 }])
      const claimed = results.prepare('select task_id from scheduled_tasks')
      while (!claimed.get()) await pause()
      const pid = Number(/scheduling at (\d+)/.exec(cluster.log())?.[1])
      expect(processesBelow(cluster.process.pid as number)).to.include(pid)
      process.kill(pid, 'SIGKILL')
      await cluster.line(/reincarnated scheduler/)
    } finally {
      queue.exec('rollback')
      queue.close()
      results.close()
    }
    await cluster.line(/published task \w+ of schedule/)
    await cluster.line(/Processed 'note'/)
    await stop([cluster])
    expect(await slots(1)).to.have.length(1)
    expect((await list())[0]).to.include({ state: 'ended', error: null, repeats: 0 })
  })
})
