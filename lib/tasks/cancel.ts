/** Cancels tasks, from anywhere, wherever they are. */
import { type Client, defaultClient } from '../client.ts'
import { control } from '../control.ts'
import { BrokerError, ConfigError } from '../errors.ts'
import { isTaskId } from '../names.ts'
import type { CancelTarget } from '../stores/cancellations.ts'
import { checkName, show } from './define.ts'

/** Whom to ask. */
export interface CancelOptions {
  /** Instead of the default client. */
  readonly client?: Client
}

/**
 * Cancels tasks. One that waits never starts, also where it is delayed or to be tried again; one that runs is told by its
 * abort signal (`currentTask().signal`), and its process is killed when it does not heed that. Its record says `cancelled`
 * as soon as a cluster has come to it. What has ended stays as it is.
 *
 * @param taskIds one id of 32 hex digits, or several
 * @throws {ConfigError} when one is no id; nothing is cancelled then
 * @throws {StoreError} when the store cannot be reached; nothing is cancelled then
 */
export async function cancelTask(
  taskIds: string | readonly string[],
  options: CancelOptions = {},
): Promise<void> {
  await cancelAll(
    [taskIds].flat().map((taskId) => ({ taskId: checkId(taskId) })),
    options,
  )
}

/**
 * Cancels all tasks of a group that are enqueued by now: see {@link cancelTask}. The clock of whoever enqueued them counts.
 * @throws {StoreError} when the store cannot be reached; nothing is cancelled then
 */
export async function cancelGroup(group: string, options: CancelOptions = {}): Promise<void> {
  await cancelAll([{ group: checkName('The name of a group', group) }], options)
}

/** What waits is not found by its name. */
function checkId(taskId: string): string {
  if (isTaskId(taskId)) return taskId
  throw new ConfigError(
    `Expected the id of a task to cancel, 32 hex digits, got ${show(taskId)}; what enqueued it was told its id.`,
  )
}

/** Milliseconds that the answers of clusters are waited for. */
const PATIENCE = 2_000

async function cancelAll(
  targets: readonly CancelTarget[],
  { client = defaultClient() }: CancelOptions,
): Promise<void> {
  const at = client.now()
  await client.atStore((store) => store.cancellations.add(targets.map((target) => ({ ...target, at }))))
  try {
    await control('cancel', { client, patience: PATIENCE })
  } catch (error) {
    // It is kept: clusters look for it as soon as they are there again.
    if (!(error instanceof BrokerError)) throw error
  }
}
