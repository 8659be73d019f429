/** What a cluster is given to do: tasks, a chain, an iter and a schedule; and whether all of it is done. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  asyncChain,
  asyncIter,
  asyncTask,
  type Chain,
  type Client,
  fetchGroup,
  link,
  Schedule,
  schedule,
  type Task,
} from 'qcluster'

/** Links of a chain, items of an iter, slots of a schedule. */
const FEW = 3

export class Load {
  readonly #client: Client
  readonly #ledger: string
  readonly #tasks: Task[] = []
  readonly #chains: Chain<unknown[]>[] = []
  #hasSchedule = false

  constructor(client: Client, ledger: string) {
    this.#client = client
    this.#ledger = ledger
  }

  /** How many outcomes there should be in the end. */
  get accepted(): number {
    return this.#tasks.length + FEW * (this.#chains.length + (this.#hasSchedule ? 1 : 0))
  }

  /** Tasks that take so many milliseconds each. */
  async add(count: number, ms = 20): Promise<void> {
    const given = Array.from({ length: count }, (_, n) => this.#args(`task-${this.#tasks.length + n}`, ms))
    this.#tasks.push(
      ...(await Promise.all(given.map((args) => asyncTask('chaos.note', args, this.#options)))),
    )
  }

  /** Tasks that are made of other tasks. */
  async addSequels(): Promise<void> {
    const number = this.#chains.length
    const links = Array.from({ length: FEW }, (_, n) => link('chaos.note', this.#args(`link-${number}-${n}`)))
    this.#chains.push((await asyncChain(links as [never], this.#options)) as never)
    const items = Array.from({ length: FEW }, (_, n) => this.#args(`item-${number}-${n}`))
    this.#tasks.push((await asyncIter('chaos.note', items, this.#options)) as Task)
  }

  /** A schedule that is due each second, a few times. */
  async addSchedule(): Promise<void> {
    await schedule('chaos.tick', [this.#ledger, { at: '' }], {
      ...{ name: 'ticks', cron: '* * * * * *', repeats: FEW, misfire: 'all', intendedDateKwarg: 'at' },
      ...this.#options,
    })
    this.#hasSchedule = true
  }

  /** Waits for the last outcome of each, and says what is missing when the time is over. */
  async missing(signal: AbortSignal): Promise<string[]> {
    const until = async (isDone: () => Promise<boolean>) => {
      while (!(await isDone())) {
        if (signal.aborted) return false
        await sleep(25)
      }
      return true
    }
    const missing: string[] = []
    for (const task of this.#tasks)
      if (!(await until(async () => (await task.fetch({ final: true })) !== undefined)))
        missing.push(task.name)
    for (const chain of this.#chains)
      if (!(await until(async () => (await chain.current()) === FEW))) missing.push(`a chain's link`)
    if (this.#hasSchedule && !(await until(async () => (await this.#ticks()).length >= FEW)))
      missing.push(`a schedule's slot`)
    return missing
  }

  /** What is in the store and should not be. */
  async faults(): Promise<string[]> {
    const records = await Promise.all(this.#tasks.map((task) => task.fetch({ final: true })))
    const links = (await Promise.all(this.#chains.map((chain) => chain.fetch()))).flat()
    const ticks = this.#hasSchedule ? await this.#ticks() : []
    const failed = [...records, ...links, ...ticks].filter((record) => record && !record.success).length
    const isSpent = !this.#hasSchedule || (await Schedule.find('ticks', this.#options))?.state === 'ended'
    return [
      ...(failed > 0 ? [`${failed} tasks have failed`] : []),
      ...(ticks.length > FEW ? [`${ticks.length} slots of ${FEW} were met`] : []),
      ...(isSpent ? [] : ['the schedule has not ended']),
    ]
  }

  get #options(): { readonly client: Client } {
    return { client: this.#client }
  }

  #args(name: string, ms = 20): [string, string, number] {
    return [this.#ledger, name, ms]
  }

  #ticks() {
    return fetchGroup('ticks', this.#options)
  }
}
