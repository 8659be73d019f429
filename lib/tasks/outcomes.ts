/**
 * Looks for outcomes, and waits for them without polling: they come over the broker, or the store wakes whoever watches
 * it. All who wait share one watcher, one slow look, and queries.
 */
import { type Connection, Lazy, LONGEST_TIMER, type Pending } from '../connection.ts'
import { ResultTimeoutError } from '../errors.ts'
import { isTaskId } from '../names.ts'
import type { Tidings } from '../notices.ts'
import type { GroupCounts, SavedOutcome, Store } from '../stores/store.ts'
import { News, type NewsOptions } from './news.ts'

export interface OutcomeOptions {
  /** Milliseconds to wait; 0, the default: look once. Infinity: as long as it takes. */
  readonly wait?: number
  /** Only the last outcome counts: not a failure that will be tried again. */
  readonly final?: boolean
}

export interface OutcomesOptions {
  readonly store: Connection<Store>
  readonly pending: Pending
  /** What it takes to hear of outcomes over the broker; undefined where the store wakes whoever waits. */
  readonly listening: () => Promise<Pick<NewsOptions, 'broker' | 'signer'> | undefined>
}

/** Looks for outcomes of tasks by id or name, and for those of groups. */
export class Outcomes {
  readonly #store: Connection<Store>
  readonly #pending: Pending
  readonly #watcher: Lazy<Watcher>
  readonly #waiters = new Map<Key, Set<Waiter>>()
  #looking: NodeJS.Timeout | undefined
  #round: Round | undefined
  #news: News | undefined
  #waitedAt = Number.NEGATIVE_INFINITY
  #rounds = 0

  constructor({ store, pending, listening }: OutcomesOptions) {
    this.#store = store
    this.#pending = pending
    this.#watcher = new Lazy(async () => {
      const options = await listening()
      return options ? this.#listen(options) : store.use((port) => port.watch((ids) => this.#wake(ids)))
    })
  }

  /** Where the outcomes of a task are to be sent that is about to be enqueued: to us while somebody here waits for such. */
  replyTo(taskId: string): string | undefined {
    const isWaiting = this.#waiters.size > 0 || performance.now() - this.#waitedAt < EAGER
    return isWaiting ? this.#news?.addressFor(taskId) : undefined
  }

  /** The outcome of a task; undefined when there was none in time. */
  ofTask(idOrName: string, { wait = 0, final = false }: OutcomeOptions): Promise<SavedOutcome | undefined> {
    return this.#get<SavedOutcome>(idOrName, wait, (record) => record.final || !final)
  }

  /** Whether so many tasks of a group have an outcome in time. */
  async ofGroup(group: string, count: number, { wait = 0, final = false }: OutcomeOptions): Promise<boolean> {
    const isEnough = ({ successes, failures, retrying }: GroupCounts) =>
      successes + failures - (final ? retrying : 0) >= count
    return (await this.#get<GroupCounts>(groupKey(group), wait, isEnough)) !== undefined
  }

  /** Sends everybody who waits away. */
  dismiss(): void {
    for (const [key, waiters] of this.#waiters)
      for (const { reject } of waiters) reject(closedWhileWaiting(key))
  }

  async unwatch(): Promise<void> {
    const watcher = await this.#watcher.take()
    this.#news = undefined
    await watcher?.stop()
  }

  #listen(options: Pick<NewsOptions, 'broker' | 'signer'>): Watcher {
    this.#news = new News({
      ...options,
      onTidings: (tidings) => this.#hear(tidings),
      onGap: () => this.#recheck(this.#waiters.keys()),
    })
    return this.#news
  }

  async #get<F extends Found>(key: Key, wait: number, isIt: (found: F) => boolean): Promise<F | undefined> {
    const answers = isIt as (found: Found) => boolean
    if (wait > 0) return this.#wait(key, wait, answers) as Promise<F | undefined>
    const found = await this.#look(key)
    return found && answers(found) ? (found as F) : undefined
  }

  async #wait(key: Key, wait: number, answers: Waiter['answers']): Promise<Found | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<Found | undefined>()
    const waiter: Waiter = { answers, resolve, reject }
    const deadline = wait > LONGEST_TIMER ? undefined : setTimeout(() => expire(waiter), wait)
    this.#join(key, waiter)
    // Whoever comes hears at once of a store that cannot be reached; whoever waits sits its outage out.
    if (!this.#news?.isToBeTold(key)) this.#check(key).catch(reject)
    try {
      return await promise
    } finally {
      clearTimeout(deadline)
      this.#leave(key, waiter)
    }
  }

  #join(key: Key, waiter: Waiter): void {
    const waiters = this.#waiters.get(key) ?? new Set()
    this.#waiters.set(key, waiters.add(waiter))
    this.#waitedAt = performance.now()
    this.#looking ??= setInterval(() => this.#lookAgain(), LOOK_INTERVAL)
  }

  #leave(key: Key, waiter: Waiter): void {
    const waiters = this.#waiters.get(key)
    waiters?.delete(waiter)
    if (waiters?.size === 0) this.#waiters.delete(key)
    this.#waitedAt = performance.now()
    if (this.#waiters.size > 0) return
    clearInterval(this.#looking)
    this.#looking = undefined
    this.#news?.tidy([])
  }

  /** Whoever the broker tells need hardly look. */
  #lookAgain(): void {
    const keys = [...this.#waiters.keys()]
    this.#news?.tidy(keys)
    this.#rounds += 1
    const isSlow = this.#rounds % SLOW_ROUND === 0
    this.#recheck(isSlow ? keys : keys.filter((key) => !this.#news?.hears(key)))
  }

  #hear({ outcomes, ids, groups }: Tidings): void {
    for (const outcome of outcomes) this.#serve(outcome.taskId, outcome)
    this.#recheck([...ids, ...groups.map(groupKey)].filter((key) => this.#waiters.has(key)))
    if (ids.length > 0)
      this.#recheck([...this.#waiters.keys()].filter((key) => !isTaskId(key) && !isGroup(key)))
  }

  /** A wake-up names ids, so one for which somebody waits by name or group may be among them. */
  #wake(ids: readonly string[]): void {
    this.#recheck(ids.filter((id) => this.#waiters.has(id)))
    this.#recheck([...this.#waiters.keys()].filter((key) => !isTaskId(key)))
  }

  #recheck(keys: Iterable<Key>): void {
    for (const key of keys) this.#check(key).catch((failure) => this.#note(key, failure))
  }

  #check(key: Key): Promise<void> {
    return this.#pending.hold(this.#answer(key))
  }

  /** Watches before it looks: what is saved in between is then seen twice rather than never. */
  async #answer(key: Key): Promise<void> {
    await this.#watcher.get()
    this.#news?.attend(key)
    const found = await this.#look(key)
    this.#note(key, undefined)
    if (found) this.#serve(key, found)
  }

  #serve(key: Key, found: Found): void {
    for (const { answers, resolve } of this.#waiters.get(key) ?? []) if (answers(found)) resolve(found)
  }

  #note(key: Key, failure: unknown): void {
    for (const waiter of this.#waiters.get(key) ?? []) waiter.failure = failure
  }

  async #look(key: Key): Promise<Found | undefined> {
    this.#round ??= this.#begin(new Set())
    const { keys, found } = this.#round
    keys.add(key)
    return (await found).get(key)
  }

  #begin(keys: Set<Key>): Round {
    return { keys, found: this.#query(keys) }
  }

  async #query(keys: Set<Key>): Promise<Map<Key, Found>> {
    await endOfTurn()
    this.#round = undefined
    return this.#store.use((store) => find(store, [...keys]))
  }
}

