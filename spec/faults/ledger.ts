/** What the tasks of a spec write down, a line for each run: by it none is missing, and none is done twice. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { asyncTask, type Client, type Task } from 'qcluster'
import { eventually, range } from '../contracts/material.ts'

export class Ledger {
  readonly file: string
  readonly #client: Client

  constructor(client: Client, folder: string, name = 'ledger') {
    this.file = join(folder, name)
    this.#client = client
  }

  /** Enqueues a task that writes down this number, and takes a little while. */
  note(n: number, client = this.#client): Promise<Task> {
    return asyncTask('ledger.note', [this.file, n], { client })
  }

  /** The numbers of all runs so far. */
  async runs(): Promise<number[]> {
    const text = await readFile(this.file, 'utf8').catch(() => '')
    return text.split('\n').filter(Boolean).map(Number)
  }

  async atLeast(count: number): Promise<void> {
    await eventually(async () => (await this.runs()).length >= count, true)
  }

  /** Enqueues tasks while something happens; every one that was confirmed is to end well, after one run. */
  async survives(count: number, happens: () => Promise<unknown>): Promise<void> {
    const enqueued = Promise.all(range(count).map((n) => this.note(n)))
    await this.atLeast(count / 10)
    const happened = happens()
    const tasks = await enqueued
    await happened
    await this.holds(tasks)
  }

  /** Each of these tasks ends well, and all of them were run once. */
  async holds(tasks: readonly Task[]): Promise<void> {
    const records = await Promise.all(tasks.map((task) => task.fetch({ wait: 120_000, final: true })))
    expect(records.filter((record) => record?.success)).to.have.length(tasks.length)
    const runs = await this.runs()
    expect(new Set(runs), 'tasks that ran').to.have.property('size', tasks.length)
    expect(runs, 'runs').to.have.length(tasks.length)
  }
}
