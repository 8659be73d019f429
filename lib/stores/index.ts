import type { SqliteStoreOptions } from './sqlite.ts'
import type { Store } from './store.ts'

export type * from './store.ts'

/** What a store needs to know. */
export type StoreOptions = SqliteStoreOptions

/** Makes the store that the options ask for, loading only what that one needs. Nothing is opened before `connect()`. */
export async function createStore(options: StoreOptions): Promise<Store> {
  const { sqliteStore } = await import('./sqlite.ts')
  return sqliteStore(options)
}
