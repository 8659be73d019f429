/** Tasks of a group that become one: the pieces of an iter, and what says so itself by `iterCount`. */
import { defaultClient } from '../client.ts'
import { ConfigError } from '../errors.ts'
import { derivedId, isTaskId } from '../names.ts'
import type { TaskHeader } from '../package.ts'
import { show } from './define.ts'
import { cachedOf, type EnqueueOptions } from './enqueue.ts'

/** What a piece says of itself, beside the whole that it is a piece of. */
export const PIECE = {
  save: true,
  /** Seconds that pieces wait for one another: longer than any iter takes, and not for ever where one was purged. */
  cached: 30 * 24 * 3600,
} as const satisfies Partial<TaskHeader>

/**
 * What a task says that becomes one with others of its group. The whole has an id that is made of the group, so that whoever
 * enqueues a piece, wherever, means the same one.
 * @throws {ConfigError} when there is no group, or an option is wrong
 */
export function pieceOf(
  owner: string,
  { group, save, iterCount: count, iterCached, client = defaultClient() }: EnqueueOptions,
): Partial<Pick<TaskHeader, 'save' | 'cached' | 'iter'>> {
  const cached = cachedOf(`${owner}: iterCached`, iterCached)
  if (count === undefined && cached === undefined) return {}
  if (!Number.isSafeInteger(count) || (count as number) < 1)
    throw new ConfigError(
      `${owner}: iterCount must be a whole number above 0, got ${show(count)}; say how many tasks of the group become one.`,
    )
  if (save === false)
    throw new ConfigError(`${owner}: what becomes one has to be saved until then; remove save: false.`)
  if (group === undefined)
    throw new ConfigError(
      `${owner}: iterCount counts the tasks of a group; give it a group, or use asyncIter.`,
    )
  const whole = {
    id: isTaskId(group) ? group : derivedId(0, 'group', group),
    name: group,
    enqueuedAt: client.now(),
  }
  return { ...PIECE, iter: { ...whole, count: count as number, ...(cached !== undefined && { cached }) } }
}
