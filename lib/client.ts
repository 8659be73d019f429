/**
 * What producers share: one connection to the broker and one to the store, opened at first use. A client holds no
 * referenced handle except while somebody waits for one of its promises, so a script ends by itself.
 */
import type { Broker } from './brokers/broker.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Options, resolveSettings, type Settings } from './config.ts'
import { Connection, Lazy, Pending } from './connection.ts'
import { ConfigError } from './errors.ts'
import { sealPackage, type TaskHeader } from './package.ts'
import { Signer } from './signing.ts'
import type { Retention, SavedOutcome, Store } from './stores/store.ts'
import type { TaskFunction } from './tasks/define.ts'
import { type OutcomeOptions, Outcomes } from './tasks/outcomes.ts'
import { emit, isHeard, signalled } from './tasks/signals.ts'

/** A task to enqueue. */
export interface Submission {
  readonly header: TaskHeader
  /** The encoded arguments. */
  readonly args: string
  /** The queue; the client's own (its `name`) when absent. */
  readonly queue?: string
  /** Milliseconds before it may be handed out. */
  readonly delay?: number
}

/** Whether tasks run where they are enqueued. */
export interface Inlining {
  /** What the settings say when absent. */
  readonly sync?: boolean
  /** Those that may run, and what follows from them: what is not here is looked for in the task modules. */
  readonly functions?: readonly TaskFunction[]
}

/** What a client is made of; replaced in specs and in processes that have it already. */
export interface ClientParts {
  /** Completes the options; by default with the environment and the config file. */
  readonly resolve: (options: Options) => Promise<Settings>
  readonly makeBroker: (settings: Settings) => Promise<Broker>
  readonly makeStore: (settings: Settings, retention?: Retention) => Promise<Store>
  /** What it stamps and plans by. */
  readonly clock: Pick<Clock, 'now'>
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
  readonly #clock: ClientParts['clock']
  readonly #makeStore: ClientParts['makeStore']

