import { type Client, defaultClient } from '../client.ts'
import { ConfigError } from '../errors.ts'
import type { SavedOutcome } from '../stores/store.ts'
import { checkName } from './define.ts'

/**
 * Enqueues a task once more that has failed, was cancelled or has expired: under its id, as its next run, with all its
 * attempts and the limits that its function was defined with. A dead letter of it stays where it is.
 *
 * @param idOrName the task's id (32 hex digits), or its human name: then the newest task of that name
 * @returns false when nothing is saved of it
 * @throws {ConfigError} when it has succeeded, or will be tried again anyway
 */
export async function retryTask(
  idOrName: string,
  { client = defaultClient() }: { readonly client?: Client } = {},
): Promise<boolean> {
  const outcome = await client.outcome(checkName('The id or name of a task', idOrName))
  if (!outcome) return false
  if (outcome.success || !outcome.final) throw notFailed(outcome)
  const { taskId: id, run, name, func, group, args, cluster: queue } = outcome
  const header = { id, run: run + 1, attempt: 1, name, func, enqueuedAt: client.now() }
  await client.enqueue([{ header: { ...header, ...(group !== undefined && { group }) }, args, queue }])
  return true
}

function notFailed({ name, success }: SavedOutcome): ConfigError {
  const got = success ? 'one that has succeeded' : 'one that will be tried again'
  return new ConfigError(
    `Expected a task that has failed for good, got ${got} ("${name}"); to run it once more, enqueue a new one.`,
  )
}
