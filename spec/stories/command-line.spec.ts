import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'

const root = join(import.meta.dirname, '..', '..')
const bin = join(root, 'dist', 'lib', 'cli', 'bin.js')

const TASKS = `import { defineTask } from 'qcluster'
export const add = defineTask('math.add', (a, b) => a + b)
export const slow = defineTask('slow', (ms) => new Promise((resolve) => setTimeout(resolve, ms, 'done')))`

interface Started {
  readonly process: ChildProcess
  /** Resolves when the log has such a line, and rejects when the process ends before. */
  readonly line: (pattern: RegExp) => Promise<string>
  readonly log: () => string
  readonly exit: Promise<[number | null, string | null]>
}

/** Everything that descends from a process, whatever has become of their parents since. */
function processesBelow(pid: number): number[] {
  const table = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
  const rows = table
    .trim()
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  const children = rows.filter(
    ([, parent, ...args]) => Number(parent) === pid && args.join(' ').includes('main.js'),
  )
  return children.flatMap(([child]) => [Number(child), ...processesBelow(Number(child))])
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe('the command line', function () {
  this.timeout(40_000)
  let folder: string
  let started: Started[]

  beforeEach(async () => {
    started = []
    folder = await mkdtemp(join(tmpdir(), 'qcluster-cli-'))
    await writeFile(join(folder, 'tasks.mjs'), TASKS)
    await writeFile(join(folder, 'package.json'), '{}')
    const modules = join(folder, 'node_modules')
    execFileSync('mkdir', [modules])
    await symlink(root, join(modules, 'qcluster'))
  })

  afterEach(async () => {
    for (const one of started) one.process.kill('SIGKILL')
    await Promise.all(started.map(({ exit }) => exit))
    await rm(folder, { recursive: true, force: true })
  })

  function run(...args: string[]): Started {
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: folder,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let text = ''
    const exit = once(child, 'close') as Started['exit']
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
    const line = async (pattern: RegExp) => {
      while (!pattern.test(text)) {
        const news = Promise.race([
          ...[child.stdout, child.stderr].map((stream) => once(stream, 'data')),
          exit,
        ])
        await news
        if (child.exitCode !== null && !pattern.test(text)) throw new Error(`no ${pattern} in:\n${text}`)
      }
      return pattern.exec(text)?.[0] as string
    }
    const one = { process: child, line, exit, log: () => text }
    started.push(one)
    return one
  }

  const ended = async (pids: readonly number[]) => {
    while (pids.some(isAlive)) await new Promise(setImmediate)
  }

  it('runs a cluster in one terminal and a task from another, and stops at SIGTERM', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const enqueue = run('enqueue', 'math.add', '1', '2', '--wait')
    expect(await enqueue.exit).to.deep.equal([0, null])
    expect(enqueue.log()).to.equal('3\n')
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(cluster.log()).to.include('has stopped.')
  })

  it('stops in order when the whole process group gets SIGTERM', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const pids = processesBelow(cluster.process.pid as number)
    process.kill(-(cluster.process.pid as number), 'SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(cluster.log()).to.match(
      /stopped pushing tasks[\s\S]*stopped doing work[\s\S]*stopped monitoring results[\s\S]*has stopped/,
    )
    expect(pids).to.have.length(6)
    expect(pids.filter(isAlive)).to.deep.equal([])
  })

  it('stops in order when SIGTERM comes while it starts', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/starting\./)
    cluster.process.kill('SIGTERM')
    expect(await cluster.exit).to.deep.equal([0, null])
    expect(cluster.log()).to.include('has stopped.')
  })

  it('leaves no orphan when its sentinel is killed, and lets them finish what they have', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const [sentinel, ...others] = processesBelow(cluster.process.pid as number)
    const enqueue = run('enqueue', 'slow', '4000', '--wait')
    await cluster.line(/processing/)
    process.kill(sentinel as number, 'SIGKILL')
    const [code] = await cluster.exit
    expect(code).to.not.equal(0)
    expect(await enqueue.exit, enqueue.log()).to.deep.equal([0, null])
    expect(enqueue.log()).to.equal('done\n')
    await ended(others)
  })

  it('leaves no orphan when the cluster itself is killed', async () => {
    const cluster = run('start', '--workers', '2')
    await cluster.line(/running\./)
    const pids = processesBelow(cluster.process.pid as number)
    cluster.process.kill('SIGKILL')
    await ended(pids)
    expect(pids).to.have.length(6)
  })

  it('ends with exit code 4 and the stack when a task module cannot be loaded', async () => {
    await writeFile(join(folder, 'tasks.mjs'), 'throw new Error("out of tea")')
    const cluster = run('start')
    expect(await cluster.exit).to.deep.equal([4, null])
    expect(cluster.log()).to.include('out of tea')
  })

  it('ends with exit code 3 and a sentence when the queue is no database', async () => {
    execFileSync('mkdir', ['-m', '700', join(folder, '.qcluster')])
    await writeFile(join(folder, '.qcluster', 'queue.db'), 'this is not a database at all'.repeat(50))
    const cluster = run('start')
    expect(await cluster.exit).to.deep.equal([3, null])
    expect(cluster.log()).to.include('is not an SQLite database')
  })

  it('ends with exit code 2 when an option is wrong', async () => {
    const cluster = run('start', '--workers', 'many')
    expect(await cluster.exit).to.deep.equal([2, null])
    expect(cluster.log()).to.include('workers')
  })
})
