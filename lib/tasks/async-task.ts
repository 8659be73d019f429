/** A task that is put together before it is enqueued. */
import type { TaskFailedError } from '../errors.ts'
import type { TaskFunction } from './define.ts'
import { asyncTask, type EnqueueOptions, type EnqueueParameters } from './enqueue.ts'
import { fetchGroup, type GroupOptions, resultGroup } from './groups.ts'
import type { Task, TaskRecord, WaitOptions } from './results.ts'

/** Of the options those that can be set one by one. */
type Settable<TResult> = Pick<
  EnqueueOptions<TResult>,
  'save' | 'hook' | 'group' | 'cached' | 'sync' | 'client' | 'cluster' | 'timeout' | 'ackFailure'
>

/**
 * A task with its arguments and options, which is run when it is told to. Whatever is set after that makes it another one,
 * that is not started.
 * @see https://django-q2.readthedocs.io/en/master/tasks.html#asynctask
 *
 * @example
 * const task = new AsyncTask(add, [1, 2])
 * task.group = 'sums'
 * await task.run()
 * console.log(await task.result())
 */
export class AsyncTask<TArgs extends unknown[], TResult> {
  /** What runs. */
  readonly func: TaskFunction<TArgs, TResult>
  /** What it is called with. */
  readonly args: Readonly<TArgs>
  #options: EnqueueOptions<Awaited<TResult>>
  #task: Task<Awaited<TResult>> | undefined

  /** @param parameters its arguments and options, as {@link asyncTask} takes them */
  constructor(func: TaskFunction<TArgs, TResult>, ...parameters: EnqueueParameters<TArgs, Awaited<TResult>>) {
    const [args, options = {}] = parameters
    this.func = func
    this.args = (args ?? []) as Readonly<TArgs>
    this.#options = options
  }

  /** The task's id; undefined as long as it is not started. */
  get id(): string | undefined {
    return this.#task?.id
  }

  /** Whether it was run as it is now: false before {@link run}, and again as soon as something is set. */
  get started(): boolean {
    return this.#task !== undefined
  }

  /** Whether its success is saved; undefined: as its definition or the cluster says. */
  get save(): boolean | undefined {
    return this.#options.save
  }
  set save(save: boolean | undefined) {
    this.#set({ save })
  }

  /** The task that is told its record in the end, by its function or its name. */
  get hook(): EnqueueOptions<Awaited<TResult>>['hook'] {
    return this.#options.hook
  }
  set hook(hook: EnqueueOptions<Awaited<TResult>>['hook']) {
    this.#set({ hook })
  }

  /** The label that it is found by: 1 to 200 characters. */
  get group(): string | undefined {
    return this.#options.group
  }
  set group(group: string | undefined) {
    this.#set({ group })
  }

  /** Seconds that its outcome is kept, whatever the cluster's saveLimit; true: 300; false or 0: as saveLimit says. */
  get cached(): boolean | number | undefined {
    return this.#options.cached
  }
  set cached(cached: boolean | number | undefined) {
    this.#set({ cached })
  }

  /** Whether {@link run} runs it here and now, without broker and cluster; undefined: as the option `sync` says. */
  get sync(): boolean | undefined {
    return this.#options.sync
  }
  set sync(sync: boolean | undefined) {
    this.#set({ sync })
  }

  /** Who enqueues it, and looks for its outcome; the default client when undefined. */
  get client(): EnqueueOptions['client'] {
    return this.#options.client
  }
  set client(client: EnqueueOptions['client']) {
    this.#set({ client })
  }

  /**
   * Enqueues it as it is now, also where it was run before: then it is another task.
   * @returns its id
   * @throws what {@link asyncTask} throws; then it is not started
   */
  async run(): Promise<string> {
    const parameters = [this.args, this.#options] as unknown as EnqueueParameters<TArgs, Awaited<TResult>>
    this.#task = undefined
    this.#task = await asyncTask(this.func, ...parameters)
    return this.#task.id
  }

  /** Waits for what it returned; undefined as long as it is not started. Throws as {@link Task.result} does. */
  async result(options?: WaitOptions): Promise<Awaited<TResult> | undefined> {
    return this.#task?.result(options)
  }

  /** Its record; undefined as long as it is not started, or has no outcome in time. */
  async fetch(options?: WaitOptions): Promise<TaskRecord<Awaited<TResult>> | undefined> {
    return this.#task?.fetch(options)
  }

  /** What the tasks of its group returned; undefined as long as it is not started, or has no group. */
  async resultGroup(options: GroupOptions = {}): Promise<(Awaited<TResult> | TaskFailedError)[] | undefined> {
    const { started, group } = this
    return started && group !== undefined ? resultGroup(group, this.#lookup(options)) : undefined
  }

  /** The records of the tasks of its group; undefined as long as it is not started, or has no group. */
  async fetchGroup(options: GroupOptions = {}): Promise<TaskRecord<Awaited<TResult>>[] | undefined> {
    const { started, group } = this
    return started && group !== undefined ? fetchGroup(group, this.#lookup(options)) : undefined
  }

  #lookup(options: GroupOptions): GroupOptions {
    return { ...(this.client && { client: this.client }), ...options }
  }

  #set(change: { [K in keyof Settable<Awaited<TResult>>]: Settable<Awaited<TResult>>[K] | undefined }): void {
    const options = Object.entries({ ...this.#options, ...change }).filter(([, value]) => value !== undefined)
    this.#options = Object.fromEntries(options)
    this.#task = undefined
  }
}
