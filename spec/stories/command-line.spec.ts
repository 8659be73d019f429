import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { ended, isAlive, processesBelow, Stage } from './stage.ts'

const TASKS = `import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const add = defineTask('math.add', (a, b) => a + b)
export const slow = defineTask('slow', (ms) => new Promise((resolve) => setTimeout(resolve, ms, 'done')))
export const patient = defineTask('patient', async () => {
  while (!existsSync('go')) await sleep(20)
  return 'done'
})
export const leave = defineTask({ name: 'leave', maxAttempts: 1 }, () => process.exit(3))`

describe('the command line', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  const run = (...args: string[]) => stage.qcluster(...args)

  it('runs a cluster in one terminal and a task from another, and stops at SIGTERM', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const enqueue = run('enqueue', 'math.add', '1', '2', '--wait')
    expect(await enqueue.exit).to.deep.equal([0, null])
    expect(enqueue.log()).to.equal('3\n')
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(cluster.log()).to.include('has stopped.')
  })

  it('says what a worker begins, also where it ends its process at once', async () => {
    const cluster = run('start', '--workers', '1')
    await cluster.line(/running\./)
    run('enqueue', 'leave', '--task-name', 'exit-stage-left')
    await cluster.line(/Failed 'leave'/)
    expect(cluster.log()).to.match(/processing exit-stage-left 'leave'[\s\S]*died while running the task/)
  })

  it('F3: stops in order each time that the whole process group gets SIGTERM', async () => {
    for (let time = 1; time <= 4; time += 1) {
      const cluster = run('start', '--workers', '1')
      await cluster.line(/running\./)
      const pids = processesBelow(cluster.process.pid as number)
      // Every second time at work.
      const enqueue = time % 2 === 0 ? run('enqueue', 'slow', '300') : undefined
      if (enqueue) await cluster.line(/processing/)
      process.kill(-(cluster.process.pid as number), 'SIGTERM')
      expect(await cluster.exit, cluster.log()).to.deep.equal([0, null])
      expect(cluster.log()).to.match(
        /stopped pushing tasks[\s\S]*stopped doing work[\s\S]*stopped monitoring results[\s\S]*has stopped/,
      )
      if (enqueue) expect(cluster.log()).to.include("Processed 'slow'")
      expect(pids).to.have.length(5)
      expect(pids.filter(isAlive)).to.deep.equal([])
    }
  })

  it('stops in order when SIGTERM comes while it starts', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/starting\./)
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(cluster.log()).to.include('has stopped.')
  })

  it('F4: leaves no orphan when its sentinel is killed, lets them finish what they have, and goes on with another', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const [sentinel, ...others] = processesBelow(cluster.process.pid as number)
    const enqueue = run('enqueue', 'patient', '--wait')
    await cluster.line(/processing/)
    process.kill(sentinel as number, 'SIGKILL')
    await cluster.line(/reincarnated sentinel/)
    await stage.write('go', '')
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    expect(enqueue.log()).to.equal('done\n')
    await ended(others)
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit, 'its successor stops in order').to.deep.equal([0, null])
  })

  it('leaves no orphan when the cluster itself is killed: its sentinel stops them and tells the rest', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const pids = processesBelow(cluster.process.pid as number)
    const enqueue = run('enqueue', 'patient', '--wait')
    await cluster.line(/processing/)
    cluster.process.kill('SIGKILL')
    await cluster.line(/stopped pushing tasks/)
    await stage.write('go', '')
    await ended(pids)
    expect(pids).to.have.length(6)
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    await cluster.exit
    const told = [
      ...['ERROR Process-\\w+ lost its cluster', 'INFO Process-\\w+ stopping cluster processes'],
      ...['stopped pushing tasks', "Processed 'patient'", 'stopped doing work', 'waiting for the monitor'],
      ...['stopped monitoring results', 'INFO Q Cluster [\\w-]+ has stopped\\.\n$'],
    ]
    expect(cluster.log()).to.match(new RegExp(told.join('[\\s\\S]*')))
  })

  it('ends with exit code 4 and the stack when a task module cannot be loaded', async () => {
    await stage.write('tasks.mjs', 'throw new Error("out of tea")')
    const cluster = run('start', '--workers', '1')
    expect(await cluster.exit).to.deep.equal([4, null])
    expect(cluster.log()).to.match(/out of tea[\s\S]* at .*tasks\.mjs:1/)
  })

  for (const [what, text, words] of [
    ['is missing', null, /The task module .*tasks\.mjs does not exist; correct its path/],
    ['exports no task', '', /The task module .*tasks\.mjs exports no task; export a function/],
    [
      'names two tasks alike',
      `import { defineTask } from 'qcluster'
       export const one = defineTask('twin', () => 1)
       export const two = defineTask('twin', () => 2)`,
      /Two tasks are named "twin": one of .*tasks\.mjs and two of .*tasks\.mjs; give one/,
    ],
  ] as const)
    it(`ends with exit code 4 and the reason when a task module ${what}`, async () => {
      if (text === null) await rm(join(stage.folder, 'tasks.mjs'))
      else await stage.write('tasks.mjs', text)
      const cluster = run('start', '--workers', '1', '--tasks', './tasks.mjs')
      expect(await cluster.exit).to.deep.equal([4, null])
      expect(cluster.log()).to.match(words)
      expect(cluster.log()).to.match(/TaskLoadError/)
    })

  it('ends with exit code 4 and a sentence when there is no task module: it would fail what others enqueue', async () => {
    await rm(join(stage.folder, 'tasks.mjs'))
    for (const command of ['start', 'dev', 'check']) {
      const refused = run(command)
      expect(await refused.exit).to.deep.equal([4, null])
      expect(refused.log()).to.match(/(Expected|There is no) (a )?task module.*tasks\.ts/s)
    }
  })

  it('ends with exit code 3 and a sentence when the queue is no database', async () => {
    mkdirSync(stage.dataDir, { mode: 0o700 })
    await stage.write('.qcluster/queue.db', 'this is not a database at all'.repeat(50))
    const cluster = run('start')
    expect(await cluster.exit).to.deep.equal([3, null])
    expect(cluster.log()).to.include('is not an SQLite database')
  })

  it('ends with exit code 2 when an option is wrong', async () => {
    const cluster = run('start', '--workers', 'many')
    expect(await cluster.exit).to.deep.equal([2, null])
    expect(cluster.log()).to.include('workers')
  })
})