/** What is looked for: a task's id, its name, or a group's. */
type Key = string

type Found = SavedOutcome | GroupCounts

/** Somebody who waits for something. */
interface Waiter {
  /** Whether this is what is waited for. */
  readonly answers: (found: Found) => boolean
  readonly resolve: (found: Found | undefined) => void
  readonly reject: (error: unknown) => void
  /** Why the last look failed; undefined when it did not. */
  failure?: unknown
}

/** What makes it unnecessary to look again and again. */
interface Watcher {
  stop(): void | Promise<void>
}

/** All looks of one turn of the event loop: one query. */
interface Round {
  readonly keys: Set<Key>
  readonly found: Promise<Map<Key, Found>>
}

/** A wake-up can be lost with the process that should have sent it, so whoever waits also looks this often. */
const LOOK_INTERVAL = 1_000
/** Of so many looks only one is for what is heard of over the broker. */
const SLOW_ROUND = 5
/** Milliseconds after a wait in which outcomes are still sent to us. */
const EAGER = 10_000

/** Lets all that is ready to run go first. */
function endOfTurn(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

function expire({ failure, resolve, reject }: Waiter): void {
  if (failure === undefined) resolve(undefined)
  else reject(failure)
}

function closedWhileWaiting(key: Key): ResultTimeoutError {
  const what = isGroup(key) ? `tasks of the group ${groupOf(key)}` : `the task ${key}`
  return new ResultTimeoutError(
    `The client was closed while waiting for ${what}, which may still finish; wait for it before close().`,
  )
}

async function find(store: Store, keys: readonly Key[]): Promise<Map<Key, Found>> {
  const byId = keys.filter(isTaskId)
  const others = keys.filter((key) => !isTaskId(key))
  const records = byId.length > 0 ? await store.fetch(byId) : []
  const found = await Promise.all(others.map(async (key) => [key, await findOne(store, key)] as const))
  return new Map([
    ...records.map((record) => [record.taskId, record] as const),
    ...found.flatMap(([key, one]) => (one ? [[key, one] as const] : [])),
  ])
}

function findOne(store: Store, key: Key): Promise<Found | undefined> {
  return isGroup(key) ? store.countGroup(groupOf(key)) : store.fetchByName(key)
}

/** No id and no name has a line feed in it. */
const GROUP = 'group\n'

const groupKey = (group: string): Key => GROUP + group
const groupOf = (key: Key): string => key.slice(GROUP.length)
const isGroup = (key: Key): boolean => key.startsWith(GROUP)
