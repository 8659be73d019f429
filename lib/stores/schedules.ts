/** The part of a store that keeps schedules, and the tasks that were made of them until a broker has them. */

/** A schedule as it is kept. What it has in mind only whoever plans reads. */
export interface ScheduleRecord {
  readonly id: string
  /** The queue whose clusters meet it. */
  readonly queue: string
  /** Unique in its queue. */
  readonly name: string
  /** The text of its plan. */
  readonly plan: string
  /** When it wants to be looked at: milliseconds since the epoch; null: never. */
  readonly due: number | null
  /** The task that it made last. */
  readonly lastTask: string | null
  /** Why it could not do what it should. */
  readonly error: string | null
  /** Counts its changes. */
  readonly version: number
}

/** A schedule that is due, and what became of the tasks it has made. */
export interface DueSchedule extends ScheduleRecord {
  /** Its last task has no outcome that is final. */
  readonly isBusy: boolean
  /** How many of its tasks wait for the one before. */
  readonly waiting: number
}

/** A task that was made for a slot and is not known to be with the broker. */
export interface ScheduledTask {
  readonly taskId: string
  readonly queue: string
  readonly scheduleId: string
  /** The texts of which its package is made. */
  readonly header: string
  readonly args: string
  /** The task that must be over first; null: none. */
  readonly after: string | null
}

/** What there is to do for the schedules of a queue. */
export interface Agenda {
  /** The time of the store's own clock, which counts for all who share the store. */
  readonly now: number
  /** The schedules that are due, the longest first; so many at the most as were asked for. */
  readonly due: readonly DueSchedule[]
  /** When the next one is due that is not among them; null: never. */
  readonly next: number | null
  /** How many tasks wait for one before them. */
  readonly waiting: number
  /** How many other tasks are not known to be with the broker. */
  readonly unpublished: number
}

/** What a claim changes. */
export interface Claim {
  /** As it was read. */
  readonly former: ScheduleRecord
  /** As it is from now on; null: there is no more need of it. */
  readonly record: ScheduleRecord | null
  /** The tasks of its slots. */
  readonly tasks: readonly ScheduledTask[]
}

/** A task that a broker has, as far as is known, and that a schedule waits for. */
export interface AwaitedTask {
  readonly taskId: string
  readonly scheduleId: string
}

/** Keeps schedules. All methods reject with a {@link StoreError} when the store cannot be reached. */
export interface Schedules {
  /** False when its queue has one of this name. */
  create(record: ScheduleRecord): Promise<boolean>
  /** The one with this id, or in this queue with this name. */
  find(queue: string, idOrName: string): Promise<ScheduleRecord | undefined>
  /** Those of a queue by their next time, those without one last. */
  list(queue: string): Promise<ScheduleRecord[]>
  /** False when there was none. Its tasks that wait for one before them go with it; the others remain. */
  remove(id: string): Promise<boolean>
  agenda(queue: string, most: number): Promise<Agenda>
  /**
   * Changes a schedule and keeps the tasks of its slots, both or neither. False when somebody has changed it since it was
   * read, also where the new name is taken: then nothing is done.
   */
  claim(claim: Claim): Promise<boolean>
  /**
   * Takes over the tasks that should be with the broker and have been claimed by nobody for so many milliseconds: whoever
   * had them may have died. They are claimed anew by this.
   */
  takeOver(queue: string, patience: number): Promise<ScheduledTask[]>
  /** These tasks are with the broker, or never will be. */
  settle(taskIds: readonly string[]): Promise<void>
  /** These tasks could not be handed to the broker: anybody may take them over at once. */
  release(taskIds: readonly string[]): Promise<void>
  /** The tasks of a queue that a broker should have and that have no outcome that is final, where a schedule waits for it. */
  awaited(queue: string): Promise<AwaitedTask[]>
  /** Calls `onChange` when anybody has changed a schedule of any queue. May miss one. Holds no referenced handle. */
  watch(onChange: () => void): Promise<{ stop(): Promise<void> }>
}
