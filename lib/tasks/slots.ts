/** Tasks of schedules: how a slot becomes one, and how it gets to the broker. */
import type { Client } from '../client.ts'
import { derivedId, taskName } from '../names.ts'
import type { TaskHeader } from '../package.ts'
import type { ScheduledTask, ScheduleRecord } from '../stores/schedules.ts'
import { decode, encode, pack } from './codec.ts'
import type { Plan } from './plan.ts'
import { enqueueUnique, type UniqueRule } from './unique.ts'

/** What decides whether arguments fit. */
type Limits = Parameters<typeof pack>[2]

/**
 * The task of a slot, made now. Whoever makes it makes the same one.
 * @param after the task that must be over first
 * @throws {SerializationError} when its arguments cannot be read, or are too large with the time in them
 */
export function taskOfSlot(
  { id: scheduleId, queue, name }: Pick<ScheduleRecord, 'id' | 'queue' | 'name'>,
  plan: Plan,
  { at, now }: { readonly at: number; readonly now: number },
  limits: Limits,
  after: string | null = null,
): ScheduledTask {
  const id = derivedId(at, scheduleId, plan.revision)
  const header: TaskHeader = {
    ...{ group: name, ...plan.header },
    ...{ id, name: plan.taskName ?? taskName(id), enqueuedAt: now },
  }
  const { unique } = plan
  const kept: Kept = { header, ...(unique && { unique }) }
  return {
    taskId: id,
    queue,
    scheduleId,
    header: JSON.stringify(kept),
    args: argsAt(plan, at, limits),
    after,
  }
}

/**
 * Hands a task to the broker, and notes that it has it. Whoever is killed in between leaves it to be handed over again.
 * @throws {BrokerError} when it does not take it
 */
export async function publish(
  client: Client,
  { taskId, queue, header, args }: ScheduledTask,
): Promise<TaskHeader> {
  const kept = JSON.parse(header) as Kept
  const submission = { header: kept.header, args, queue }
  // Where another one is there already, the slot has what it wanted.
  if (kept.unique) await enqueueUnique(client, [submission], kept.unique)
  else await client.enqueue([submission])
  await client.atStore(({ schedules }) => schedules.settle([taskId]))
  return kept.header
}

/** What the store keeps of a task beside its arguments. */
interface Kept {
  readonly header: TaskHeader
  readonly unique?: UniqueRule
}

function argsAt({ args, intendedDateKwarg, header }: Plan, at: number, limits: Limits): string {
  if (intendedDateKwarg === undefined) return args
  const dated = withDate(decode(args) as unknown[], intendedDateKwarg, new Date(at).toISOString())
  return pack(encode(dated, 'args'), `The arguments of "${header.func}"`, limits)
}

/** JavaScript has no keyword arguments: the last argument takes their place where it is a plain object. */
function withDate(args: readonly unknown[], key: string, date: string): unknown[] {
  const last = args.at(-1)
  return isPlain(last) ? [...args.slice(0, -1), { ...last, [key]: date }] : [...args, { [key]: date }]
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
