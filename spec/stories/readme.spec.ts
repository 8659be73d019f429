/** The code of the README, as a user copies it: every block that begins with the name of a file. */
import { expect } from 'chai'
import { readme } from '../../tools/readme.ts'
import { Stage } from './stage.ts'

/** File → its code. One block may hold several files. */
function filesIn(markdown: string): Map<string, string> {
  const blocks = [...markdown.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string)
  const named = blocks.filter((code) => nameOf(code).length > 0)
  const parts = named.flatMap((code) => code.split(/^(?=\/\/ [\w-]+\.ts\n)/m))
  return new Map(parts.flatMap((part) => nameOf(part).map((name) => [name, checked(part)] as const)))
}

const nameOf = (code: string): string[] => /^\/\/ ([\w-]+\.ts)\n/.exec(code)?.slice(1, 2) ?? []

/** What a comment says that comes out is compared with it. */
const checked = (code: string): string =>
  code.replace(
    /^await (.+?) \/\/ (\d+|\[[^\]]*\]|"[^"]*")/gm,
    (_, call: string, value: string) => `check(await ${call}, ${value}) //`,
  )

const CHECK = `import { deepStrictEqual } from 'node:assert/strict'
globalThis.check = (got, wanted) => { deepStrictEqual(got, wanted); console.log('checked') }\n`

const TASKS = ['tasks.ts', 'page.ts', 'charge.ts']

describe('the code of the README', function () {
  this.timeout(60_000)
  const files = filesIn(readme())
  const stage = new Stage({ 'package.json': '{"type":"module"}', ...Object.fromEntries(files) })

  it('runs in ten lines', async () => {
    const { exit, log } = stage.run(['main.ts'])
    expect(await exit, log()).to.deep.equal([0, null])
    expect(log().split('\n')).to.include('5')
  })

  it('runs as it stands, and comes to what its comments say', async () => {
    const scripts = [...files.keys()].filter((name) => name !== 'main.ts' && !TASKS.includes(name))
    expect(scripts).to.include.members([
      'workflows.ts',
      'results.ts',
      'schedules.ts',
      'charges.ts',
      'steer.ts',
    ])
    const { exit, log } = stage.script(`${CHECK}
      import { Cluster, close } from 'qcluster'
      const cluster = new Cluster({ tasks: ${JSON.stringify(TASKS)}, workers: 1, logLevel: 'silent' })
      await cluster.start()
      for (const name of ${JSON.stringify(scripts)}) await import(process.cwd() + '/' + name)
      await cluster.stop()
      await close()`)
    expect(await exit, log()).to.deep.equal([0, null])
    expect(log().match(/^checked$/gm), log()).to.have.length(6)
  })
})
