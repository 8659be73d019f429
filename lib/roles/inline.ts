/**
 * Tasks that run where they are enqueued (`sync`): by the code of worker and monitor, with neither broker nor cluster. What
 * follows from one, its hook and later links, runs after it.
 */
import type { Client, Submission } from '../client.ts'
import type { Settings } from '../config.ts'
import { ConfigError, type ErrorRecord, StoreError } from '../errors.ts'
import { processName } from '../names.ts'
import { retentionOf } from '../stores/index.ts'
import type { Store } from '../stores/store.ts'
import { decode } from '../tasks/codec.ts'
import { definitionOf, type TaskDefinition, type TaskFunction } from '../tasks/define.ts'
import { encodeError, toFailure } from '../tasks/failure.ts'
import { type LoadedTask, loadTasks } from '../tasks/load.ts'
import { toError, toRecord } from '../tasks/results.ts'
import { type ExecutedTask, emitSafely } from '../tasks/signals.ts'
import { type Ended, type Follower, keyOf, type Verdict, type WorkerToMonitor } from './frames.ts'
import { Outcomes } from './outcomes.ts'
import { Runner } from './runner.ts'
import { Sequels } from './sequel.ts'

/**
 * Runs tasks one after the other, their first failure being their last, and saves their outcomes.
 * @param functions those at hand; others are looked for in the task modules
 * @throws when all are over, what the first that failed has thrown; what a hook throws is in its outcome only
 * @throws {ConfigError} when one is to run later; none has run then
 * @throws {StoreError} when the store cannot be reached
 */
export async function runInline(
  client: Client,
  submissions: readonly Submission[],
  functions: readonly TaskFunction[],
): Promise<void> {
  const late = submissions.find(({ delay = 0 }) => delay > 0)
  if (late) throw notNow(late)
  const given = await client.settings()
  const settings = { ...given, name: submissions[0]?.queue ?? given.name }
  const store = await client.newStore(settings, retentionOf(settings))
  await store.connect()
  try {
    const inline = new Inline(settings, store, functions)
    const jobs: Follower[] = [...submissions]
    for (let job = jobs.shift(); job; job = jobs.shift()) jobs.unshift(...(await inline.run(job)))
    if (inline.failure) throw await inline.failure()
  } finally {
    await store.close()
  }
}

/** A worker and a monitor in one process, which do one thing after the other. */
class Inline {
  /** Tells the first failure, once there is one. */
  failure: (() => unknown) | undefined
  readonly #settings: Settings
  readonly #store: Store
  readonly #tasks: Map<string, LoadedTask>
  readonly #runner: Runner
  readonly #outcomes: Outcomes
  #areModulesLoaded = false
  #ended: Ended | undefined
  #thrown: { readonly error: unknown } | undefined
  #judged = Promise.withResolvers<Verdict>()

  constructor(settings: Settings, store: Store, functions: readonly TaskFunction[]) {
    this.#settings = settings
    this.#store = store
    this.#tasks = new Map(functions.map((fn) => this.#watched(loadedOf(fn))))
    this.#runner = this.#makeRunner()
    this.#outcomes = this.#makeOutcomes()
    this.#introduce()
  }

  /** Runs one task; returns what follows from it. */
  async run({ header, args }: Follower): Promise<readonly Follower[]> {
    await this.#find(header.func)
    this.#judged = Promise.withResolvers()
    this.#thrown = undefined
    this.#outcomes.save()
    this.#runner.take([{ header: { ...header, ackFailure: true }, args, tiny: false }])
    const { follow = [] } = await this.#judged.promise
    this.#outcomes.hearPusher({ kind: 'settled', keys: [keyOf(header)] })
    await this.#conclude(this.#ended as Ended)
    return follow
  }

  async #conclude(ended: Ended): Promise<void> {
    const { header, success, result, withdrawn } = ended
    if (!withdrawn) await tell(ended)
    const isHook = header.follows !== undefined && header.chain === undefined
    if (success || isHook || this.failure) return
    const thrown = this.#thrown
    const isItself = thrown && encodeError(toFailure(thrown.error)) === result
    this.failure = () => (isItself ? thrown.error : this.#savedError(header.id))
  }

