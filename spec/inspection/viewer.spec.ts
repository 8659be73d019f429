import { hostname } from 'node:os'
import { expect } from 'chai'
import { Hub } from '../../lib/inspection/hub.ts'
import { type InspectionServer, type ServerOptions, serveInspection } from '../../lib/inspection/server.ts'
import { definitionOf } from '../../lib/process/definition.ts'
import { childMachine, clusterMachine, sentinelMachine, workerMachine } from '../../machines/index.ts'
import type { InspectionNote, SeenSnapshot } from '../../machines/protocol.ts'
import { barriers, browsing, seesLit } from '../browser.ts'
import { Script } from './script.ts'

const registered = (id: string, name: string, parent: string | null, definition: object): InspectionNote => ({
  ...{ type: 'actor.registered', id, at: Date.now(), parent, name, definition },
})
const changed = (
  id: string,
  value: unknown,
  rest: Partial<SeenSnapshot> = {},
  event = 'xstate.init',
): InspectionNote => ({
  ...{ type: 'actor.changed', id, at: Date.now(), event: { type: event }, lasting: true },
  snapshot: { status: 'active', value, ...rest },
})
const sent = (id: string, type: string, from: string | null = null): InspectionNote => ({
  ...{ type: 'event.sent', id, at: Date.now(), from, event: { type } },
})

const MARKUP = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'

/** A cluster with so many workers, as it would tell of itself. */
function clusterOf(workers: number): InspectionNote[] {
  const slots = Array.from({ length: workers }, (_, n) => n + 1).flatMap((n) => [
    registered(`s/${n}`, `worker-${n}`, 's/0', definitionOf(childMachine, '')),
    changed(`s/${n}`, { alive: 'up' }),
    registered(`s/p${n}`, 'process', `s/${n}`, { id: 'process' }),
    registered(`w${n}/0`, `worker ${4_000 + n}`, `s/p${n}`, definitionOf(workerMachine, '')),
    changed(`w${n}/0`, { running: 'idle' }, { tags: ['running'] }),
  ])
  return [
    registered('c/0', 'cluster 100', null, definitionOf(clusterMachine, '')),
    changed('c/0', { running: 'taking' }, { tags: ['running'] }),
    registered('c/1', 'sentinel', 'c/0', { id: 'sentinel' }),
    registered('s/0', 'sentinel 101', 'c/1', definitionOf(sentinelMachine, '')),
    changed('s/0', { running: { intake: 'taking', staff: 'settled' } }, { tags: ['running'] }),
    ...slots,
  ]
}

