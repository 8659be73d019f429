import { expect } from 'chai'
import type {
  ErrorRecord,
  SignalListener,
  SignalledTask,
  Task,
  TaskFailedError,
  TaskFunction,
  TaskRecord,
  WorkerOutcome,
} from '../lib/index.ts'
import { AsyncTask } from '../lib/tasks/async-task.ts'
import { asyncChain, Chain } from '../lib/tasks/chain.ts'
import { defineTask } from '../lib/tasks/define.ts'
import { asyncTask, asyncTasks } from '../lib/tasks/enqueue.ts'
import { fetchGroup, resultGroup } from '../lib/tasks/groups.ts'
import { asyncIter, Iter } from '../lib/tasks/iter.ts'
import { link, pipe } from '../lib/tasks/link.ts'
import type { result } from '../lib/tasks/results.ts'
import { schedule } from '../lib/tasks/schedule.ts'
import {
  onError,
  postExecute,
  postExecuteInWorker,
  postSpawn,
  preEnqueue,
  preExecute,
} from '../lib/tasks/signals.ts'

/** Compiles only where both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <_A, _B>(_proof: Same<_A, _B>) => {}

const add = defineTask('add', (a: number, b: number) => a + b)
const greet = defineTask({ name: 'greet', timeout: 5 }, async (name = 'you') => `hello ${name}`)
const tick = defineTask('tick', () => {})
const join = defineTask('join', (first: string, ...more: number[]) => [first, ...more])
const mail = defineTask('mail', (_options: { to: string; subject?: string }) => true)

/** What the compiler checks; it is never called, and the compiler reports each `@ts-expect-error` without an error. */
const compiled = {
  async tasksAreStillFunctions() {
    same<ReturnType<typeof add>, number>(true)
    same<ReturnType<typeof greet>, Promise<string>>(true)
    same<Parameters<typeof add>, [a: number, b: number]>(true)
    const any: TaskFunction[] = [add, greet, tick, join, mail]
    // @ts-expect-error: a plain function is no task
    const plain: TaskFunction = (a: number) => a
    return [any, plain]
  },

  async resultsFollowFromTheTask() {
    same<Awaited<ReturnType<typeof asyncTask<[], Promise<string>>>>, Task<string>>(true)
    const sum = await asyncTask(add, [2, 3])
    same<typeof sum, Task<number>>(true)
    const text = await (await asyncTask(greet)).result()
    same<typeof text, string>(true)
    const nothing = await (await asyncTask(tick)).result({ wait: 500, final: true })
    same<typeof nothing, void>(true)
  },

  async argumentsFollowFromTheTask() {
    await asyncTask(add, [2, 3] as const, { group: 'sums' })
    await asyncTask(greet, ['Ann'])
    await asyncTask(tick, [], { taskName: 'tock' })
    await asyncTask(join, ['a', 1, 2])
    await asyncTask(mail, [{ to: 'ann@example.org' }])
    // @ts-expect-error: an argument is missing
    await asyncTask(add, [2])
    // @ts-expect-error: all arguments are missing
    await asyncTask(add)
    // @ts-expect-error: there is one too many
    await asyncTask(add, [2, 3, 4])
    // @ts-expect-error: one has the wrong type
    await asyncTask(add, [2, '3'])
    // @ts-expect-error: it takes none
    await asyncTask(tick, [1])
    // @ts-expect-error: the rest has the wrong type
    await asyncTask(join, ['a', 'b'])
    // @ts-expect-error: there is no such property
    await asyncTask(mail, [{ to: 'ann@example.org', cc: 'bob@example.org' }])
  },

  async hooksFollowFromTheTask() {
    const told = defineTask('told', (_record: TaskRecord<number>) => {})
    const any = defineTask('any', (_record: TaskRecord) => {})
    await asyncTask(add, [2, 3], { hook: told })
    await asyncTask(add, [2, 3], { hook: any })
    await asyncTask(add, [2, 3], { hook: 'module.told' })
    // @ts-expect-error: it is told of a number, and greet returns a text
    await asyncTask(greet, ['Ann'], { hook: told })
    // @ts-expect-error: a plain function is no task
    await asyncTask(add, [2, 3], { hook: () => {} })
  },

  async linksFitTogether() {
    const chain = await asyncChain([link(greet, ['Ann']), pipe(join, [1, 2]), link(add, [2, 3])])
    const results = await chain.result()
    same<typeof results, [string, (string | number)[], number]>(true)
    // @ts-expect-error: add returns a number, and join wants a text
    await asyncChain([link(add, [2, 3]), pipe(join)])
    // @ts-expect-error: an argument is missing beside the result
    await asyncChain([link(add, [2, 3]), pipe(add)])
    // @ts-expect-error: an argument is missing
    link(add, [2])
    const built = new Chain().append(add, [2, 3]).pipe(add, [4]).append(greet)
    const list = await built.result()
    same<typeof list, [number, number, string]>(true)
    // @ts-expect-error: greet returns a text
    new Chain().append(greet).pipe(add, [1])
  },

  async itersFollowFromTheTask() {
    const sums = await asyncIter(add, [
      [1, 2],
      [3, 4],
    ])
    same<typeof sums, Task<number[]>>(true)
    const greetings = await asyncIter(greet, ['Ann', 'Bob'])
    same<typeof greetings, Task<string[]>>(true)
    // @ts-expect-error: an argument is missing
    await asyncIter(add, [[1]])
    // @ts-expect-error: one has the wrong type
    await asyncIter(join, [1])
    const whole = defineTask('whole', (_record: TaskRecord<number[]>) => {})
    await asyncIter(add, [[1, 2]], { hook: whole })
    new Iter(add).append(1, 2)
  },

  async groupsAndLookupsSayWhatTheyAreOf() {
    const sums = await resultGroup<number>('sums', { count: 2 })
    same<typeof sums, number[]>(true)
    const mixed = await resultGroup<number>('sums', { failures: true })
    same<typeof mixed, (number | TaskFailedError)[]>(true)
    const records = await fetchGroup<number>('sums')
    same<typeof records, TaskRecord<number>[]>(true)
    const record = await (await asyncTask(greet)).fetch()
    same<typeof record, TaskRecord<string> | undefined>(true)
    same<NonNullable<typeof record>['state'], 'success' | 'failure' | 'expired' | 'cancelled'>(true)
    const built = new AsyncTask(add, [2, 3], { group: 'sums' })
    same<Awaited<ReturnType<typeof built.result>>, number | undefined>(true)
    same<Awaited<ReturnType<typeof built.fetchGroup>>, TaskRecord<number>[] | undefined>(true)
    same<Awaited<ReturnType<typeof built.resultGroup>>, (number | TaskFailedError)[] | undefined>(true)
    const told = defineTask('told', (_record: TaskRecord<string>) => {})
    // @ts-expect-error: it is told of a text, and add returns a number
    built.hook = told
    // @ts-expect-error: an argument is missing
    new AsyncTask(add, [2])
  },

  async manyFollowFromTheTask() {
    const sums = await asyncTasks(add, [
      [1, 2],
      [3, 4],
    ])
    same<typeof sums, Task<number>[]>(true)
    // @ts-expect-error: one has the wrong type
    await asyncTasks(add, [[1, '2']])
    // @ts-expect-error: an argument is missing
    await asyncTasks(add, [[1, 2], [3]])
    // @ts-expect-error: they share what they are told, and a name is of one
    await asyncTasks(add, [[1, 2]], { taskName: 'sum' })
  },

  async hooksOfChainsAndItersFollowFromThem() {
    const told = defineTask('told', (_record: TaskRecord<number>) => {})
    link(add, [2, 3], { hook: told })
    pipe(add, [2], { hook: told })
    // @ts-expect-error: it is told of a number, and greet returns a text
    link(greet, ['Ann'], { hook: told })
    // @ts-expect-error: it is told of a number, and an iter becomes a list of them
    await asyncIter(add, [[1, 2]], { hook: told })
    const iter = new Iter(add, [[1, 2]])
    const sums = await iter.result()
    same<typeof sums, number[] | undefined>(true)
    // @ts-expect-error: one has the wrong type
    iter.append(1, '2')
  },

  signalsTellWhatTheySay() {
    preEnqueue((task) => same<typeof task, SignalledTask>(true))
    preExecute(async ({ id, func, args }) =>
      same<[typeof id, typeof func, typeof args], [string, string, readonly unknown[]]>(true),
    )
    postSpawn((process) => same<typeof process, string>(true))
    postExecute((task) => same<typeof task.error, ErrorRecord | undefined>(true))
    onError(({ error }) => same<typeof error, ErrorRecord>(true))
    postExecuteInWorker((task, outcome) =>
      same<[typeof task, typeof outcome], [SignalledTask, WorkerOutcome]>(true),
    )
    const end = postExecute(() => {})
    same<typeof end, () => void>(true)
    const listener: SignalListener<'postExecute'> = ({ success }) => success
    // @ts-expect-error: it is told no outcome yet
    preExecute((_task, outcome) => outcome)
    // @ts-expect-error: it is told of a task, not of a process
    postSpawn(({ func }) => func)
    // @ts-expect-error: what is told of a task in the cluster's process has no arguments
    postExecute(({ args }) => args)
    return listener
  },

  async namesTakeAnything() {
    const task = await asyncTask<number>('math.add', [2, 3])
    same<typeof task, Task<number>>(true)
    const unknown = await asyncTask('math.add')
    same<typeof unknown, Task<unknown>>(true)
    same<Awaited<ReturnType<typeof result<number>>>, number>(true)
    // @ts-expect-error: a plain function is neither task nor name
    await asyncTask((a: number) => a, [1])
  },

  async schedulesAreChecked() {
    await schedule(add, [2, 3], { type: 'daily', timeZone: 'UTC', options: { timeout: 5 } })
    await schedule(tick)
    await schedule('math.add', [2, 3])
    // @ts-expect-error: one argument is missing
    await schedule(add, [2])
    // @ts-expect-error: it takes two
    await schedule(add)
    // @ts-expect-error: there is no such type
    await schedule(add, [2, 3], { type: 'sometimes' })
    // @ts-expect-error: its tasks are delayed by their schedule only
    await schedule(add, [2, 3], { options: { delay: 5 } })
  },

  async optionsAreChecked() {
    await asyncTask(add, [2, 3], { timeout: 5, maxAttempts: 0, retry: 1, save: false, cluster: 'mail' })
    await asyncTask(add, [2, 3], { ackFailure: true, cached: 60, taskName: 'sum', sync: true, save: true })
    await asyncTask(add, [2, 3], { group: 'sums', iterCount: 3, iterCached: true, chain: [pipe(add, [1])] })
    await asyncIter(add, [[2, 3]], { sync: true, cached: true, taskName: 'sums' })
    await asyncChain([link(add, [2, 3])], { sync: true, cached: 60, group: 'sums', cluster: 'mail' })
    new AsyncTask(add, [2, 3]).sync = true
    // @ts-expect-error: it is a number
    await asyncTask(add, [2, 3], { iterCount: 'all' })
    // @ts-expect-error: an iter counts its items itself
    await asyncIter(add, [[2, 3]], { iterCount: 3 })
    // @ts-expect-error: the chain says it, of all its links
    link(add, [2, 3], { sync: true })
    // @ts-expect-error: a schedule's tasks are run by clusters
    await schedule(add, [2, 3], { options: { sync: true } })
    // @ts-expect-error: there is no such option
    await asyncTask(add, [2, 3], { grup: 'sums' })
    // @ts-expect-error: it is a number of seconds
    await asyncTask(add, [2, 3], { timeout: '5' })
    // @ts-expect-error: there is no such option of a task
    defineTask({ name: 'add', hook: 'done' }, () => {})
    // @ts-expect-error: a task has a name
    defineTask({ timeout: 5 }, () => {})
  },
}

describe('the types of tasks', () => {
  for (const claim of Object.keys(compiled))
    it(`compile: ${claim.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)}`, () => {
      expect(compiled).to.have.property(claim)
    })
})
