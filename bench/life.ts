/** What it costs to start a cluster, to stop it, and to have it stand idle. Reads /proc: Linux only. */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { StartedCluster } from './cluster.ts'

export interface Life {
  /** Seconds to `running.`, from the second start on: the median of some. */
  readonly start: number
  /** Seconds of an idle stop: the median of some. */
  readonly stop: number
  /** How many processes the cluster has. */
  readonly processes: number
  /** Mebibytes of its largest worker. */
  readonly memory: number
  /** Percent of one core that all of it takes while it is idle. */
  readonly cpu: number
}

const STARTS = 3
/** Milliseconds to look at an idle cluster, after so many to calm down. */
const IDLE = 5_000
const CALM = 1_000
/** Clock ticks a second: what Linux shows to programs on every architecture that Node runs on. */
const TICKS = 100

/** Starts a cluster of 4 workers again and again in one data folder. */
export async function measureLife({ flags }: { readonly flags: readonly string[] }): Promise<Life> {
  const start = async () => {
    const cluster = new StartedCluster({ workers: 4, flags, logLevel: 'info' })
    return { cluster, started: await cluster.running }
  }
  await (await start()).cluster.stop()
  const times: { readonly started: number; readonly stopped: number }[] = []
  for (let n = 0; n < STARTS; n += 1) {
    const { cluster, started } = await start()
    times.push({ started, stopped: await cluster.stop() })
  }
  const { cluster } = await start()
  const idle = await lookAtIdle(cluster)
  await cluster.stop()
  return {
    start: medianOf(times.map(({ started }) => started)) / 1_000,
    stop: medianOf(times.map(({ stopped }) => stopped)) / 1_000,
    ...idle,
  }
}

async function lookAtIdle({ pid, workers }: StartedCluster): Promise<Omit<Life, 'start' | 'stop'>> {
  await sleep(CALM)
  const all = [pid, ...processesBelow(pid)]
  const before = ticksOf(all)
  await sleep(IDLE)
  const cpu = ((ticksOf(all) - before) / TICKS / (IDLE / 1_000)) * 100
  return { processes: all.length, memory: Math.max(...workers.map(residentMebibytes)), cpu }
}

/** What a process and all below it have used of processors, and have of memory. */
export interface Usage {
  readonly seconds: number
  /** The same, of all processes of a role together. */
  readonly secondsOf: ReadonlyMap<string, number>
  readonly mebibytes: number
}

export function usageOf(pid: number): Usage {
  const all = [pid, ...processesBelow(pid)]
  const roles = Map.groupBy(all, roleOf)
  return {
    seconds: ticksOf(all) / TICKS,
    secondsOf: new Map([...roles].map(([role, pids]) => [role, ticksOf(pids) / TICKS])),
    mebibytes: all.reduce((sum, one) => sum + residentMebibytes(one), 0),
  }
}

/** By its title; what bears none is the command. */
function roleOf(pid: number): string {
  return /^qcluster (\w+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.[1] ?? 'command'
}

/** Mebibytes of memory that a process has. */
export function residentMebibytes(pid: number): number {
  const kibibytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kibibytes) / 1_024
}

export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

function processesBelow(pid: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const children = all.map(Number).filter((child) => statOf(child)?.parent === pid)
  return children.flatMap((child) => [child, ...processesBelow(child)])
}

function ticksOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.ticks ?? 0), 0)
}

/** Undefined when it has ended meanwhile. The name stands in brackets, and may hold blanks and brackets itself. */
function statOf(pid: number): { readonly parent: number; readonly ticks: number } | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = line
      .slice(line.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    return { parent: fields[1] as number, ticks: (fields[11] as number) + (fields[12] as number) }
  } catch {
    return undefined
  }
}
