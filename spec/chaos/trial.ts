/** One blow to a cluster under load, and the ledger after it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { availableParallelism, loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { titleOf } from '../stories/stage.ts'
import { Arena, isStopped, kill } from './arena.ts'
import { type Doubles, doublesIn } from './ledger.ts'
import { type Blow, ORDERS, wayTo } from './pairs.ts'

/** Tasks before the blow, and as many after it. */
const LOAD = 50
/**
 * Milliseconds for a state to come about once tasks run and all orders are given; then it counts as not reached. Who has
 * lost a service looks again after 5 s at the latest.
 */
const PATIENCE = 6_000
/** Milliseconds for all to be well again. */
const RECOVERY = 60_000
/** Who is to be there while a cluster goes on. */
const ROLES = ['sentinel', 'pusher', 'monitor', 'scheduler', 'worker', 'worker']

export interface Trial {
  readonly blow: Blow
  /** Whether the process was in that state when it was hit. */
  readonly reached: boolean
  /** What became of the cluster: it went on, or ended and a fresh one finished its work. */
  readonly end: 'went on' | 'ended'
  readonly accepted: number
  readonly doubles: Doubles
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

/** Hits a cluster and says what became of it. */
export async function hit(blow: Blow, { broker, pause }: TrialOptions): Promise<Trial> {
  const arena = await Arena.make(broker)
  try {
    return await carryOut(arena, blow, pause)
  } finally {
    await arena.remove()
  }
}

async function carryOut(arena: Arena, blow: Blow, pause: number): Promise<Trial> {
  const { load } = arena
  await Promise.all([load.add(LOAD), load.addSequels(), load.addSchedule()])
  const cluster = arena.start(blow)
  const exited = once(cluster, 'close')
  const held = await lead(arena, cluster, blow)
  if (held !== undefined) await strike(held, blow, pause)
  await Promise.all([load.add(LOAD), load.addSequels()])
  tell(cluster, 'resume')
  if (held === undefined) tell(cluster, 'stop')
  const missing = await recovers(arena, exited)
  const wentOn = missing.length === 0
  const faults = wentOn && held !== undefined ? await absentees(cluster) : []
  if (!wentOn && held !== undefined && isThere(cluster)) faults.push('the cluster lives and does not go on')
  tell(cluster, 'stop')
  faults.push(...(await leftBy(arena, exited)))
  if (!wentOn) faults.push(...(await finish(arena)))
  const doubles = doublesIn(arena.ledger)
  const directories = (await arena.directories()).map((name) => `the directory ${name} is left`)
  faults.push(...directories, ...(await load.faults()), ...unexplained(blow, doubles))
  return {
    ...{ blow, reached: held !== undefined, end: wentOn ? 'went on' : 'ended' },
    ...{ accepted: load.accepted, doubles, faults, log: arena.log },
  }
}

/** Gives the orders that lead to the state, once tasks run; the process that is held there, if it gets there. */
async function lead(arena: Arena, cluster: ChildProcess, blow: Blow): Promise<number | undefined> {
  const comes = async (isThere: () => boolean, patience: number) => {
    const end = Date.now() + patience * slowness()
    while (!isThere() && Date.now() < end && cluster.exitCode === null) await sleep(5)
  }
  await comes(() => existsSync(arena.ledger) || existsSync(arena.gate), RECOVERY)
  for (const order of wayTo(blow).orders ?? []) {
    if (existsSync(arena.gate)) break
    if (order === 'long') await arena.load.add(2, 3_000)
    else tell(cluster, order)
    await sleep(ORDERS[order])
  }
  await comes(() => existsSync(arena.gate), PATIENCE)
  if (!existsSync(arena.gate)) return undefined
  const pid = Number(await readFile(arena.gate, 'utf8'))
  await comes(() => pid > 0 && isStopped(pid), RECOVERY)
  return pid
}

async function strike(pid: number, { fault }: Blow, pause: number): Promise<void> {
  if (fault === 'SIGSTOP') await sleep(pause)
  else kill(pid, fault)
  kill(pid, 'SIGCONT')
}

/** Waits for all tasks, or for the end of the cluster; what is missing then. */
async function recovers(arena: Arena, exited: Promise<unknown>): Promise<string[]> {
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), RECOVERY * slowness())
  void exited.then(() => over.abort())
  const missing = await arena.load.missing(over.signal)
  clearTimeout(timer)
  return missing
}

/** Roles of which nobody came back. */
async function absentees(cluster: ChildProcess): Promise<string[]> {
  const end = Date.now() + RECOVERY * slowness()
  for (;;) {
    const absent = missingIn(await muster(cluster))
    if (absent.length === 0 || Date.now() > end || cluster.exitCode !== null)
      return absent.map((role) => `no ${role} is back`)
    await sleep(50)
  }
}

/** The roles of the processes that are at work. */
async function muster(cluster: ChildProcess): Promise<string[]> {
  const { promise, resolve } = Promise.withResolvers<string[]>()
  const noAnswer = setTimeout(resolve, 1_000, [])
  cluster.once('message', (roles: string[]) => resolve(roles))
  tell(cluster, 'muster')
  const roles = await promise
  clearTimeout(noAnswer)
  return roles
}

function missingIn(present: readonly string[]): string[] {
  const left = [...present]
  return ROLES.filter((role) => {
    const found = left.indexOf(role)
    if (found >= 0) left.splice(found, 1)
    return found < 0
  })
}

function isThere({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null
}

/** What is still there when the cluster has ended, and what its processes had left of their grace is over. */
async function leftBy(arena: Arena, exited: Promise<unknown>): Promise<string[]> {
  const patience = RECOVERY * slowness()
  const isOver = await within(patience, exited)
  const end = Date.now() + patience
  let living = arena.living()
  while (living.length > 0 && Date.now() < end) {
    await sleep(50)
    living = arena.living()
  }
  const left = living.map((pid) => `process ${pid} is left: ${titleOf(pid) || 'gone meanwhile'}`)
  return [...(isOver ? [] : ['the cluster did not end']), ...left]
}

/** A fresh cluster does what is left to do. */
async function finish(arena: Arena): Promise<string[]> {
  const cluster = arena.start()
  const exited = once(cluster, 'close')
  const missing = await recovers(arena, exited)
  tell(cluster, 'stop')
  const left = await leftBy(arena, exited)
  return [...missing.map((what) => `a fresh cluster has not done ${what}`), ...left]
}

/** Runs that were repeated although nobody was killed, nor told to end at once. */
function unexplained(blow: Blow, { interrupted, unsettled, beside }: Doubles): string[] {
  const { orders = [] } = wayTo(blow)
  const isViolent = blow.fault === 'SIGKILL' || orders.some((order) => /slay|abort|kill/.test(order))
  const count = interrupted + unsettled + beside
  return isViolent || count === 0 ? [] : [`${count} tasks were run again and nobody was killed`]
}

async function within(ms: number, exited: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController()
  const late = sleep(ms, false, { signal: timer.signal }).catch(() => false)
  const isOver = await Promise.race([exited.then(() => true), late])
  timer.abort()
  return isOver
}

function tell(cluster: ChildProcess, order: string): void {
  if (cluster.connected) cluster.send(order, () => {})
}

/** How much longer than on a free machine everything may take. */
function slowness(): number {
  return Math.min(4, Math.max(1, (loadavg()[0] ?? 0) / availableParallelism()))
}
