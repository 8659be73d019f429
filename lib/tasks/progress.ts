/** How far a task is, as whoever waits for it sees it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, defaultClient } from '../client.ts'
import { ConfigError } from '../errors.ts'
import type { CurrentTask } from '../stat.ts'
import { show } from './define.ts'
import { locate } from './results.ts'

/** How far a run is. */
export interface Progress extends Pick<CurrentTask, 'attempt' | 'startedAt'> {
  /** From 0 to 1, as the task said last. */
  readonly progress: number
  /** What it said with it. */
  readonly message: string
}

/** How to look, and for how long. */
export interface ProgressOptions {
  /** Milliseconds between two looks; 500 by default, which is how often clusters show it. */
  readonly interval?: number
  /** Ends the looking: the iteration rejects with its reason. */
  readonly signal?: AbortSignal
  /** Instead of the default client. */
  readonly client?: Client
}

/**
 * Tells how far a task is, each time that it says something new, until it has its last outcome: see `currentTask().progress`.
 * Looks at what clusters show of their runs, so of what a task says in quick succession the last is seen. Where that
 * outcome is never saved (the task was purged, or its success is not kept), only the signal ends it.
 *
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @throws {ConfigError} when the interval is none
 * @throws {BrokerError} when the broker cannot be reached
 * @throws {StoreError} when the store cannot be reached
 *
 * @example
 * for await (const { progress, message } of progress(id, { signal: AbortSignal.timeout(60_000) })) …
 */
export function progress(
  idOrName: string,
  { interval = 500, signal, client = defaultClient() }: ProgressOptions = {},
): AsyncGenerator<Progress, void> {
  if (!(interval >= 0 && Number.isFinite(interval)))
    throw new ConfigError(
      `interval must be milliseconds, 0 or more, got ${show(interval)}; correct or remove it.`,
    )
  return looks(idOrName, interval, signal, client)
}

async function* looks(
  idOrName: string,
  interval: number,
  signal: AbortSignal | undefined,
  client: Client,
): AsyncGenerator<Progress, void> {
  for (let last = ''; ; ) {
    signal?.throwIfAborted()
    const { run, record } = await locate(idOrName, { client })
    if (record?.final) return
    const { progress, message = '', attempt = 1, startedAt = 0 } = run ?? {}
    const news = `${attempt} ${progress} ${message}`
    if (progress !== undefined && news !== last) yield { progress, message, attempt, startedAt }
    last = news
    await pause(interval, signal)
  }
}

/** Rejects with the signal's own reason, which the timer wraps. */
async function pause(interval: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(interval, undefined, signal && { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}
