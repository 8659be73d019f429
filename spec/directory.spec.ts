import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import {
  isCertainlyDead,
  isGone,
  makeRuntimeDirectory,
  type ProcessIdentity,
  type RuntimeDirectory,
  startOf,
  sweepRuntimeDirectories,
  thisProcess,
} from '../lib/directory.ts'

const MODULE = JSON.stringify(new URL('../lib/directory.ts', import.meta.url).href)
const isLinux = process.platform === 'linux'

describe('a process that may have to be killed', () => {
  it('is gone when it has ended, also where another one has its pid', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    await once(child, 'spawn')
    const seen = { pid: child.pid as number, bornAt: startOf(child.pid as number) }
    expect(isGone(seen)).to.equal(false)
    if (isLinux) expect(isGone({ ...seen, bornAt: '1' })).to.equal(true)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(isGone(seen)).to.equal(true)
  })
})

describe('a runtime directory', () => {
  let directory: RuntimeDirectory
  let children: ChildProcess[]

  beforeEach(() => {
    directory = makeRuntimeDirectory()
    children = []
  })
  afterEach(() => {
    directory.remove()
    for (const child of children) child.kill('SIGKILL')
  })

  /** Starts a process that makes a directory, says where, and then does what `ending` says. */
  async function maker(ending: string): Promise<{ child: ChildProcess; path: string }> {
    const code = `
      import { makeRuntimeDirectory } from ${MODULE}
      console.log(makeRuntimeDirectory().path)
      ${ending}`
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    children.push(child)
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    return { child, path: line.toString().trim() }
  }

  const lives = 'process.stdin.resume()'

  it('belongs to this user alone and has a short path', () => {
    const { mode } = statSync(directory.path)
    if (process.platform !== 'win32') expect(mode & 0o777).to.equal(0o700)
    expect(directory.path).to.match(/qc-\w{6}$/)
    expect(directory.path.length).to.be.below(80)
  })

  it('names its owner', () => {
    expect(JSON.parse(readFileSync(join(directory.path, 'owner'), 'utf8'))).to.deep.equal(thisProcess())
  })

  it('goes with all that is in it, also when asked twice', () => {
    writeFileSync(join(directory.path, 'socket'), '')
    directory.remove()
    directory.remove()
    expect(existsSync(directory.path)).to.equal(false)
  })

  it('goes when its process exits', async () => {
    const { child, path } = await maker('process.exit(3)')
    await once(child, 'close')
    expect(existsSync(path)).to.equal(false)
  })

  it('is swept when its process was killed, and not before', async function () {
    if (!isLinux) this.skip()
    const { child, path } = await maker(lives)
    expect(sweepRuntimeDirectories()).not.to.include.oneOf([path, directory.path])
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(sweepRuntimeDirectories()).to.include(path)
    expect(existsSync(path)).to.equal(false)
  })

  it('stays while one of those who share it lives, and goes with the last', async function () {
    if (!isLinux) this.skip()
    const { child, path } = await maker(lives)
    const heir = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { shareRuntimeDirectory } from ${MODULE}
         shareRuntimeDirectory(${JSON.stringify(path)})
         console.log('shared')
         process.stdin.on('end', () => process.exit()).resume()`,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    children.push(heir)
    await once(heir.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(sweepRuntimeDirectories()).not.to.include(path)
    heir.stdin.end()
    await once(heir, 'exit')
    expect(existsSync(path)).to.equal(false)
  })

  it('is left alone when nobody can tell whose it is', () => {
    const nobodys = mkdtempSync(join(tmpdir(), 'qc-'))
    try {
      expect(sweepRuntimeDirectories()).not.to.include(nobodys)
      writeFileSync(join(nobodys, 'owner'), '{"boot":')
      expect(sweepRuntimeDirectories()).not.to.include(nobodys)
    } finally {
      rmSync(nobodys, { recursive: true })
    }
  })
})

describe('the identity of a process', () => {
  const like = (given: Partial<ProcessIdentity>) => ({ ...thisProcess(), ...given })

  it('is alive while the process is', () => {
    expect(isCertainlyDead(thisProcess())).to.equal(false)
    expect(isCertainlyDead(like({ pid: 2 ** 22 + 1, boot: 'another' }))).to.equal(false)
  })

  it('is dead when the process has ended', async function () {
    if (!isLinux) this.skip()
    const child = spawn(process.execPath, ['-e', ''])
    const { pid = 0 } = child
    await once(child, 'exit')
    expect(isCertainlyDead(like({ pid }))).to.equal(true)
  })

  it('is dead when its pid is given to another process', function () {
    if (!isLinux) this.skip()
    expect(isCertainlyDead(like({ startedAt: '1' }))).to.equal(true)
  })

  it('is not known to be dead in another boot or another container', () => {
    expect(isCertainlyDead(like({ startedAt: '1', boot: 'another' }))).to.equal(false)
    expect(isCertainlyDead(like({ startedAt: '1', pidNamespace: 'pid:[1]' }))).to.equal(false)
  })
})
