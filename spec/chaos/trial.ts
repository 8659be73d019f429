/** One blow to a cluster under load, and the ledger after it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncTask, Client, type Options, type Task } from 'qcluster'
import { type Blow, wayTo } from './pairs.ts'

/** Tasks before the blow, and as many after it. */
const LOAD = 50
/** Milliseconds for a state to come about once tasks run and all orders are given; then it counts as not reached. */
const PATIENCE = 4_000
/** Milliseconds for all to be well again. */
const RECOVERY = 60_000

export interface Trial {
  readonly blow: Blow
  /** Whether the process was in that state when it was hit. */
  readonly reached: boolean
  /** What became of the cluster: it went on, or ended and a fresh one finished its work. */
  readonly end: 'went on' | 'ended'
  readonly accepted: number
  /** Runs beside the first of each task: what a killed process had in hand, or had not yet seen saved. */
  readonly doubles: number
  /** What should not be: empty where all is well. */
  readonly faults: readonly string[]
  readonly log: string
}

export interface TrialOptions {
  /** RabbitMQ's address; the embedded broker where absent. */
  readonly broker?: string | undefined
  /** Milliseconds that a stopped process stays so. */
  readonly pause: number
}

/** A cluster, its folder, and the tasks that it was given. */
class Arena {
  readonly folder: string
  readonly options: Options
  readonly client: Client
  readonly tasks: Task[] = []
  log = ''

  constructor(folder: string, broker: string | undefined) {
    this.folder = folder
    this.options = {
      ...{
        name: `chaos-${folder.split('-').at(-1)?.toLowerCase()}`,
        tasks: [join(import.meta.dirname, 'tasks.mjs')],
      },
      ...{ dataDir: join(folder, 'data'), workers: 2, grace: 10, retry: 0.1, timeout: 60, logLevel: 'warn' },
      broker: broker ?? null,
    }
    this.client = new Client(this.options)
  }

  get ledger(): string {
    return join(this.folder, 'ledger')
  }

  get gate(): string {
    return join(this.folder, 'gate')
  }

  async load(count: number, ms = 20): Promise<void> {
    const numbers = Array.from({ length: count }, (_, n) => this.tasks.length + n)
    const made = numbers.map((n) => asyncTask('chaos.note', [this.ledger, n, ms], { client: this.client }))
    this.tasks.push(...(await Promise.all(made)))
  }

  start(blow?: Blow): ChildProcess {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'cluster.mjs'), JSON.stringify(this.options)],
      {
        env: {
          ...process.env,
          TMPDIR: this.folder,
          ...(blow && {
            NODE_OPTIONS: `--import ${join(import.meta.dirname, 'gate.mjs')}`,
            CHAOS_GATE: [blow.role, blow.state, this.gate].join(' '),
          }),
        },
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    )
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
      })
    child.stdin.on('error', () => {})
    return child
  }

  /** True when every task has its last outcome. */
  async allDone(signal: AbortSignal): Promise<boolean> {
    for (const task of this.tasks)
      while (!(await task.fetch({ final: true }))) {
        if (signal.aborted) return false
        await sleep(20)
      }
    return true
  }

  /** Processes that have this folder in their environment. */
  living(): number[] {
    const found = readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0)
    return found.filter((pid) => pid !== process.pid && environmentOf(pid).includes(`TMPDIR=${this.folder}`))
  }
}

