/**
 * What producers share: one connection to the broker and one to the store, opened at first use. A client holds no
 * referenced handle except while somebody waits for one of its promises, so a script ends by itself.
 */
import type { Broker } from './brokers/broker.ts'
import { type Options, resolveSettings, type Settings } from './config.ts'
import { ConfigError, ResultTimeoutError } from './errors.ts'
import { sealPackage, type TaskHeader } from './package.ts'
import { Signer } from './signing.ts'
import type { SavedOutcome, Store } from './stores/store.ts'

/** A task to enqueue. */
export interface Submission {
  readonly header: TaskHeader
  /** The encoded arguments. */
  readonly args: string
  /** The queue; the client's own (its `name`) when absent. */
  readonly queue?: string
}

export interface OutcomeOptions {
  /** Milliseconds to wait; 0, the default: look once. Infinity: as long as it takes. */
  readonly wait?: number
  /** Only the last outcome counts: not a failure that will be tried again. */
  readonly final?: boolean
}

/** What a client is made of; replaced in specs and in processes that have it already. */
export interface ClientParts {
  /** Completes the options; by default with the environment and the config file. */
  readonly resolve: (options: Options) => Promise<Settings>
  readonly makeBroker: (settings: Settings) => Promise<Broker>
  readonly makeStore: (settings: Settings) => Promise<Store>
}

/**
 * Enqueues tasks and looks for their outcomes. It opens what it needs when it needs it, and a closed one opens again.
 *
 * @example
 * await using client = new Client({ name: 'mail' })
 * await asyncTask(send, ['ann@example.org'], { client })
 */
export class Client {
  readonly #identity: Lazy<Identity>
  readonly #broker: Connection<Broker>
  readonly #store: Connection<Store>
  readonly #outcomes: Outcomes
  readonly #pending = new Pending()

  /** @param options completed by the environment and the config file, which are read at first use */
  constructor(options: Options = {}, parts: Partial<ClientParts> = {}) {
    const { resolve = resolveSettings, makeBroker = brokerOf, makeStore = storeOf } = parts
    this.#identity = new Lazy(async () => identityOf(await resolve(options)))
    this.#broker = new Connection(async () => makeBroker(await this.settings()))
    this.#store = new Connection(async () => makeStore(await this.settings()))
    this.#outcomes = new Outcomes(this.#store, this.#pending)
  }

  /** A client for a process of a cluster, which is given settings that are complete. */
  static of(settings: Settings): Client {
    return new Client(settings, { resolve: async () => settings })
  }

