/** What the reference does not survive, or leaves no trace of, by the numbers of its list. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, Client, Cluster, type Options, type Task } from 'qcluster'
import { pause } from '../contracts/material.ts'

const tasks = [join(import.meta.dirname, 'fixtures', 'failures.mjs')]

/** A zombie is none: nobody may take notice of an orphan here. */
function isRunning(pid: number): boolean {
  try {
    return !execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('Z')
  } catch {
    return false
  }
}

describe('a cluster whose tasks fail it', function () {
  this.timeout(120_000)
  let dataDir: string
  let cluster: Cluster
  let client: Client

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'qcluster-failures-'))
  })
  afterEach(async () => {
    await cluster.stop()
    await client.close()
    await rm(dataDir, { recursive: true })
  })

  async function start(given: Options = {}): Promise<void> {
    const options: Options = {
      ...{ name: 'failures', tasks, dataDir, logLevel: 'silent', workers: 1, retry: 0 },
      ...given,
    }
    client = new Client(options)
    cluster = new Cluster(options)
    await cluster.start()
  }

  const enqueue = (task: string, args: unknown[] = [], options: object = {}): Promise<Task> =>
    asyncTask(task, args, { client, ...options })

  /** The failure that a task ends with when no attempt is left. */
  const failureOf = (task: Task): Promise<Error> =>
    task.result({ wait: 50_000, final: true }).then(
      (value) => {
        throw new Error(`expected a failure, got ${JSON.stringify(value)}`)
      },
      (error: Error) => error,
    )

  const dead = () => {
    const found: string[] = []
    cluster.on('task.dead', ({ taskId }) => found.push(taskId))
    return found
  }

  /** The processes of each run of `deaf`, and those that they started. */
  async function pids(): Promise<number[][]> {
    const lines = (await readFile(join(dataDir, 'ledger'), 'utf8')).trim().split('\n')
    return lines.map((line) => line.split(' ').map(Number))
  }

  const pidOf = (id: string) => cluster.stat.processes.find((one) => one.id === id)?.pid ?? null

  /** Kills it; who was killed. */
  async function slay(id: string): Promise<number> {
    while (pidOf(id) === null) await pause()
    const pid = pidOf(id) as number
    process.kill(pid, 'SIGKILL')
    return pid
  }

  /** Resolves when the process is there that has taken a dead one's place. */
  async function replaced(id: string, dead: number): Promise<void> {
    while ([dead, null].includes(pidOf(id))) await pause()
  }

  it('F1: runs what is enqueued after an idle worker was killed, and stops', async () => {
    await start({ workers: 4 })
    // What comes at once is not to wait for its replacement either.
    await slay('worker-1')
    const given = await Promise.all(Array.from({ length: 6 }, (_, n) => enqueue('add', [n, 1])))
    const results = await Promise.all(given.map((task) => task.result({ wait: 50_000 })))
    expect(results).to.deep.equal([1, 2, 3, 4, 5, 6])
    expect(await cluster.stop()).to.equal(true)
    expect(cluster.exitCode).to.equal(0)
  })

  it('F2: saves what ends after the monitor was killed, and does not stop by its deadline', async () => {
    await start({ workers: 4, grace: 25 })
    await replaced('monitor', await slay('monitor'))
    const given = await Promise.all(Array.from({ length: 6 }, (_, n) => enqueue('add', [n, 1])))
    const results = await Promise.all(given.map((task) => task.result({ wait: 50_000 })))
    expect(results).to.deep.equal([1, 2, 3, 4, 5, 6])
    let isLate = false
    cluster.on('cluster.deadline', () => {
      isLate = true
    })
    await cluster.stop()
    expect([cluster.exitCode, isLate]).to.deep.equal([0, false])
  })

  it('F5: saves the failure of a task that kills its worker each time, with signal or exit code', async () => {
    await start({ maxAttempts: 2 })
    const given = dead()
    const hooked = new Promise((resolve) =>
      cluster.on('task.finished', ({ func }) => func === 'hooked' && resolve(func)),
    )
    const [killed, left] = [await enqueue('poison', [], { hook: 'hooked' }), await enqueue('leave')]
    expect((await failureOf(killed)).message).to.include('died while running the task (signal SIGKILL)')
    expect((await failureOf(left)).message).to.include('died while running the task (exit code 7)')
    for (const task of [killed, left]) expect(await task.fetch()).to.include({ success: false, attempt: 2 })
    await hooked
    await cluster.stop()
    expect(given).to.have.members([killed.id, left.id])
  })

  it('F5: is no outage for the others when 30 of them come at once', async () => {
    await start({ maxAttempts: 1, workers: 2 })
    const poisons = await Promise.all(Array.from({ length: 30 }, () => enqueue('poison')))
    const others = await Promise.all(Array.from({ length: 30 }, (_, n) => enqueue('add', [n, 1])))
    for (const [n, task] of others.entries()) expect(await task.result({ wait: 50_000 })).to.equal(n + 1)
    for (const task of poisons) expect((await failureOf(task)).message).to.include('SIGKILL')
    expect(cluster.isRunning).to.equal(true)
  })

  it('F6: ends a task that hears of nothing after its attempts, never two of its runs at a time', async () => {
    await start({ maxAttempts: 2, timeoutGrace: 0.1 })
    const task = await enqueue('deaf', [join(dataDir, 'ledger')], { timeout: 0.2 })
    expect((await failureOf(task)).message).to.equal(
      'Task exceeded maximum timeout value (0.2 seconds); its worker process was killed',
    )
    expect(await task.fetch()).to.include({ success: false, attempt: 2 })
    expect(await pids()).to.have.length(2)
    // What a worker's tasks have started ends with it.
    for (const pid of (await pids()).flat()) while (isRunning(pid)) await pause()
  })

  it('F6: requeues unharmed what ran beside it in the same process', async () => {
    await start({ maxAttempts: 1, concurrency: 2, timeoutGrace: 0.1 })
    const beside = await enqueue('nap', [1])
    const late = await enqueue('deaf', [join(dataDir, 'ledger')], { timeout: 0.2 })
    expect((await failureOf(late)).message).to.include('(0.2 seconds)')
    expect(await beside.result({ wait: 50_000 })).to.equal('slept')
    expect(await beside.fetch()).to.include({ attempt: 1 })
  })

  it('F7: recycles nobody while it stops, and loses none of the tasks that are left', async () => {
    const options: Options = { workers: 2, recycle: 1 }
    await start(options)
    const told: string[] = []
    for (const event of ['worker.recycled', 'sentinel.stopping'] as const)
      cluster.on(event, () => told.push(event))
    const given = await Promise.all(Array.from({ length: 6 }, (_, n) => enqueue('add', [n, 1])))
    await cluster.stop()
    expect([cluster.exitCode, told.at(-1)]).to.deep.equal([0, 'sentinel.stopping'])
    await client.close()
    await start(options)
    const results = await Promise.all(given.map((task) => task.result({ wait: 50_000 })))
    expect(results).to.deep.equal([1, 2, 3, 4, 5, 6])
  })

  it('F8: enforces the limits of tasks also while it stops', async () => {
    await start({ maxAttempts: 1, timeoutGrace: 0.1 })
    const begun = new Promise((resolve) => cluster.on('task.started', resolve))
    const task = await enqueue('deaf', [join(dataDir, 'ledger')], { timeout: 0.5 })
    await begun
    expect(await cluster.stop()).to.equal(true)
    expect((await failureOf(task)).message).to.include('(0.5 seconds)')
    expect(cluster.exitCode).to.equal(0)
  })

  it('F11: enforces them by the clock, whatever its guard cycle is', async () => {
    // Longer than anybody waits for the failure.
    await start({ maxAttempts: 1, guardCycle: 59, timeoutGrace: 0.1 })
    const task = await enqueue('deaf', [join(dataDir, 'ledger')], { timeout: 0.25 })
    expect((await failureOf(task)).message).to.include('(0.25 seconds)')
  })
})