/** Hits a cluster and says what became of it. */
export async function hit(blow: Blow, { broker, pause }: TrialOptions): Promise<Trial> {
  const folder = await mkdtemp(join(tmpdir(), 'qx-'))
  await mkdir(join(folder, 'node_modules'))
  await symlink(join(import.meta.dirname, '..', '..'), join(folder, 'node_modules', 'qcluster'))
  const arena = new Arena(folder, broker)
  try {
    return await carryOut(arena, blow, pause)
  } finally {
    for (const pid of arena.living()) kill(pid, 'SIGKILL')
    if (broker)
      await arena.client.atBroker((one) => one.deleteQueue(arena.options.name as string)).catch(() => {})
    await arena.client.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function carryOut(arena: Arena, blow: Blow, pause: number): Promise<Trial> {
  await arena.load(LOAD)
  const cluster = arena.start(blow)
  const exited = once(cluster, 'close')
  const orders = wayTo(blow)
  const held = await lead(arena, cluster, orders)
  if (held !== undefined) await strike(held, blow, pause)
  await arena.load(LOAD)
  for (const order of ['resume', ...(held === undefined ? ['stop'] : [])]) cluster.stdin?.write(`${order}\n`)
  const wentOn = await recovers(arena, exited)
  if (wentOn) cluster.stdin?.write('stop\n')
  const faults = await leftBy(arena, exited)
  if (!wentOn) faults.push(...(await finish(arena)))
  return {
    blow,
    reached: held !== undefined,
    end: wentOn ? 'went on' : 'ended',
    ...(await audit(arena, faults)),
  }
}

/** Gives the orders that lead to the state, once tasks run; the process that is held there, if it gets there. */
async function lead(
  arena: Arena,
  cluster: ChildProcess,
  orders: readonly string[],
): Promise<number | undefined> {
  const comes = async (isThere: () => boolean, patience = RECOVERY) => {
    const end = Date.now() + patience
    while (!isThere() && Date.now() < end && cluster.exitCode === null) await sleep(5)
  }
  await comes(() => existsSync(arena.ledger) || existsSync(arena.gate))
  for (const order of orders) {
    if (order === 'long') await arena.load(2, 3_000)
    else cluster.stdin?.write(`${order}\n`)
    // What the order before has brought about is to be under way.
    await sleep(order === 'slay' ? 0 : 150)
  }
  await comes(() => existsSync(arena.gate), PATIENCE)
  if (!existsSync(arena.gate)) return undefined
  const pid = Number(await readFile(arena.gate, 'utf8'))
  await comes(() => pid > 0 && isStopped(pid))
  return pid
}

async function strike(pid: number, { fault }: Blow, pause: number): Promise<void> {
  if (fault === 'SIGSTOP') await sleep(pause)
  else kill(pid, fault)
  kill(pid, 'SIGCONT')
}

/** Waits for all tasks, or for the end of the cluster: true for the former. */
async function recovers(arena: Arena, exited: Promise<unknown>): Promise<boolean> {
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), RECOVERY)
  const ended = exited.then(() => {
    over.abort()
    return false
  })
  const done = await Promise.race([arena.allDone(over.signal), ended])
  clearTimeout(timer)
  return done
}

/** What is still there when the cluster has ended, and what its processes had left of their grace is over. */
async function leftBy(arena: Arena, exited: Promise<unknown>): Promise<string[]> {
  const isOver = await within(exited)
  const end = Date.now() + RECOVERY
  let living = arena.living()
  while (living.length > 0 && Date.now() < end) {
    await sleep(50)
    living = arena.living()
  }
  return [
    ...(isOver ? [] : ['the cluster did not end']),
    ...living.map(
      (pid) =>
        `process ${pid} is left: ${execFileSync('ps', ['-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' })}`,
    ),
  ]
}

/** A fresh cluster does what is left to do. */
async function finish(arena: Arena): Promise<string[]> {
  const cluster = arena.start()
  const exited = once(cluster, 'close')
  const done = await recovers(arena, exited)
  cluster.stdin?.write('stop\n')
  const left = await leftBy(arena, exited)
  return [...(done ? [] : ['a fresh cluster did not finish the work']), ...left]
}

async function audit(arena: Arena, faults: readonly string[]) {
  const records = await Promise.all(arena.tasks.map((task) => task.fetch({ final: true })))
  const lost = records.filter((record) => !record).length
  const failed = records.filter((record) => record && !record.success).length
  const runs = existsSync(arena.ledger) ? (await readFile(arena.ledger, 'utf8')).trim().split('\n') : []
  const rest = (await readdir(arena.folder)).filter((name) => name.startsWith('qc-'))
  return {
    accepted: arena.tasks.length,
    doubles: runs.length - new Set(runs).size,
    log: arena.log,
    faults: [
      ...faults,
      ...(lost > 0 ? [`${lost} tasks have no outcome`] : []),
      ...(failed > 0 ? [`${failed} tasks have failed`] : []),
      ...rest.map((name) => `the directory ${name} is left`),
    ],
  }
}

async function within(exited: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController()
  const late = sleep(RECOVERY, false, { signal: timer.signal }).catch(() => false)
  const isOver = await Promise.race([exited.then(() => true), late])
  timer.abort()
  return isOver
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It is gone.
  }
}

/** Only a machine with /proc can be put to this test. */
function environmentOf(pid: number): string {
  return readProc(`/proc/${pid}/environ`)
}

/** Stopped, or gone. */
function isStopped(pid: number): boolean {
  const state = /\) (\w)/.exec(readProc(`/proc/${pid}/stat`))?.[1]
  return state === undefined || state === 'T'
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
