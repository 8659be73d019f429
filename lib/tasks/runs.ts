import type { Client } from '../client.ts'
import { type CurrentTask, Stat } from '../stat.ts'

/** A run that a worker shows now, and where. */
export interface CurrentRun extends CurrentTask {
  readonly clusterId: string
  readonly host: string
  /** The worker's process. */
  readonly pid: number | null
}

/** The run of a task, by its id or its human name, as the clusters' last stats show it: as old as a guard cycle. */
export async function currentRun(idOrName: string, client: Client): Promise<CurrentRun | undefined> {
  const clusters = await Stat.getAll({ client })
  return clusters.flatMap(runsOf).find(({ taskId, name }) => taskId === idOrName || name === idOrName)
}

function runsOf({ clusterId, host, processes }: Stat): CurrentRun[] {
  return processes.flatMap(({ pid, tasks }) => tasks.map((task) => ({ ...task, clusterId, host, pid })))
}
