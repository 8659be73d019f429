import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { Example } from './example.ts'

const STOP_LINES = [
  /stopping\.$/m,
  /stopped pushing tasks$/m,
  /stopped doing work$/m,
  /stopped monitoring results$/m,
  /has stopped\.$/m,
]

describe('examples/quickstart', function () {
  this.timeout(120_000)
  let example: Example
  let folder: string

  beforeEach(async () => {
    example = new Example('quickstart')
    folder = await example.folder()
  })

  afterEach(() => example.remove())

  /** Three files that count, and what is installed, built or ours, which does not. */
  async function fill(into: string): Promise<void> {
    const files = {
      'small.txt': 'one two\n',
      'deep/large.txt': 'word\n'.repeat(1_000),
      'empty.txt': '',
      'node_modules/package/index.js': 'x',
      'dist/index.js': 'x',
    }
    for (const [path, content] of Object.entries(files)) {
      await mkdir(join(into, path, '..'), { recursive: true })
      await writeFile(join(into, path), content)
    }
  }

  it('prints the largest files and the totals of a folder, logs to stderr, and leaves nothing but its data folder', async () => {
    await fill(folder)
    const { stdout, stderr, left, ...end } = await example.run()
    expect(end, stderr).to.deep.equal({ code: 0, signal: null })
    const sha256 = createHash('sha256').update('word\n'.repeat(1_000)).digest('hex').slice(0, 8)
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((row) => row.trim().split(/\s+/))
    expect(rows).to.deep.equal([
      ['bytes', 'lines', 'words', 'sha256', 'file'],
      ['5000', '1000', '1000', sha256, join('deep', 'large.txt')],
      ['8', '1', '2', rows[2]?.[3], 'small.txt'],
      ['0', '0', '0', rows[3]?.[3], 'empty.txt'],
      ['5008', '1001', '1002', 'total', 'of', '3', 'files'],
    ])
    expect(stderr).to.match(/ready for work at \d+$/m)
    expect(stderr).to.match(/running\.$/m)
    const places = STOP_LINES.map((line) => stderr.search(line))
    expect(places).not.to.include(-1)
    expect(places).to.deep.equal(places.toSorted((a, b) => a - b))
    expect(left).to.deep.equal([])
    expect(await readdir(folder)).to.have.members([
      ...['.qcluster', 'deep', 'dist', 'empty.txt', 'node_modules', 'small.txt'],
    ])
  })

  it('counts what git knows where the folder of its argument is a repository', async () => {
    const repository = join(folder, 'repository')
    await mkdir(repository)
    await fill(repository)
    execFileSync('git', ['-C', repository, 'init', '-q'])
    execFileSync('git', ['-C', repository, 'add', 'small.txt', 'dist'])
    const { stdout, code } = await example.run([repository])
    expect(code).to.equal(0)
    expect(stdout).to.match(/total of 2 files\n$/)
    expect(stdout).to.include('small.txt').and.to.include(join('dist', 'index.js'))
  })

  it('stops in order, with nothing left, when it is interrupted', async () => {
    for (let n = 0; n < 2_000; n += 1) await writeFile(join(folder, `${n}.txt`), 'x')
    const { stdout, stderr, left, ...end } = await example.run([], (pid, log) => {
      log.on('data', function listen(chunk: Buffer) {
        if (!String(chunk).includes('Processed')) return
        log.off('data', listen)
        process.kill(-pid, 'SIGINT')
      })
    })
    expect(end, stderr.slice(-2_000)).to.deep.equal({ code: 0, signal: null })
    expect(stdout).to.equal('')
    expect(stderr).to.match(/has stopped\.$/m)
    expect(left).to.deep.equal([])
  })

  it('refuses what is no folder, and says what it wants', async () => {
    const { code, stdout, stderr, left } = await example.run([join(folder, 'nothing here')])
    expect(code).to.equal(2)
    expect([stdout, left]).to.deep.equal(['', []])
    expect(stderr).to.match(/^Expected a folder, got .*nothing here; name one/)
    expect(await readdir(folder)).to.deep.equal([])
  })
})
