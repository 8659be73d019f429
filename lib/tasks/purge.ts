/** Forgetting what waits in a queue, and telling those who wait for it. */
import { type Client, defaultClient } from '../client.ts'
import { TaskCancelledError } from '../errors.ts'
import { taskName } from '../names.ts'
import { Stat } from '../stat.ts'
import type { ScheduleRecord } from '../stores/schedules.ts'
import type { Outcome, SavedOutcome } from '../stores/store.ts'
import { checkName } from './define.ts'
import type { EnqueueOptions } from './enqueue.ts'
import { encodeError, toFailure } from './failure.ts'
import { type Plan, parsePlan } from './plan.ts'

/**
 * Forgets every task that waits in a queue, those of later too. What was taken goes on. Keys of unique tasks are free then,
 * and a schedule that waited for one of these tasks goes on: that task is `cancelled`.
 * @returns how many there were
 * @throws {BrokerError} when the broker cannot be reached
 * @throws {StoreError} when the store cannot be reached
 */
export async function purgeQueue({
  cluster,
  client = defaultClient(),
}: Pick<EnqueueOptions, 'cluster' | 'client'> = {}): Promise<number> {
  if (cluster !== undefined) checkName('purgeQueue(): cluster', cluster)
  const queue = cluster ?? (await client.settings()).name
  const purged = await client.atBroker((broker) => broker.purge(queue))
  await client.atStore(({ uniques }) => uniques.clear(queue))
  await endAwaited(client, queue)
  return purged
}

/** No broker says which tasks it has forgotten; one that is only about to run overwrites this when it succeeds. */
async function endAwaited(client: Client, queue: string): Promise<void> {
  const awaited = await client.atStore(({ schedules }) => schedules.awaited(queue))
  if (awaited.length === 0) return
  const running = await runningIds(client)
  const gone = awaited.filter(({ taskId }) => !running.has(taskId))
  const [records, saved] = await Promise.all([
    client.atStore(({ schedules }) => schedules.list(queue)),
    client.atStore((store) => store.fetch(gone.map(({ taskId }) => taskId))),
  ])
  const outcomes = gone.flatMap(({ taskId, scheduleId }) => {
    const record = records.find(({ id }) => id === scheduleId)
    const former = saved.find((outcome) => outcome.taskId === taskId)
    const plan = record && readPlan(record)
    return plan ? [cancelledOf(taskId, { ...record, plan }, former, client.now())] : []
  })
  if (outcomes.length > 0) await client.atStore((store) => store.save(outcomes))
}

async function runningIds(client: Client): Promise<Set<string>> {
  const clusters = await Stat.getAll({ client })
  return new Set(
    clusters.flatMap(({ processes }) => processes.flatMap(({ tasks }) => tasks.map(({ taskId }) => taskId))),
  )
}

/** Undefined where it cannot be read, which its schedule tells: that is no reason not to end the others. */
function readPlan({ plan }: ScheduleRecord): Plan | undefined {
  try {
    return parsePlan(plan)
  } catch {
    return undefined
  }
}

/** @param former how it failed before, where it waited for another attempt */
function cancelledOf(
  taskId: string,
  { queue, name: group, plan }: Pick<ScheduleRecord, 'queue' | 'name'> & { readonly plan: Plan },
  former: SavedOutcome | undefined,
  now: number,
): Outcome {
  const { func } = plan.header
  return {
    ...{ taskId, run: (former?.run ?? 0) + 1, attempt: (former?.attempt ?? 0) + 1 },
    ...{ name: plan.taskName ?? taskName(taskId), func, args: plan.args, cluster: queue },
    ...{ group: plan.header.group ?? group, enqueuedAt: former?.enqueuedAt ?? now },
    ...{ startedAt: now, stoppedAt: now, success: false, fate: 'ack' },
    result: encodeError(toFailure(new TaskCancelledError())),
  }
}
