import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { FrameError } from '../../lib/errors.ts'
import {
  type BoardReader,
  type BoardWriter,
  createBoard,
  openBoard,
  type StartedRun,
} from '../../lib/process/board.ts'

const run: StartedRun = {
  taskId: '0123456789abcdef0123456789abcdef',
  run: 3,
  attempt: 2,
  name: 'freddie-uncle-twenty-ten',
  func: 'mail.send',
  startedAt: 1_767_225_600_123,
  startedNs: 2n ** 60n + 1n,
  deadline: 2n ** 60n + 5_000_000_001n,
}

describe('a timer board', () => {
  let directory: string
  let path: string
  let writer: BoardWriter
  let reader: BoardReader
  let other: ChildProcess | undefined

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'qcluster-spec-'))
    path = join(directory, 'worker.board')
    writer = createBoard(path, 3)
    reader = openBoard(path)
  })
  afterEach(async () => {
    await killOther()
    writer.close()
    reader.close()
    await rm(directory, { recursive: true })
  })

  /** A process that writes to a board of its own as fast as it can. Every field of a record follows from its run. */
  async function writeElsewhere(otherPath: string): Promise<void> {
    const script = `
      import { createBoard } from ${JSON.stringify(new URL('../../lib/process/board.ts', import.meta.url).href)}
      const board = createBoard(${JSON.stringify(otherPath)}, 2)
      const numbered = ${numbered}
      process.stdout.write('started')
      for (let run = 1; ; run += 1) {
        board.start(1, numbered(run))
        if (run % 4 === 0) board.finish(1)
      }
    `
    other = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(other.stdout as NonNullable<ChildProcess['stdout']>, 'data')
  }

  async function killOther(): Promise<void> {
    if (!other) return
    const exit = once(other, 'exit')
    other.kill('SIGKILL')
    other = undefined
    await exit
  }

  it('shows what runs, in the order of the slots', () => {
    expect(reader.read()).to.deep.equal([])
    writer.start(2, run)
    writer.start(0, { ...run, run: 4, deadline: 0n })
    expect(reader.read()).to.deep.equal([
      { slot: 0, ...run, run: 4, deadline: 0n },
      { slot: 2, ...run },
    ])
    writer.finish(0)
    expect(reader.read()).to.deep.equal([{ slot: 2, ...run }])
  })

  it('shows the limits that a run has, and only those', () => {
    writer.start(0, { ...run, maxAttempts: 0, retry: 0.5 })
    writer.start(1, { ...run, retry: 60 })
    writer.start(2, run)
    expect(reader.read()).to.deep.equal([
      { slot: 0, ...run, maxAttempts: 0, retry: 0.5 },
      { slot: 1, ...run, retry: 60 },
      { slot: 2, ...run },
    ])
  })

  it('keeps nothing of a longer name that stood there before', () => {
    writer.start(1, { ...run, name: 'a-much-longer-name-than-the-next', func: 'reports.quarterly.render' })
    writer.start(1, { ...run, name: 'a', func: 'b' })
    expect(reader.read()).to.deep.equal([{ slot: 1, ...run, name: 'a', func: 'b' }])
  })

  it('cuts what has no room, never within a character', () => {
    writer.start(0, { ...run, name: 'x'.repeat(500), func: `x${'😀'.repeat(200)}` })
    const [record] = reader.read()
    expect(record?.name).to.equal('x'.repeat(176))
    expect(record?.func).to.equal(`x${'😀'.repeat(39)}`)
  })

  it('is a file for its owner only, with one record of 512 bytes a slot', async () => {
    const { mode, size } = await stat(path)
    expect(mode & 0o777).to.equal(0o600)
    expect(size).to.equal(3 * 512)
  })

  it('belongs to one incarnation: it is not made twice', () => {
    expect(() => createBoard(path, 3))
      .to.throw()
      .with.property('code', 'EEXIST')
  })

  it('has no slot but those it was made with', () => {
    expect(() => writer.start(3, run)).to.throw(RangeError, 'from 0 to 2, got 3')
    expect(() => writer.finish(-1)).to.throw(RangeError)
  })

  it('never shows a torn record, however fast its writer is', async () => {
    const otherPath = join(directory, 'other.board')
    await writeElsewhere(otherPath)
    const racing = openBoard(otherPath)
    try {
      const seen = new Set<number>()
      for (let i = 0; i < 50_000; i += 1)
        for (const { slot, ...record } of racing.read()) {
          seen.add(record.run)
          if (line(record) !== line(numbered(record.run))) expect(record).to.deep.equal(numbered(record.run))
        }
      expect(seen.size).to.be.above(1)
    } finally {
      racing.close()
    }
  }).timeout(30_000)

  it('can be read when its writer was killed in the middle of it', async () => {
    const otherPath = join(directory, 'other.board')
    await writeElsewhere(otherPath)
    const late = openBoard(otherPath)
    await killOther()
    try {
      for (const record of late.read()) expect(record).to.deep.equal({ slot: 1, ...numbered(record.run) })
    } finally {
      late.close()
    }
  })

  for (const [what, offset] of [
    ['two ends that differ', 512 + 508],
    ['a middle that does not belong to its ends', 512 + 300],
  ] as const)
    it(`refuses a record with ${what}`, async () => {
      writer.start(1, { ...run, func: 'x'.repeat(200) })
      await overwrite(path, offset)
      expect(() => reader.read()).to.throw(FrameError, `Record 1 of the timer board ${path}`)
    })
})

/** Sent to the writer's process as text, so it uses nothing from outside. */
function numbered(run: number): StartedRun {
  const digits = String(run).padStart(16, '0')
  return {
    taskId: digits + digits,
    run,
    attempt: run,
    name: digits.repeat(11),
    func: digits.repeat(10),
    startedAt: run,
    startedNs: BigInt(run),
    deadline: BigInt(run),
  }
}

/** Compared as text, because chai takes as long for one record as fifty reads do. */
const line = (record: StartedRun): string => Object.values(record).join()

async function overwrite(path: string, offset: number): Promise<void> {
  const byte = (await readFile(path))[offset] as number
  await using file = await open(path, 'r+')
  await file.write(Buffer.of(byte ^ 1), 0, 1, offset)
}
