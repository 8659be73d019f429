/** A producer: enqueues pictures to shrink, and waits for them. Its machine needs no cluster. */
import { asyncTask, close } from 'qcluster'
import { shrink } from './tasks.ts'

const count = Number(process.argv[2] ?? 20)
const pictures = Array.from({ length: count }, (_, n) => `picture ${n + 1}`)
const tasks = await Promise.all(pictures.map((picture) => asyncTask(shrink, [picture])))
console.log(`${tasks.length} tasks are with RabbitMQ`)
for (const task of tasks) console.log(await task.result({ wait: 60_000 }))
await close()
