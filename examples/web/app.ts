import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance } from 'fastify'
import { asyncTask, locate, progress } from 'qcluster'
import { report } from './tasks.ts'

interface OfTask {
  Params: { id: string }
}

/** A web server that hands reports to a cluster and shows how far they are; it runs none of them itself. */
export function makeApp(): FastifyInstance {
  const app = fastify()
  const closing = new AbortController()
  app.addHook('preClose', async () => closing.abort())

  app.get('/', async (_, reply) => {
    return reply.type('text/html').send(await readFile(join(import.meta.dirname, 'index.html')))
  })

  const body = {
    type: 'object',
    required: ['pages'],
    properties: { pages: { type: 'integer', minimum: 1, maximum: 100 } },
  }
  app.post<{ Body: { pages: number } }>('/reports', { schema: { body } }, async (request, reply) => {
    const { id } = await asyncTask(report, [request.body.pages])
    return reply.code(202).send({ id })
  })

  app.get<OfTask>('/reports/:id', ({ params }) => summaryOf(params.id))

  app.get<OfTask>('/reports/:id/progress', ({ params }, reply) => {
    const gone = new AbortController()
    reply.raw.on('close', () => gone.abort())
    const over = AbortSignal.any([gone.signal, closing.signal])
    // Else closing waits until the browser gives up its connection.
    reply.type('text/event-stream').header('connection', 'close')
    return reply.send(Readable.from(eventsOf(params.id, over)))
  })
  return app
}

/** Server-sent events: each progress that is new, and in the end, or when the server closes, what has become of the task. */
async function* eventsOf(id: string, signal: AbortSignal): AsyncGenerator<string> {
  try {
    for await (const step of progress(id, { signal })) yield `data: ${JSON.stringify(step)}\n\n`
  } catch (error) {
    if (!signal.aborted) throw error
  }
  yield `event: done\ndata: ${JSON.stringify(await summaryOf(id))}\n\n`
}

async function summaryOf(id: string) {
  const { state, record } = await locate(id)
  return { state, result: record?.result }
}
