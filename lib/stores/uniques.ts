/** The part of a store that knows which tasks are to be the only ones of their kind. */

/** A task that wants to be the only one with its key. */
export interface Reservation {
  readonly key: string
  readonly queue: string
  readonly taskId: string
  readonly name: string
  /** Milliseconds from now for which the key is taken, whatever becomes of the task; 0: as long as it waits or runs. */
  readonly within: number
}

/** The task that has a key. */
export type Holder = Pick<Reservation, 'taskId' | 'name'>

/**
 * Keys of tasks. The store's own clock counts, for those of the machines may differ. All methods reject with a
 * {@link StoreError} when the store cannot be reached.
 */
export interface Uniques {
  /**
   * Reserves the key of each task unless another one has it, and tells in the same order who has it now. One that is not
   * confirmed within `patience` milliseconds is free again: whoever reserved it may have died before it enqueued.
   */
  reserve(wanted: readonly Reservation[], patience: number): Promise<Holder[]>
  /** These tasks are with the broker: they keep their keys until they are released. */
  confirm(taskIds: readonly string[]): Promise<void>
  /** These tasks were never with the broker: what they have reserved, and not confirmed, is free. */
  withdraw(taskIds: readonly string[]): Promise<void>
  /** These tasks are over: their keys are free, at the end of `within` where that is later. Saying it twice changes nothing. */
  release(taskIds: readonly string[]): Promise<void>
  /** Nothing waits in this queue any more: all of its keys are free. */
  clear(queue: string): Promise<void>
}
