/** A browser for the specs that look at pages: one for all, ended with the suite that asked for it first. */
import axe from 'axe-core'
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { service } from './services.ts'

/** What the page's own script says of a state that is lit, in the order in which they were. */
const WATCH = `window.lit = []
  new MutationObserver((records) => {
    for (const { target } of records)
      if (target.matches?.('.lit.leaf') && window.lit.at(-1) !== target.dataset.state) window.lit.push(target.dataset.state)
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ['class'] })`

/** Registers what opens and closes the browser, around the specs of the suite that this is called in. */
export function browsing() {
  let browser: Awaited<ReturnType<typeof chromium.launch>>
  const errors: string[] = []
  before(async function () {
    const executablePath = await service.call(this, 'chromium')
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
  })
  after(() => browser?.close())
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()))
    errors.length = 0
  })
  return {
    /** What pages have thrown, and what their security policy has stopped. */
    errors,
    async open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
      const context = await browser.newContext({ viewport: { width: 1600, height: 900 }, ...options })
      const page = await context.newPage()
      page.setDefaultTimeout(60_000)
      page.on('pageerror', ({ message }) => errors.push(message))
      page.on('console', (message) => {
        if (/Content Security Policy|Refused to/.test(message.text())) errors.push(message.text())
      })
      await page.addInitScript(WATCH)
      await page.goto(url)
      return page
    },
  }
}

/** Resolves when these states of a diagram have been lit, in this order. */
export async function seesLit(page: Page, ...states: readonly string[]): Promise<void> {
  await page.waitForFunction(hasLit, states)
}

/** Run in the page. */
function hasLit(states: readonly string[]): boolean {
  const { lit } = globalThis as unknown as { lit: string[] }
  return lit.reduce((at, state) => (state === states[at] ? at + 1 : at), 0) === states.length
}

/** The findings that keep somebody from using the page, as axe tells them. */
export async function barriers(page: Page): Promise<string[]> {
  // Colours on their way are neither the old nor the new ones.
  await page.emulateMedia({ reducedMotion: 'reduce' })
  if (!(await page.evaluate('"axe" in window'))) await page.evaluate(axe.source)
  const { violations } = (await page.evaluate("axe.run({ resultTypes: ['violations'] })")) as axe.AxeResults
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`,
    )
}
