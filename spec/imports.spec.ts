import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { BIN, Stage } from './stories/stage.ts'

const ROOT = join(import.meta.dirname, '..')

/** Imports a module in a Node of its own and prints the address of everything that this has loaded. */
const LIST_LOADED = `
  import { registerHooks } from 'node:module'
  const loaded = []
  registerHooks({
    load(url, context, next) {
      loaded.push(url)
      return next(url, context)
    },
  })
  await import(process.argv[1])
  console.log(JSON.stringify(loaded))
`

async function loadedBy(module: string): Promise<string[]> {
  const args = ['--input-type=module', '--eval', LIST_LOADED, module]
  // From our own root, so that the package finds itself by name, compiled as its users get it.
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT })
  return JSON.parse(stdout)
}

/** The packages that addresses belong to, each once. */
function packagesOf(urls: readonly string[]): string[] {
  const names = urls.map((url) => url.match(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1])
  return [...new Set(names.filter((name) => name !== undefined))].sort()
}

describe("import 'qcluster'", () => {
  let loaded: string[]

  before(async () => {
    loaded = await loadedBy('qcluster')
  })

  it('loads no package but xstate', () => {
    expect(packagesOf(loaded)).to.deep.equal(['xstate'])
  })

  it('loads no driver of a database', () => {
    expect(loaded).not.to.include('node:sqlite')
  })

  it('loads what is compiled', () => {
    const ours = loaded.filter((url) => url.startsWith('file:') && !url.includes('/node_modules/'))
    expect(ours).not.to.be.empty
    for (const url of ours) expect(url).to.match(/\/dist\/.*\.js$/)
  })
})

describe("import 'qcluster/machines'", () => {
  it('loads no package but xstate', async () => {
    expect(packagesOf(await loadedBy('qcluster/machines'))).to.deep.equal(['xstate'])
  })
})

describe('a ready worker', function () {
  this.timeout(60_000)
  const stage = new Stage({
    'tasks.mjs': `import { defineTask } from 'qcluster'
      const ready = [...globalThis.loaded]
      export const loaded = defineTask('loaded', () => ready)`,
  })

  it('has loaded no package but xstate when its first task comes, and no driver of a database', async () => {
    const noting = pathToFileURL(join(import.meta.dirname, 'stories', 'fixtures', 'loaded.mjs')).href
    const env = { ...process.env, NODE_OPTIONS: `--import=${noting}` }
    const cluster = stage.run([BIN, 'start', '--workers', '1'], env)
    await cluster.line(/running\./)
    const task = stage.qcluster('enqueue', 'loaded', '--wait')
    expect(await task.exit, task.log()).to.deep.equal([0, null])
    const loaded = JSON.parse(task.log()) as string[]
    expect(packagesOf(loaded)).to.deep.equal(['xstate'])
    expect(loaded).to.include.members(['node:net'])
    expect(loaded).not.to.include('node:sqlite')
  })
})

describe('the list of what was loaded', () => {
  it('holds packages of either kind of module, and parts of Node', async () => {
    expect(packagesOf(await loadedBy('winston'))).to.include('winston')
    expect(await loadedBy('node:sqlite')).to.include('node:sqlite')
  })
})