  /** What was too late, or is not defined, has another failure than what it threw. */
  async #savedError(taskId: string): Promise<Error> {
    const [outcome] = await this.#store.fetch([taskId])
    return outcome ? toError(toRecord(outcome)) : new StoreError(`The outcome of task ${taskId} is gone.`)
  }

  async #find(func: string): Promise<void> {
    if (this.#areModulesLoaded || this.#tasks.has(func)) return
    this.#areModulesLoaded = true
    for (const task of (await loadTasks(this.#settings.tasks)).values())
      if (!this.#tasks.has(task.func)) this.#tasks.set(...this.#watched(task))
  }

  /** The outcome has a copy of what it throws; whoever called it gets the error itself. */
  #watched(task: LoadedTask): [func: string, task: LoadedTask] {
    const fn: LoadedTask['fn'] = async (...args) => {
      try {
        return await task.fn(...args)
      } catch (error) {
        this.#thrown = { error }
        throw error
      }
    }
    return [task.func, { ...task, fn }]
  }

  #makeRunner(): Runner {
    return new Runner({
      ...{ worker: WORKER, tasks: this.#tasks, concurrency: 1, timeout: this.#settings.timeout },
      packing: this.#settings,
      board: { start: () => {}, finish: () => {}, close: () => {} },
      report: () => {},
      show: () => {},
      record: () => {},
      flush: () => {},
    })
  }

  #makeOutcomes(): Outcomes {
    const { name, maxAttempts, retry, saveLimit, cached } = this.#settings
    const store = this.#store
    return new Outcomes({
      ...{ queue: name, maxAttempts, retry: retry * 1000, saveSuccesses: saveLimit >= 0, cached, store },
      sequels: new Sequels({ store, packing: this.#settings, cached }),
      cancellations: store.cancellations,
      release: (taskIds) => store.uniques.release(taskIds),
      report: (event) => event.type === 'store.lost' && this.#judged.reject(new StoreError(event.reason)),
      record: () => {},
      sealNotices: () => [],
    })
  }

  /** What sockets do between processes. */
  #introduce(): void {
    const [runner, outcomes] = [this.#runner, this.#outcomes]
    outcomes.attend((message) => {
      if (message.kind === 'verdicts') for (const verdict of message.verdicts) this.#judged.resolve(verdict)
    })
    outcomes.welcome(WORKER, ({ keys }) => runner.released(keys))
    const send = (message: WorkerToMonitor) => {
      if (message.kind !== 'ended') return
      this.#ended = message.outcomes[0]
      outcomes.hear(WORKER, message.outcomes)
    }
    runner.meetMonitor(send, () => {})
  }
}

const WORKER = processName()

function notNow({ header: { func } }: Submission): ConfigError {
  return new ConfigError(
    `asyncTask("${func}"): the option sync is on, and what is sync runs now; give sync: false, or neither delay nor runAt.`,
  )
}

/** There is no cluster's process to tell of it. */
async function tell({ header, success, result }: Ended): Promise<void> {
  const { id, name, func, group, run, attempt } = header
  const task: ExecutedTask = { id, name, func, ...(group !== undefined && { group }), run, attempt, success }
  if (success) return emitSafely('postExecute', unheard, task)
  const failed = { ...task, error: decode(result) as ErrorRecord }
  await emitSafely('postExecute', unheard, failed)
  await emitSafely('onError', unheard, failed)
}

function unheard(signal: string, error: Error): void {
  process.emitWarning(`A listener of ${signal} failed: ${error.message}`, { code: 'QCLUSTER_SIGNAL' })
}

function loadedOf(fn: TaskFunction): LoadedTask {
  const definition = definitionOf(fn) as TaskDefinition
  return { func: definition.name, definition, fn: fn as unknown as LoadedTask['fn'] }
}
