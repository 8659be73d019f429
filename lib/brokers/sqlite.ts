/** The embedded broker: what is in flight lives in `queue.db` in the data folder, shared by any number of processes. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeRuntimeDirectory, type RuntimeDirectory } from '../directory.ts'
import { type Doorbell, hangDoorbell } from '../doorbell.ts'
import { BrokerError } from '../errors.ts'
import { type Durability, SqliteFile } from '../sqlite.ts'
import type {
  Broker,
  ConsumeOptions,
  Consumer,
  ControlRequest,
  DeadLetter,
  DeadLetterFate,
  Enqueued,
  Listener,
  ListenOptions,
} from './broker.ts'
import { Bells } from './sqlite-bells.ts'
import { SqliteBus } from './sqlite-bus.ts'
import { BATCH, releaseAbandoned, type Shared, SqliteConsumer } from './sqlite-consumer.ts'
import { MIGRATIONS, QueueTables } from './sqlite-tables.ts'

export interface SqliteBrokerOptions {
  /** The folder that holds `queue.db`; made when there is none. */
  readonly dataDir: string
  /** `normal`, the default, survives the death of every process; `full` a power cut too. */
  readonly durability?: Durability
  /** Milliseconds between two looks into the file, for when no doorbell rings; 200 by default, and longer while nothing comes. */
  readonly pollInterval?: number
  /**
   * Milliseconds after which what a consumer holds is given to others, when it shows no sign of life and nobody can
   * know whether it is dead; 10,000 by default. The same in all processes.
   */
  readonly leaseTime?: number
}

/** Makes a broker over `queue.db` in the data folder; nothing is opened before `connect()`. */
export function sqliteBroker(options: SqliteBrokerOptions): Broker {
  return new SqliteBroker(options)
}

class SqliteBroker implements Broker {
  readonly #shared: Shared
  readonly #bus: SqliteBus
  #directory: RuntimeDirectory | undefined

  constructor({
    dataDir,
    durability = 'normal',
    pollInterval = 200,
    leaseTime = 10_000,
  }: SqliteBrokerOptions) {
    const path = join(dataDir, 'queue.db')
    const file = new SqliteFile({ path, durability, migrations: MIGRATIONS, Failure: BrokerError })
    const tables = new QueueTables(file)
    const bells = new Bells(file, tables)
    const timing = { pollInterval, leaseTime }
    this.#shared = { file, tables, bells, ...timing, consumers: new Set(), abandoned: new Map() }
    this.#bus = new SqliteBus(file, (name, onRing) => this.#hangDoorbell(name, onRing))
  }

  connect(): Promise<void> {
    return this.#shared.file.connect()
  }

  async close(): Promise<void> {
    const { file, bells, consumers } = this.#shared
    file.hurry()
    await this.#bus.close()
    await Promise.all([...consumers].map((consumer) => consumer.leave()))
    // When it cannot be done, others take over what we held: at once when this process ends, else after the lease time.
    if (file.isOpen) await releaseAbandoned(this.#shared).catch(() => {})
    bells.close()
    await file.close()
    this.#directory?.remove()
    this.#directory = undefined
  }

  async ping(): Promise<void> {
    const { file, tables } = this.#shared
    await file.read(() => tables.untilDue('', ['normal']))
  }

  async info(): Promise<string> {
    return `SQLite ${await this.#shared.file.version()}`
  }

  async enqueue(batch: readonly Enqueued[]): Promise<void> {
    const { file, tables, bells } = this.#shared
    await file.write(() => tables.insertAll(batch), batch.length)
    for (const { queue } of batch) bells.ring(queue)
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    await releaseAbandoned(this.#shared)
    const consumer = new SqliteConsumer(options, this.#shared)
    await consumer.open(await this.#hangDoorbell(consumer.name, () => consumer.look()))
    return consumer
  }

  queueSize(queue: string): Promise<number> {
    const { file, tables } = this.#shared
    return file.read(() => tables.countWaiting(queue))
  }

  lockSize(queue: string): Promise<number> {
    const { file, tables } = this.#shared
    return file.read(() => tables.countHeld(queue))
  }

  async purge(queue: string): Promise<number> {
    const { file, tables } = this.#shared
    let purged = 0
    for (;;) {
      const count = await file.write(() => tables.deleteWaiting(queue, BATCH), BATCH)
      purged += count
      if (count === 0) return purged
    }
  }

  async deleteQueue(queue: string): Promise<void> {
    const { file, tables } = this.#shared
    await this.purge(queue)
    await file.write(() => {
      tables.deleteHeld(queue)
      tables.deleteDeadLetters(queue)
    }, BATCH)
  }

  deadLetters(queue: string, limit = 100): Promise<DeadLetter[]> {
    const { file, tables } = this.#shared
    return file.read(() => tables.deadLetters(queue, limit))
  }

  async reviewDeadLetters(queue: string, judge: (letter: DeadLetter) => DeadLetterFate): Promise<void> {
    const { file, tables, bells } = this.#shared
    for (let after: number | undefined = 0; after !== undefined; ) {
      const from: number = after
      after = await file.write(() => tables.reviewDeadLetters(queue, judge, from, BATCH), BATCH)
    }
    bells.ring(queue)
  }

  publishStat(clusterId: string, body: string, ttl: number): Promise<void> {
    return this.#bus.publishStat(clusterId, body, ttl)
  }

  withdrawStat(clusterId: string): Promise<void> {
    return this.#bus.withdrawStat(clusterId)
  }

  stats(): Promise<string[]> {
    return this.#bus.stats()
  }

  control(request: ControlRequest): Promise<void> {
    return this.#bus.control(request)
  }

  onControl(options: ListenOptions): Promise<Listener> {
    return this.#bus.onControl(options)
  }

  async #hangDoorbell(name: string, onRing: () => void): Promise<Doorbell> {
    try {
      this.#directory ??= makeRuntimeDirectory()
      return await hangDoorbell(this.#directory.path, name, onRing)
    } catch (error) {
      // Whoever tries again gets another one: somebody may have removed this.
      this.#directory = undefined
      throw new BrokerError(
        `No socket could be made under ${tmpdir()} (${(error as Error).message}): set TMPDIR to a folder that this user can write.`,
        { cause: error },
      )
    }
  }
}