  /**
   * The complete settings.
   * @throws {ConfigError} when the options, the environment or the config file are wrong
   */
  async settings(): Promise<Settings> {
    return (await this.#identity.get()).settings
  }

  /**
   * Signs tasks and hands them to the broker: all or none.
   * @param submissions may still be in the making; {@link close} waits for them too
   * @returns when the broker has confirmed that it keeps them
   * @throws {BrokerError} when it did not: they may be in its keeping, or not
   */
  enqueue(submissions: readonly (Submission | Promise<Submission>)[]): Promise<void> {
    return this.#pending.hold(this.#enqueue(submissions))
  }

  /**
   * Looks for the outcome of a task, by its id or its human name, and waits for it when asked to.
   * @returns undefined when there was none in time
   * @throws {StoreError} when the store cannot be reached now, or could not when the time was up
   * @throws {ResultTimeoutError} when the client was closed meanwhile
   */
  outcome(idOrName: string, options: OutcomeOptions = {}): Promise<SavedOutcome | undefined> {
    return this.#pending.hold(this.#outcomes.get(idOrName, options))
  }

  /** Ends all waiting, flushes what is being enqueued, and ends every connection. */
  async close(): Promise<void> {
    this.#outcomes.dismiss()
    await this.#pending.settled()
    try {
      await this.#outcomes.unwatch()
    } finally {
      await Promise.all([this.#broker.close(), this.#store.close()])
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #enqueue(submissions: readonly (Submission | Promise<Submission>)[]): Promise<void> {
    const made = await Promise.all(submissions)
    const { settings, signer } = await this.#identity.get()
    const batch = made.map(({ header, args, queue = settings.name }) => ({
      queue,
      package: sealPackage(header, args, queue, signer),
    }))
    await this.#broker.use((broker) => broker.enqueue(batch))
  }
}

const shared: { given?: Options | Client; offered?: Options; client?: Client } = {}

/**
 * Says what the process's default client goes by. Without it, that is what the first `new Cluster` was given, else the
 * environment and the config file.
 *
 * @param given options, or a client of your own to be used as it is
 * @throws {ConfigError} when the default client is in use: tasks may have gone elsewhere already
 */
export function configure(given: Options | Client): void {
  if (shared.client)
    throw new ConfigError(
      'configure() came after the default client was first used; call it before, or close() the client first.',
    )
  shared.given = given
}

/** What the default client goes by when nobody calls {@link configure}; the first offer counts. */
export function offerDefaults(options: Options): void {
  shared.offered ??= options
}

/** The client of all who name no other. */
export function defaultClient(): Client {
  const { given } = shared
  shared.client ??= given instanceof Client ? given : new Client(given ?? shared.offered)
  return shared.client
}

/** Closes the default client: see {@link Client.close}. The next use, or {@link configure}, begins anew. */
export async function close(): Promise<void> {
  const { client } = shared
  delete shared.client
  await client?.close()
}

/** Who a client is: what it goes by and what it signs with. */
interface Identity {
  readonly settings: Settings
  readonly signer: Signer
}

function identityOf(settings: Settings): Identity {
  return { settings, signer: new Signer(settings.secretKey) }
}

async function brokerOf({ dataDir, durability, poll }: Settings): Promise<Broker> {
  const { createBroker } = await import('./brokers/index.ts')
  return createBroker({ dataDir, durability, pollInterval: poll * 1000 })
}

async function storeOf({ dataDir, durability }: Settings): Promise<Store> {
  const { createStore } = await import('./stores/index.ts')
  return createStore({ dataDir, durability })
}

/** Something that is made once, when first asked for. A failure is forgotten: the next to ask tries again. */
class Lazy<T> {
  readonly #make: () => Promise<T>
  #made: Promise<T> | undefined

  constructor(make: () => Promise<T>) {
    this.#make = make
  }

  get(): Promise<T> {
    this.#made ??= this.#attempt()
    return this.#made
  }

  /** Forgets what was made, and returns it. */
  take(): Promise<T> | undefined {
    const made = this.#made
    this.#made = undefined
    return made
  }

  async #attempt(): Promise<T> {
    try {
      return await this.#make()
    } catch (error) {
      this.take()
      throw error
    }
  }
}

/** A broker or a store, connected at first use, and again at the first use after a failure. */
class Connection<TPort extends Broker | Store> {
  readonly #port: Lazy<TPort>
  readonly #connected: Lazy<TPort>

  constructor(make: () => Promise<TPort>) {
    this.#port = new Lazy(make)
    this.#connected = new Lazy(() => this.#connect())
  }

  async use<T>(work: (port: TPort) => Promise<T>): Promise<T> {
    const port = await this.#connected.get()
    try {
      return await work(port)
    } catch (error) {
      this.#connected.take()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#connected.take()
    const port = await this.#port.take()
    await port?.close()
  }

  async #connect(): Promise<TPort> {
    const port = await this.#port.get()
    await port.connect()
    return port
  }
}

/** Work that a close waits for. It keeps the process alive, for neither a broker's nor a store's handles do. */
class Pending {
  readonly #works = new Set<Promise<unknown>>()
  #alive: NodeJS.Timeout | undefined

  async hold<T>(work: Promise<T>): Promise<T> {
    this.#works.add(work)
    this.#alive ??= setInterval(() => {}, LONGEST_TIMER)
    try {
      return await work
    } finally {
      this.#works.delete(work)
      if (this.#works.size === 0) this.#release()
    }
  }

  async settled(): Promise<void> {
    while (this.#works.size > 0) await Promise.allSettled(this.#works)
  }

  #release(): void {
    clearInterval(this.#alive)
    this.#alive = undefined
  }
}

/** Somebody who waits for the outcome of one task. */
interface Waiter {
  readonly final: boolean
  readonly resolve: (record: SavedOutcome | undefined) => void
  readonly reject: (error: unknown) => void
  /** Why the last look failed; undefined when it did not. */
  failure?: unknown
}

/** All looks of one turn of the event loop: one query. */
interface Round {
  readonly keys: Set<string>
  readonly records: Promise<Map<string, SavedOutcome>>
}

/** A wake-up can be lost with the process that should have sent it, so whoever waits also looks this often. */
const LOOK_INTERVAL = 1_000
/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const LONGEST_TIMER = 2_147_483_647

/** Looks for outcomes by id or name. All who wait share one watcher of the store, one slow look, and queries. */
class Outcomes {
  readonly #store: Connection<Store>
  readonly #pending: Pending
  readonly #watcher: Lazy<{ stop(): Promise<void> }>
  readonly #waiters = new Map<string, Set<Waiter>>()
  #looking: NodeJS.Timeout | undefined
  #round: Round | undefined

  constructor(store: Connection<Store>, pending: Pending) {
    this.#store = store
    this.#pending = pending
    this.#watcher = new Lazy(() => store.use((port) => port.watch((ids) => this.#wake(ids))))
  }

  async get(key: string, { wait = 0, final = false }: OutcomeOptions): Promise<SavedOutcome | undefined> {
    if (wait > 0) return this.#wait(key, wait, final)
    const record = await this.#look(key)
    return record && answers(record, final) ? record : undefined
  }

  /** Sends everybody who waits away. */
  dismiss(): void {
    for (const [key, waiters] of this.#waiters)
      for (const { reject } of waiters) reject(closedWhileWaiting(key))
  }

  async unwatch(): Promise<void> {
    const watcher = await this.#watcher.take()
    await watcher?.stop()
  }

  async #wait(key: string, wait: number, final: boolean): Promise<SavedOutcome | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<SavedOutcome | undefined>()
    const waiter: Waiter = { final, resolve, reject }
    const deadline = wait > LONGEST_TIMER ? undefined : setTimeout(() => expire(waiter), wait)
    this.#join(key, waiter)
    // Whoever comes hears at once of a store that cannot be reached; whoever waits sits its outage out.
    this.#check(key).catch(reject)
    try {
      return await promise
    } finally {
      clearTimeout(deadline)
      this.#leave(key, waiter)
    }
  }

  #join(key: string, waiter: Waiter): void {
    const waiters = this.#waiters.get(key) ?? new Set()
    this.#waiters.set(key, waiters.add(waiter))
    this.#looking ??= setInterval(() => this.#recheck(this.#waiters.keys()), LOOK_INTERVAL)
  }

  #leave(key: string, waiter: Waiter): void {
    const waiters = this.#waiters.get(key)
    waiters?.delete(waiter)
    if (waiters?.size === 0) this.#waiters.delete(key)
    if (this.#waiters.size > 0) return
    clearInterval(this.#looking)
    this.#looking = undefined
  }

  /** A name stands for no id until its task is saved, so every wake-up may be meant for it. */
  #wake(ids: readonly string[]): void {
    this.#recheck(ids.filter((id) => this.#waiters.has(id)))
    this.#recheck([...this.#waiters.keys()].filter((key) => !isId(key)))
  }

  #recheck(keys: Iterable<string>): void {
    for (const key of keys) this.#check(key).catch((failure) => this.#note(key, failure))
  }

  #check(key: string): Promise<void> {
    return this.#pending.hold(this.#answer(key))
  }

  /** Watches before it looks: what is saved in between is then seen twice rather than never. */
  async #answer(key: string): Promise<void> {
    await this.#watcher.get()
    const record = await this.#look(key)
    this.#note(key, undefined)
    for (const { final, resolve } of this.#waiters.get(key) ?? [])
      if (record && answers(record, final)) resolve(record)
  }

  #note(key: string, failure: unknown): void {
    for (const waiter of this.#waiters.get(key) ?? []) waiter.failure = failure
  }

  async #look(key: string): Promise<SavedOutcome | undefined> {
    this.#round ??= this.#begin(new Set())
    const { keys, records } = this.#round
    keys.add(key)
    return (await records).get(key)
  }

  #begin(keys: Set<string>): Round {
    return { keys, records: this.#query(keys) }
  }

  async #query(keys: Set<string>): Promise<Map<string, SavedOutcome>> {
    await endOfTurn()
    this.#round = undefined
    return this.#store.use((store) => find(store, [...keys]))
  }
}

/** Lets all that is ready to run go first. */
function endOfTurn(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

function answers(record: SavedOutcome, final: boolean): boolean {
  return record.final || !final
}

function expire({ failure, resolve, reject }: Waiter): void {
  if (failure === undefined) resolve(undefined)
  else reject(failure)
}

function closedWhileWaiting(key: string): ResultTimeoutError {
  return new ResultTimeoutError(
    `The client was closed while waiting for the task ${key}, which may still finish; wait for it before close().`,
  )
}

async function find(store: Store, keys: readonly string[]): Promise<Map<string, SavedOutcome>> {
  const [ids, names] = [keys.filter(isId), keys.filter((key) => !isId(key))]
  const byId = ids.length > 0 ? await store.fetch(ids) : []
  const byName = await Promise.all(names.map((name) => store.fetchByName(name)))
  return new Map([
    ...byId.map((record) => [record.taskId, record] as const),
    ...byName.flatMap((record) => (record ? [[record.name, record] as const] : [])),
  ])
}

function isId(key: string): boolean {
  return /^[0-9a-f]{32}$/.test(key)
}