describe('the viewer', function () {
  this.timeout(120_000)
  const { open, errors } = browsing()
  let script: Script
  let server: InspectionServer

  async function serve(present: readonly InspectionNote[], options: ServerOptions = {}): Promise<string> {
    script = new Script(present)
    server = await serveInspection(new Hub(script), { port: 0, ...options })
    return server.pageUrl
  }
  afterEach(async () => {
    expect(errors).to.deep.equal([])
    await server?.close()
  })

  it('shows every process, and a machine of which one chose to see more, by the keyboard alone', async () => {
    const page = await open(await serve(clusterOf(20)))
    await page.getByText('worker-20').waitFor()
    expect(await page.locator('tbody tr').count()).to.equal(22)
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowRight')
    await page.locator('h2', { hasText: 'worker 4001' }).waitFor()
    await page.keyboard.press('Enter')
    await page.locator('.page.machine [data-state="running.idle"].lit').waitFor()
    await page.keyboard.press('3')
    await page.locator('h2', { hasText: 'Around worker 4001' }).waitFor()
    await page.keyboard.press('1')
    await page.keyboard.press('/')
    await page.keyboard.type('worker-7')
    await page.getByText('worker-8').waitFor({ state: 'detached' })
    expect(await page.locator('tbody tr').count()).to.equal(1)
    await page.keyboard.press('Escape')
    await page.getByText('worker-8').waitFor()
  })

  it('leaves out no stage that a machine went through, however fast, nor any state of a slot', async () => {
    const page = await open(`${await serve(clusterOf(2))}#/machine/${encodeURIComponent('s/0')}`)
    await page.locator('[data-state="running.intake.taking"].lit').waitFor()
    const stages = ['stoppingPusher', 'stoppingWorkers', 'stoppingMonitor', 'closingPusher']
    script.take?.([
      sent('s/0', 'sentinel.stop', 'c/0'),
      ...stages.map((stage) =>
        changed('s/0', { stopping: { stage, urgency: 'patient' } }, { tags: ['stopping'] }, 'sentinel.stop'),
      ),
      changed('s/0', 'stopped', { status: 'done' }),
    ])
    await seesLit(page, ...stages.map((stage) => `stopping.stage.${stage}`), 'stopped')
  })

  it('shows how far the runs of a worker are, and what they say where that may be seen', async () => {
    const page = await open(await serve(clusterOf(3)))
    await page.getByText('worker-3').waitFor()
    const at = (progress: object[]) =>
      script.take?.([
        changed(
          'w2/0',
          { running: 'working' },
          { tags: ['running'], context: { progress } },
          'runner.progressed',
        ),
      ])
    const row = page.locator('tr', { hasText: 'worker-2' })
    at([{ taskId: 'a', progress: 0.4 }])
    await row.getByText('40 %').waitFor()
    at([
      { taskId: 'a', progress: 0.6, message: MARKUP },
      { taskId: 'b', progress: 1 },
    ])
    await row.getByText('80 %').waitFor()
    await page.evaluate(`location.hash = '#/machine/${encodeURIComponent('w2/0')}'`)
    await page.getByText('60 %').waitFor()
    await page.locator('.message', { hasText: 'onerror' }).waitFor()
    expect(await barriers(page)).to.deep.equal([])
    at([])
    await page.locator('progress').first().waitFor({ state: 'detached' })
    expect(await page.evaluate('window.hurt')).to.equal(undefined)
  })

  it('follows ten changes a second without making anything anew', async () => {
    const page = await open(await serve(clusterOf(20)))
    await page.locator('.diagram').waitFor()
    await page.evaluate('window.kept = [...document.querySelectorAll("tbody tr, .diagram, .box, .bar")]')
    for (let n = 1; n <= 20; n += 1) {
      const value = { running: n % 2 ? 'working' : 'idle' }
      script.take?.([
        sent('w3/0', n % 2 ? 'runner.busy' : 'runner.idle'),
        { ...changed('w3/0', value, { tags: ['running'] }, 'runner.busy'), lasting: false } as InspectionNote,
        sent('s/0', `event.${n}`),
      ])
      await page.getByText(`event.${n}`, { exact: true }).waitFor()
    }
    expect(
      await page.evaluate('window.kept.length > 30 && window.kept.every((one) => one.isConnected)'),
    ).to.equal(true)
  })

  it('shows what others have written as text and never as markup', async () => {
    const definition = {
      id: MARKUP,
      description: MARKUP,
      initial: MARKUP,
      states: { [MARKUP]: { on: { [MARKUP]: MARKUP } } },
    }
    const page = await open(
      await serve([registered('x/0', MARKUP, null, definition), changed('x/0', MARKUP), sent('x/0', MARKUP)]),
    )
    for (const key of ['2', '3', '1']) {
      await page.keyboard.press(key)
      await page.getByText('onerror').first().waitFor()
      expect(
        await page.evaluate('window.hurt ?? document.querySelectorAll("main img, main script").length'),
      ).to.equal(0)
    }
    script.take?.([sent('x/0', `task ${MARKUP}`)])
    await page.getByText('task <img').first().waitFor()
    expect(await page.evaluate('window.hurt')).to.equal(undefined)
  })

  it('draws boxes in boxes of a machine that it has no layout for, though it is called as one of ours', async () => {
    const definition = {
      ...{ id: 'worker', initial: 'hot' },
      states: {
        hot: { initial: 'boiling', states: { boiling: { on: { cool: '#worker.cold' } } } },
        cold: {},
      },
    }
    const page = await open(
      await serve([registered('x/0', 'worker 1', null, definition), changed('x/0', { hot: 'boiling' })]),
    )
    await page.locator('.nested.lit.leaf[data-state="hot.boiling"]').waitFor()
    script.take?.([sent('x/0', 'cool'), changed('x/0', 'cold', {}, 'cool')])
    await page.locator('.nested.lit.leaf[data-state="cold"]').waitFor()
    expect(await page.locator('.nested .followed').textContent()).to.equal('cool → cold')
  })

  it('takes the token out of the address, keeps it for a reload, and says what is missing without one', async () => {
    const url = (await serve(clusterOf(1), { host: '0.0.0.0' })).replace(hostname(), '127.0.0.1')
    const page = await open(url)
    await page.getByText('worker-1').waitFor()
    expect(page.url()).not.to.include('token')
    await page.reload()
    await page.getByText('worker-1').waitFor()
    const stranger = await open(url.replace(/\?.*/, ''))
    await stranger.getByText('open the whole address that qcluster has printed').waitFor()
  })

  it('says that the connection is lost, comes back by itself, and tells the end of a cluster from that', async () => {
    const page = await open(await serve(clusterOf(1)))
    await page.getByText('worker-1').waitFor()
    const { port } = new URL(server.url)
    await server.close()
    await page.getByText('The connection is lost').waitFor()
    await serve(clusterOf(2), { port: Number(port) })
    await page.getByText('worker-2').waitFor()
    await page.getByText('The connection is lost').waitFor({ state: 'detached' })
    script.take?.([changed('c/0', 'stopped', { status: 'done' }, 'process.exited')])
    await page.getByText('The cluster has ended').waitFor()
  })

  it('keeps nobody from using it, in dark and in light colours, and on a phone', async () => {
    const page = await open(await serve(clusterOf(3)))
    await page.getByText('worker-3').waitFor()
    script.take?.([
      sent('w1/0', 'runner.busy'),
      changed('w1/0', { running: 'working' }, { tags: ['running'] }, 'runner.busy'),
      changed('s/2', 'backingOff', { tags: ['down'] }, 'process.exited'),
      changed('w2/0', { running: 'idle' }, { status: 'error' }, 'process.exited'),
      sent('s/0', 'child.died', 's/2'),
    ])
    await page.getByText('backingOff').first().waitFor()
    for (const view of ['overview', 'machine', 'sequence']) {
      await page.evaluate(`location.hash = '#/${view}/${encodeURIComponent('s/0')}'`)
      await page.locator(`.page.${view}`).waitFor()
      for (const [colorScheme, width] of [
        ['dark', 1_600],
        ['light', 1_600],
        ['light', 390],
      ] as const) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize({ width, height: 900 })
        const where = `${view}, ${colorScheme}, ${width} wide`
        expect(await barriers(page), where).to.deep.equal([])
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), where).to.equal(
          true,
        )
      }
    }
  })
})
