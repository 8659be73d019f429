/** How far a task is, as whoever waits for it sees it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../client.ts'
import type { CurrentTask } from '../stat.ts'
import { locate } from './results.ts'

/** How far a run is. */
export interface Progress extends Pick<CurrentTask, 'attempt' | 'startedAt'> {
  /** From 0 to 1, as the task said last. */
  readonly progress: number
  /** What it said with it. */
  readonly message: string
}

/** Yields each progress that is new, until the task has its last outcome. Looks at the stats of clusters, not at the task. */
export async function* progressOf(
  taskId: string,
  { client, interval }: { readonly client: Client; readonly interval: number },
): AsyncGenerator<Progress, void> {
  for (let last = ''; ; ) {
    const { run, record } = await locate(taskId, { client })
    if (record?.final) return
    const { progress, message = '', attempt = 1, startedAt = 0 } = run ?? {}
    const news = `${attempt} ${progress} ${message}`
    if (progress !== undefined && news !== last) yield { progress, message, attempt, startedAt }
    last = news
    await sleep(interval)
  }
}
