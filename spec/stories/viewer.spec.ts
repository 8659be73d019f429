import { randomUUID } from 'node:crypto'
import { createBroker } from '../../lib/brokers/index.ts'
import { browsing, seesLit } from '../browser.ts'
import { service } from '../services.ts'
import { Stage } from './stage.ts'

const TASKS = `import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask } from 'qcluster'
export const brew = defineTask('brew', (ms) => sleep(ms, ms))`

describe('the viewer of a cluster on RabbitMQ', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': TASKS })
  const { open } = browsing()
  const name = `story-${randomUUID()}`
  let broker: string

  before(async function () {
    broker = await service.call(this, 'rabbitmq')
  })
  after(async () => {
    const port = await createBroker({ broker })
    await port.connect()
    await port.deleteQueue(name)
    await port.close()
  })

  it('shows it through a task, a kill and the stop, each stage in its order', async () => {
    const args = ['--name', name, '--broker', broker]
    const cluster = stage.qcluster('start', ...args, '--workers', '1', '--inspect=0')
    const [url = ''] = (await cluster.line(/http:\S+/)).split(' ')
    await cluster.line(/running\./)
    const page = await open(url)
    const row = page.locator('tr', { hasText: 'worker-1' })
    await row.getByText('running.idle').waitFor()
    const task = stage.qcluster('enqueue', ...args, 'brew', '1500', '--wait')
    await row.getByText('running.working').waitFor()
    await task.exit
    await row.getByText('running.idle').waitFor()

    await row.getByRole('link', { name: 'worker-1' }).click()
    await page.keyboard.press('Enter')
    await page.locator('.page.machine [data-state="alive.up"].lit').waitFor()
    const pid = /worker (\d+)/.exec((await page.locator('.links').textContent()) ?? '')?.[1]
    process.kill(Number(pid), 'SIGKILL')
    await seesLit(page, 'examining.unasked', 'backingOff', 'alive.starting', 'alive.up')

    await page
      .locator('.facts')
      .getByRole('link', { name: /^sentinel \d+$/ })
      .click()
    await page.locator('[data-state="running.intake.taking"].lit').waitFor()
    cluster.process.kill('SIGTERM')
    const stages = ['stoppingPusher', 'stoppingWorkers', 'stoppingMonitor', 'closingPusher']
    await seesLit(page, ...stages.map((one) => `stopping.stage.${one}`), 'stopped')
    await page.getByText('The cluster has ended').waitFor()
    await cluster.exit
  })
})
