import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { TaskLoadError } from '../../lib/errors.ts'
import { loadTasks } from '../../lib/tasks/load.ts'

describe('loadTasks', () => {
  const define = JSON.stringify(new URL('../../lib/tasks/define.ts', import.meta.url).href)
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-load-'))
  })
  after(() => rm(folder, { recursive: true }))

  async function moduleOf(file: string, ...lines: string[]): Promise<string> {
    const path = join(folder, file)
    await writeFile(path, [`import { defineTask } from ${define}`, ...lines].join('\n'))
    return path
  }

  async function failureOf(...modules: string[]): Promise<TaskLoadError> {
    const error = await loadTasks(modules).then(
      () => expect.fail('it loads'),
      (failure: unknown) => failure,
    )
    expect(error).to.be.instanceOf(TaskLoadError)
    return error as TaskLoadError
  }

  it('finds what defineTask made under its own name', async () => {
    const path = await moduleOf(
      'defined.mjs',
      `export const add = defineTask({ name: 'math.add', timeout: 5 }, (a, b) => a + b)`,
      `export default defineTask('greet', () => 'hello')`,
    )
    const tasks = await loadTasks([path])

    expect([...tasks.keys()]).to.have.members(['math.add', 'greet'])
    expect(tasks.get('math.add')).to.include({ func: 'math.add' })
    expect(tasks.get('math.add')?.definition).to.deep.equal({ name: 'math.add', timeout: 5 })
    expect(tasks.get('math.add')?.fn(2, 3)).to.equal(5)
  })

  it('finds plain functions under the names of file and export', async () => {
    const path = await moduleOf(
      'plain.v2.mjs',
      'export function add(a, b) { return a + b }',
      'export const later = async () => {}',
      'export default function () {}',
    )
    const tasks = await loadTasks([path])

    expect([...tasks.keys()]).to.have.members(['plain.v2.add', 'plain.v2.later', 'plain.v2.default'])
    expect(tasks.get('plain.v2.add')?.definition).to.equal(undefined)
  })

  it('leaves classes and everything that is no function alone', async () => {
    const path = await moduleOf(
      'mixed.mjs',
      'export class Mailer {}',
      'export const nested = { inside() {} }',
      'export const limit = 5',
      'export const add = () => {}',
    )
    expect([...(await loadTasks([path])).keys()]).to.deep.equal(['mixed.add'])
  })

  it('loads TypeScript, file URLs and CommonJS', async () => {
    const typed = await moduleOf('typed.ts', 'export const add = (a: number): number => a')
    const common = join(folder, 'common.cjs')
    await writeFile(common, 'exports.add = function () {}')
    const tasks = await loadTasks([pathToFileURL(typed).href, common])

    expect([...tasks.keys()]).to.have.members(['typed.add', 'common.add'])
  })

  it('loads a path with characters that mean something in a URL', async () => {
    const path = await moduleOf('a #1 100%?.mjs', 'export const add = () => {}')

    expect([...(await loadTasks([path])).keys()]).to.deep.equal(['a #1 100%?.add'])
  })

  it('sees no clash in a function that is exported twice', async () => {
    const original = await moduleOf('original.mjs', `export const add = defineTask('twice', () => {})`)
    const again = await moduleOf('again.mjs', `export { add, add as plus } from './original.mjs'`)
    expect([...(await loadTasks([original, again, original])).keys()]).to.deep.equal(['twice'])
  })

  it('refuses two tasks of one name and says where both are', async () => {
    const one = await moduleOf('one.mjs', `export const add = defineTask('same', () => 1)`)
    const two = await moduleOf('two.mjs', `export const plus = defineTask('same', () => 2)`)
    const { message } = await failureOf(one, two)

    expect(message).to.equal(
      `Two tasks are named "same": add of ${one} and plus of ${two}; give one of them another name with defineTask.`,
    )
  })

  it('refuses a module that is missing', async () => {
    const path = join(folder, 'missing.mjs')
    const { message } = await failureOf(path)

    expect(message).to.equal(
      `The task module ${path} does not exist; correct its path in \`tasks\`, or create it.`,
    )
    expect((await failureOf('no-such-package-of-tasks')).message).to.contain('does not exist')
  })

  it('tells a missing import from a missing module', async () => {
    const path = await moduleOf('broken-import.mjs', `import './nowhere.mjs'`)
    const { message } = await failureOf(path)

    expect(message).to.contain(`The task module ${path} cannot be loaded: `).and.contain('nowhere.mjs')
  })

  it('refuses a module that throws, with the line, and keeps its stack', async () => {
    const path = await moduleOf('throws.mjs', `throw new TypeError('boom')`)
    const { message, cause } = await failureOf(path)

    expect(message).to.contain(`${path} cannot be loaded, line 2: TypeError: boom. Correct it`)
    expect((cause as Error).stack).to.contain('throws.mjs:2:')
  })

  it('refuses a module whose definition is wrong', async () => {
    const path = await moduleOf('wrong.mjs', `export const add = defineTask('', () => {})`)

    expect((await failureOf(path)).message).to.contain('ConfigError: The name of a task must be')
  })

  it('refuses a module without a task', async () => {
    const path = await moduleOf('empty.mjs', 'export const limit = 5')

    expect((await failureOf(path)).message).to.contain(
      `The task module ${path} exports no task; export a function`,
    )
  })
})
