/** A chain that hands results on, an iter with a hook, and a group: tasks that follow from tasks. */
import { join as path } from 'node:path'
import { asyncChain, asyncIter, asyncTasks, Cluster, close, fetch, link, pipe, resultGroup } from 'qcluster'
import { count, join, longest, split, total } from './tasks.ts'

const TEXTS = [
  'never send a human to do the work of a machine',
  'machines take me by surprise with great frequency',
  'the question is whether machines can think',
]

await using cluster = new Cluster({
  name: 'workflow',
  tasks: [path(import.meta.dirname, 'tasks.ts')],
  workers: 2,
  logLevel: 'warn',
  handleSignals: true,
})
const hook = Promise.withResolvers<string>()
cluster.on('task.finished', ({ func, taskId }) => {
  if (func === 'text.total') hook.resolve(taskId)
})
await cluster.start()

const chain = await asyncChain([
  link(split, [TEXTS[0] as string]),
  pipe(longest, [2]), // Gets the words that `split` returned, and 2.
  pipe(join),
])
const [words, chosen, sentence] = await chain.result()
console.log(`chain: ${words.length} words, the longest are ${chosen.join(', ')}: "${sentence}"`)

const counts = await asyncIter(count, TEXTS, { hook: total })
console.log(`iter: ${(await counts.result()).join(' + ')} words`)
console.log(`hook: ${(await fetch<number>(await hook.promise))?.result} in all`)

const texts = TEXTS.map((text) => [text] as const)
await asyncTasks(count, texts, { group: 'counts' })
const group = await resultGroup<number>('counts', { count: TEXTS.length })
console.log(`group: the longest text has ${Math.max(...group)} words`)

await cluster.stop()
await close()
