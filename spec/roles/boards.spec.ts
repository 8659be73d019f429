import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type BoardWriter, boardPath, createBoard } from '../../lib/process/board.ts'
import { Boards } from '../../lib/roles/boards.ts'

const run = (taskId: string) => ({
  ...{ taskId: taskId.repeat(32), run: 1, attempt: 1, name: 'n', func: 'f' },
  ...{ startedAt: 1, startedNs: 1n, deadline: 0n },
})

describe('the boards of a cluster', () => {
  let directory: string
  let boards: Boards
  let writers: BoardWriter[]

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'qcluster-boards-'))
    boards = new Boards(directory)
    writers = []
  })
  afterEach(() => {
    for (const writer of writers) writer.close()
    rmSync(directory, { recursive: true, force: true })
  })

  function board(worker: string): BoardWriter {
    const writer = createBoard(boardPath(directory, worker), 2)
    writers.push(writer)
    return writer
  }

  const idsOf = (records: readonly { readonly taskId: string }[]) => records.map(({ taskId }) => taskId[0])

  it('show what each worker runs, and remember it', () => {
    board('one').start(0, run('a'))
    const two = board('two')
    two.start(1, run('b'))
    const seen = boards.look()
    expect([...seen.keys()]).to.have.members(['one', 'two'])
    expect(idsOf(seen.get('one') ?? [])).to.deep.equal(['a'])
    two.finish(1)
    expect(idsOf(boards.seen('two')), 'at the last look').to.deep.equal(['b'])
    boards.look()
    expect(boards.seen('two')).to.deep.equal([])
    expect(boards.seen('nobody')).to.deep.equal([])
  })

  it('are read once more when their worker is gone, and removed', () => {
    const writer = board('one')
    boards.look()
    writer.start(0, run('a'))
    expect(idsOf(boards.take('one'))).to.deep.equal(['a'])
    expect(existsSync(boardPath(directory, 'one'))).to.equal(false)
    expect(boards.seen('one')).to.deep.equal([])
    expect(boards.take('one'), 'it ran nothing before it had a board').to.deep.equal([])
  })

  it('are not believed where they are damaged, and hide no other', () => {
    writeFileSync(boardPath(directory, 'torn'), Buffer.alloc(1024, 7))
    board('cut').start(0, run('a'))
    truncateSync(boardPath(directory, 'cut'), 100)
    board('one').start(0, run('b'))
    const seen = boards.look()
    expect(['torn', 'cut', 'one'].map((worker) => idsOf(seen.get(worker) ?? []))).to.deep.equal([
      [],
      [],
      ['b'],
    ])
  })

  it('are none where the directory is gone', () => {
    rmSync(directory, { recursive: true })
    expect([...boards.look()]).to.deep.equal([])
  })
})