  /** @param options completed by the environment and the config file, which are read at first use */
  constructor(options: Options = {}, parts: Partial<ClientParts> = {}) {
    const {
      resolve = resolveSettings,
      makeBroker = brokerOf,
      makeStore = storeOf,
      clock = systemClock,
    } = parts
    this.#clock = clock
    this.#makeStore = makeStore
    this.#identity = new Lazy(async () => identityOf(await resolve(options)))
    this.#broker = new Connection(async () => makeBroker(await this.settings()))
    this.#store = new Connection(async () => makeStore(await this.settings()))
    this.#outcomes = new Outcomes({
      store: this.#store,
      pending: this.#pending,
      listening: () => this.#listening(),
    })
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

  /** What time it is for this client: milliseconds since the epoch. */
  now(): number {
    return this.#clock.now()
  }

  /**
   * Signs tasks and hands them to the broker: all or none. Or runs them here, where that is wanted.
   * @param submissions may still be in the making; {@link close} waits for them too
   * @returns when the broker has confirmed that it keeps them
   * @throws {BrokerError} when it did not: they may be in its keeping, or not
   */
  enqueue(submissions: readonly (Submission | Promise<Submission>)[], inlining?: Inlining): Promise<void> {
    return this.#pending.hold(this.#enqueue(submissions, inlining))
  }

  /**
   * How many tasks wait in a queue; the client's own when none is named.
   * @throws {BrokerError} when the broker cannot be reached
   */
  queueSize(queue?: string): Promise<number> {
    return this.atBroker((broker, { settings: { name } }) => broker.queueSize(queue ?? name))
  }

  /**
   * Looks for the outcome of a task, by its id or its human name, and waits for it when asked to.
   * @returns undefined when there was none in time
   * @throws {StoreError} when the store cannot be reached now, or could not when the time was up
   * @throws {ResultTimeoutError} when the client was closed meanwhile
   */
  outcome(idOrName: string, options: OutcomeOptions = {}): Promise<SavedOutcome | undefined> {
    return this.#pending.hold(this.#outcomes.ofTask(idOrName, options))
  }

  /**
   * Waits until so many tasks of a group have an outcome.
   * @returns false when the time was up before
   * @throws {StoreError} as {@link outcome} does
   */
  awaitGroup(group: string, count: number, options: OutcomeOptions): Promise<boolean> {
    return this.#pending.hold(this.#outcomes.ofGroup(group, count, options))
  }

  /**
   * Does something at the store, with this client's connection.
   * @throws {StoreError} when the store cannot be reached
   */
  atStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
    return this.#pending.hold(this.#store.use(work))
  }

  /** Another store where this client has its own, for who saves what has run as the settings say. */
  async newStore(settings: Settings, retention: Retention): Promise<Store> {
    return this.#makeStore(settings, retention)
  }

  /**
   * Does something at the broker, with this client's connection and in its name.
   * @throws {BrokerError} when the broker cannot be reached
   */
  atBroker<T>(work: (broker: Broker, identity: Identity) => Promise<T>): Promise<T> {
    return this.#pending.hold(this.#atBroker(work))
  }

  /** Ends all waiting, flushes what is being enqueued, and ends every connection. */
  async close(): Promise<void> {
    this.#outcomes.dismiss()
    await this.#pending.settled()
    // Connections do not keep the process, not even while they say goodbye to their server.
    await this.#pending.hold(this.#disconnect())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #disconnect(): Promise<void> {
    try {
      await this.#outcomes.unwatch()
    } finally {
      await Promise.all([this.#broker.close(), this.#store.close()])
    }
  }

  async #atBroker<T>(work: (broker: Broker, identity: Identity) => Promise<T>): Promise<T> {
    const identity = await this.#identity.get()
    return this.#broker.use((broker) => work(broker, identity))
  }

  async #enqueue(
    submissions: readonly (Submission | Promise<Submission>)[],
    inlining: Inlining = {},
  ): Promise<void> {
    const made = await Promise.all(submissions)
    if (isHeard('preEnqueue'))
      for (const { header, args } of made) await emit('preEnqueue', signalled(header, args))
    const { settings, signer } = await this.#identity.get()
    const { sync = settings.sync, functions = [] } = inlining
    if (sync) return (await import('./roles/inline.ts')).runInline(this, made, functions)
    const batch = made.map(({ header, args, queue = settings.name, delay = 0 }) => ({
      queue,
      ...(delay > 0 && { delay }),
      package: sealPackage(this.#addressed(header), args, queue, signer),
    }))
    await this.#broker.use((broker) => broker.enqueue(batch))
  }

  /** Says in it where somebody here waits for its outcome. */
  #addressed(header: TaskHeader): TaskHeader {
    const replyTo = this.#outcomes.replyTo(header.id)
    return replyTo === undefined ? header : { ...header, replyTo }
  }

  /** The embedded broker is on the machine that its store is on. */
  async #listening(): Promise<{ broker: Connection<Broker>; signer: Signer } | undefined> {
    const { settings, signer } = await this.#identity.get()
    return settings.broker === null ? undefined : { broker: this.#broker, signer }
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

/**
 * Puts a client in the default one's place, for tests: what they test need not know of it.
 * @returns what puts the former one back
 */
export function substituteDefault(client: Client): () => void {
  const { client: former } = shared
  shared.client = client
  return () => {
    if (shared.client !== client) return
    if (former) shared.client = former
    else delete shared.client
  }
}

/** Closes the default client: see {@link Client.close}. The next use, or {@link configure}, begins anew. */
export async function close(): Promise<void> {
  const { client } = shared
  delete shared.client
  await client?.close()
}

/** Who a client is: what it goes by and what it signs with. */
export interface Identity {
  readonly settings: Settings
  readonly signer: Signer
}

function identityOf(settings: Settings): Identity {
  return { settings, signer: new Signer(settings.secretKey) }
}

/** Whoever enqueues waits while RabbitMQ is away, as long as for a confirmation. */
async function brokerOf(settings: Settings): Promise<Broker> {
  const { brokerOptionsOf, createBroker } = await import('./brokers/index.ts')
  return createBroker({ patience: settings.enqueueTimeout * 1000, ...brokerOptionsOf(settings) })
}

async function storeOf(settings: Settings, retention?: Retention): Promise<Store> {
  const { createStore, storeOptionsOf } = await import('./stores/index.ts')
  return createStore({ ...storeOptionsOf(settings), ...(retention && { retention }) })
}
