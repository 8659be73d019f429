import { readdirSync, rmSync } from 'node:fs'
import { FrameError } from '../errors.ts'
import { type BoardReader, boardPath, openBoard, type RunningRecord } from '../process/board.ts'

/** The timer boards of a cluster's workers. Each is opened once: they are read four times a second. */
export class Boards {
  readonly #directory: string
  readonly #readers = new Map<string, BoardReader>()
  #seen = new Map<string, readonly RunningRecord[]>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Reads every board, by its worker. In one go: going through a thread pool costs many times the reading. */
  look(): ReadonlyMap<string, readonly RunningRecord[]> {
    const files = filesOf(this.#directory).filter((file) => file.endsWith('.board'))
    const workers = files.map((file) => file.slice(0, -'.board'.length))
    this.#seen = new Map(workers.map((worker) => [worker, this.#read(worker)]))
    return this.#seen
  }

  /** What a worker ran at the last {@link look}. */
  seen(worker: string): readonly RunningRecord[] {
    return this.#seen.get(worker) ?? []
  }

  /** Reads a dead worker's board for the last time and removes it: it belongs to one incarnation. */
  take(worker: string): readonly RunningRecord[] {
    const records = this.#read(worker)
    this.#readers.get(worker)?.close()
    this.#readers.delete(worker)
    this.#seen.delete(worker)
    rmSync(boardPath(this.#directory, worker), { force: true })
    return records
  }

  /**
   * A worker that died before it had a board ran nothing. Of a damaged board nothing is believed either: what the worker
   * had then counts as never started and is handed on, which is better than to fall with it.
   */
  #read(worker: string): readonly RunningRecord[] {
    try {
      return this.#readerOf(worker).read()
    } catch (error) {
      if (error instanceof FrameError || (error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  #readerOf(worker: string): BoardReader {
    const known = this.#readers.get(worker)
    if (known) return known
    const opened = openBoard(boardPath(this.#directory, worker))
    this.#readers.set(worker, opened)
    return opened
  }
}

/** None where another cluster has swept the directory of one that it knows dead, while we end what that one left. */
function filesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
