/** The code of the README, as a user copies it. */
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { readme } from '../../tools/readme.ts'
import { Stage } from './stage.ts'

/** File → its code. One block may hold several files. */
function filesIn(markdown: string): Map<string, string> {
  const blocks = [...markdown.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string)
  const parts = blocks.flatMap((code) => code.split(/^(?=\/\/ [\w.-]+\.ts\n)/m))
  return new Map(parts.map((part) => [nameOf(part), checked(part)]))
}

function nameOf(code: string): string {
  const [, name] = /^\/\/ ([\w.-]+\.ts)\n/.exec(code) ?? []
  if (name === undefined) throw new Error(`This code of the README has no file name:\n${code}`)
  return name
}

/** What a comment says that comes out is compared with it. */
const checked = (code: string): string =>
  code.replace(
    /^await (.+?) \/\/ (\d+|\[[^\]]*\]|"[^"]*")/gm,
    (_, call: string, value: string) => `check(await ${call}, ${value}) //`,
  )

const CHECK = `import { deepStrictEqual } from 'node:assert/strict'
globalThis.check = (got, wanted) => { deepStrictEqual(got, wanted); console.log('checked') }\n`

const TASKS = ['tasks.ts', 'page.ts', 'charge.ts']
/** What is run by itself, or by others. */
const OTHERS = ['main.ts', 'room.ts', 'lamp.ts', 'qcluster.config.ts', ...TASKS]
/** What they import, beside qcluster. */
const XSTATE = join(import.meta.dirname, '..', '..', 'node_modules', 'xstate')

describe('the code of the README', function () {
  this.timeout(120_000)
  const files = filesIn(readme())
  const stage = new Stage({ 'package.json': '{"type":"module"}', ...Object.fromEntries(files) })

  beforeEach(() => symlink(XSTATE, join(stage.folder, 'node_modules', 'xstate')))

  it('runs in ten lines', async () => {
    const { exit, log } = stage.run(['main.ts'])
    expect(await exit, log()).to.deep.equal([0, null])
    expect(log().split('\n')).to.include('5')
  })

  it('runs a machine in a process of its own', async () => {
    const { exit, log } = stage.run(['room.ts'])
    expect(await exit, log()).to.deep.equal([0, null])
    expect(log()).to.equal('there is light\n')
  })

  it('runs as it stands, and comes to what its comments say', async () => {
    const scripts = [...files.keys()].filter((name) => !OTHERS.includes(name))
    expect(scripts).to.deep.equal([
      ...['workflows.ts', 'results.ts', 'schedules.ts', 'charges.ts'],
      ...['charge.test.ts', 'steer.ts', 'watch.ts'],
    ])
    const { exit, log } = stage.script(`${CHECK}
      import { Cluster, close } from 'qcluster'
      const cluster = new Cluster({ tasks: ${JSON.stringify(TASKS)}, workers: 1, logLevel: 'silent' })
      await cluster.start()
      for (const name of ${JSON.stringify(scripts)}) await import(process.cwd() + '/' + name)
      await cluster.stop()
      await close()`)
    expect(await exit, log()).to.deep.equal([0, null])
    expect(log().match(/^checked$/gm), log()).to.have.length(7)
    expect(log(), 'watch.ts').to.match(/^@xstate\.snapshot \S+$/m)
  })
})
