import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInspector, createWebSocketInspector } from '@statelyai/inspect'
import { createInspectorServer } from '@statelyai/inspect/server'
import { expect } from 'chai'
import type { Frame, Page } from 'playwright-core'
import { build } from 'vite'
import { createActor, createMachine } from 'xstate'
import { Hub, inspect } from '../../lib/inspection/hub.ts'
import { serveInspection } from '../../lib/inspection/server.ts'
import type { InspectionNote } from '../../machines/protocol.ts'
import { freePorts } from '../../tools/services/server.ts'
import { browsing } from '../browser.ts'
import { Script } from './script.ts'

const NOTES: InspectionNote[] = [
  { type: 'actor.registered', id: 'root', at: 1, parent: null, name: 'root', definition: { id: 'root' } },
  {
    ...{ type: 'actor.changed', id: 'root', at: 2, event: { type: 'turn' }, lasting: true },
    snapshot: { status: 'active', value: 'idle' },
  },
]

interface Seen {
  readonly type: string
  readonly name?: string
  readonly snapshot?: { readonly value?: string }
}

/** What the receiver of `@statelyai/inspect` has taken in, in the browser. */
async function seen(place: Page | Frame, value: string): Promise<string[]> {
  await place.waitForFunction(hasSeen, value)
  return place.evaluate(told)
}

/** Run in the page. */
function told(): string[] {
  const { seen: events } = globalThis as unknown as { seen: readonly Seen[] }
  return events.map(({ type, name, snapshot }) => `${type} ${name ?? snapshot?.value ?? ''}`)
}

/** Run in the page. */
function hasSeen(value: string): boolean {
  const { seen: events } = globalThis as unknown as { seen: readonly Seen[] }
  return events.some(({ snapshot }) => snapshot?.value === value)
}

const toggle = createMachine({
  ...{ id: 'toggle', initial: 'off' },
  states: { off: { on: { turn: 'on' } }, on: {} },
})

describe('the Stately inspector’s receiver in a browser', function () {
  this.timeout(120_000)
  const { open, errors } = browsing()
  let web: Server
  /** A page that receives as the Stately inspector does. */
  let inspector: string

  before(async () => {
    const input = join(import.meta.dirname, 'fixtures', 'receiver.js')
    const built = await build({
      ...{ configFile: false, logLevel: 'silent', root: import.meta.dirname },
      build: { write: false, rolldownOptions: { input } },
    })
    const [{ output }] = [built].flat() as unknown as [{ output: [{ code: string }] }]
    web = createServer((_, response) => {
      response.setHeader('content-type', 'text/html').end(`<script type="module">${output[0].code}</script>`)
    }).listen(0, '127.0.0.1')
    await once(web, 'listening')
    inspector = `http://127.0.0.1:${(web.address() as AddressInfo).port}/inspect`
  })
  after(() => web.close())

  /** The receiver in the frame of a page. */
  async function framed(page: Page): Promise<Frame> {
    const frame = await (await page.waitForSelector('iframe')).contentFrame()
    return frame as Frame
  }

  it('sees everything at /stately where its page is named, the present first, also after it was loaded anew', async () => {
    const script = new Script(NOTES)
    await using server = await serveInspection(new Hub(script), { port: 0, page: inspector })
    const page = await open(`${server.pageUrl}stately`)
    const frame = await framed(page)
    expect(await seen(frame, 'idle')).to.deep.equal(['@xstate.actor root', '@xstate.snapshot idle'])
    await Promise.all([frame.waitForNavigation(), frame.evaluate('location.reload()').catch(() => {})])
    expect(await seen(frame, 'idle')).to.deep.equal(['@xstate.actor root', '@xstate.snapshot idle'])
    expect(errors).to.deep.equal([])
  })

  it('has no page where none is named', async () => {
    await using server = await serveInspection(new Hub(new Script(NOTES)), { port: 0 })
    expect((await fetch(`${server.pageUrl}stately`)).status).to.equal(404)
    expect((await fetch(`${server.pageUrl}stately.html`)).status).to.equal(404)
  })

  it('sees what createWebSocketInspector sends, by the relay that comes with it', async () => {
    const [port = 0] = await freePorts(1)
    const relay = createInspectorServer({ port, url: inspector, autoOpen: false })
    const stately = createWebSocketInspector({ url: `ws://localhost:${port}` })
    const actor = createActor(toggle).start()
    const end = inspect(actor, stately.inspect as never)
    try {
      const frame = await framed(await open(`http://localhost:${port}/`))
      actor.send({ type: 'turn' })
      expect(await seen(frame, 'on')).to.include.members([
        `@xstate.actor toggle ${process.pid}`,
        '@xstate.snapshot on',
      ])
    } finally {
      end()
      stately.stop()
      relay.stop()
    }
  })

  it('sees what createInspector sends in a way of one’s own', async () => {
    const page = await open(inspector)
    const post = (event: unknown) => void page.evaluate(`postMessage(${JSON.stringify(event)}, '*')`)
    const actor = createActor(toggle).start()
    const end = inspect(actor, createInspector({ send: post }).inspect as never)
    actor.send({ type: 'turn' })
    const events = await seen(page, 'on')
    expect(events[0]).to.match(/^@xstate\.actor toggle/)
    end()
  })
})
