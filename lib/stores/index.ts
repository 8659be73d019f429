import type { Settings } from '../config.ts'
import type { PostgresStoreOptions } from './postgres.ts'
import type { SqliteStoreOptions } from './sqlite.ts'
import type { Retention, Store } from './store.ts'

export type * from './store.ts'

/** What a store needs to know: where PostgreSQL is, or the folder of an embedded one. */
export type StoreOptions = SqliteStoreOptions | PostgresStoreOptions

/** Makes the store that the options ask for, loading only what that one needs. Nothing is opened before `connect()`. */
export async function createStore(options: StoreOptions): Promise<Store> {
  if ('store' in options) {
    const { postgresStore } = await import('./postgres.ts')
    return postgresStore(options)
  }
  const { sqliteStore } = await import('./sqlite.ts')
  return sqliteStore(options)
}

/** What of the settings a store needs. */
export function storeOptionsOf({ store, dataDir, durability, broker }: Settings): StoreOptions {
  // RabbitMQ itself tells those who wait.
  return store === null ? { dataDir, durability } : { store, tells: broker === null }
}

/** Which successes the settings have it keep, where it saves what has run in their queue. */
export function retentionOf({ name, saveLimit, saveLimitPer, saveFor }: Settings): Retention {
  return { queue: name, limit: saveLimit, per: saveLimitPer, atLeast: saveFor * 1000 }
}
