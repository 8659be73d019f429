import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { FrameError } from '../errors.ts'

/** Where a worker shows what it runs. */
export const boardPath = (directory: string, worker: string): string => join(directory, `${worker}.board`)

/** A run that starts. Nanoseconds are those of `process.hrtime.bigint()`: one clock for all processes of a machine. */
export interface StartedRun {
  /** 32 hex digits. */
  readonly taskId: string
  readonly run: number
  readonly attempt: number
  /** The task's human name, and what it runs; cut where a record has no room for them (176 and 160 bytes). */
  readonly name: string
  readonly func: string
  /** When it started: milliseconds since the epoch, for people. */
  readonly startedAt: number
  /** When it started, in nanoseconds. */
  readonly startedNs: bigint
  /** When it must have ended, in nanoseconds; 0n for never. */
  readonly deadline: bigint
  /**
   * What its failure is judged by, where it has limits of its own (NaN in a record where not): who judges the runs of a
   * dead worker does not know the task, nor, when the pusher died as well, the package.
   */
  readonly maxAttempts?: number
  /** Seconds. */
  readonly retry?: number
  /** How far it is, from 0 to 1, and what it says with that: 88 bytes at most. */
  readonly progress?: number
  readonly message?: string
}

/** A run that a board shows. */
export interface RunningRecord extends StartedRun {
  readonly slot: number
}

/** A worker's end of its timer board. Each call is one write of 1–3 µs, so that it can stand in every task's way. */
export interface BoardWriter {
  start(slot: number, run: StartedRun): void
  finish(slot: number): void
  /** The file stays: whoever reads it looks once more when its worker is gone. */
  close(): void
}

/** The sentinel's end of a timer board. Works as well while the worker's event loop is blocked, or after its death. */
export interface BoardReader {
  /**
   * What runs now, in the order of the slots.
   * @throws {FrameError} when a record stays torn: no writer of this module leaves one behind.
   */
  read(): RunningRecord[]
  close(): void
}

/** A power of two of which a page holds a whole number: a record that crosses no page is not cut by a kill. */
const RECORD = 512

/**
 * Where the fields of a record are, little-endian. A reader may see half a write, and the sequence number at both ends
 * shows most of those. Not all: where reader and writer overtake each other the ends agree and the middle is torn (one
 * record in 700, at full speed on ext4), so there is a checksum too.
 */
const AT = {
  sequence: 0,
  state: 4,
  nameLength: 5,
  funcLength: 6,
  messageLength: 7,
  taskId: 8,
  run: 24,
  attempt: 28,
  startedAt: 32,
  startedNs: 40,
  deadline: 48,
  maxAttempts: 56,
  retry: 64,
  name: 72,
  func: 248,
  progress: 408,
  message: 416,
  checksum: 504,
  endSequence: 508,
} as const

/** Less than 256: the lengths have one byte each. */
const NAME_ROOM = 176
const FUNC_ROOM = 160
const MESSAGE_ROOM = 88
const IDLE = 0
const RUNNING = 1

/**
 * One read in 300 is torn while both sides are as fast as they can be. The next one is whole, unless the writer lost its
 * processor in the middle of a write; one that stays torn for all these milliseconds is damaged.
 */
const MOST_READS = 100

/**
 * Makes the board of one worker incarnation: a file of mode 0600 with one record for each run that it may have at a
 * time.
 *
 * @throws The system's error when the file exists already or may not be made.
 */
export function createBoard(path: string, slots: number): BoardWriter {
  const writer = new RecordWriter(openSync(path, 'wx', 0o600), slots)
  // Writing every record now takes the disk's space now, and not when a task starts.
  for (let slot = 0; slot < slots; slot += 1) writer.finish(slot)
  return writer
}

/**
 * Opens another process's board.
 *
 * @throws The system's error when there is none.
 */
export function openBoard(path: string): BoardReader {
  return new RecordReader(openSync(path, 'r'), path)
}

class RecordWriter implements BoardWriter {
  readonly #file: number
  readonly #record = Buffer.alloc(RECORD)
  /** Made once: a view costs as much as all the fields. */
  readonly #checked = this.#record.subarray(0, AT.checksum)
  readonly #sequences: Uint32Array

  constructor(file: number, slots: number) {
    this.#file = file
    this.#sequences = new Uint32Array(slots)
  }

  start(slot: number, run: StartedRun): void {
    const record = this.#record
    record[AT.state] = RUNNING
    record.write(run.taskId, AT.taskId, 16, 'hex')
    record.writeUInt32LE(run.run, AT.run)
    record.writeUInt32LE(run.attempt, AT.attempt)
    record.writeDoubleLE(run.startedAt, AT.startedAt)
    record.writeBigUInt64LE(run.startedNs, AT.startedNs)
    record.writeBigUInt64LE(run.deadline, AT.deadline)
    record.writeDoubleLE(run.maxAttempts ?? NaN, AT.maxAttempts)
    record.writeDoubleLE(run.retry ?? NaN, AT.retry)
    record.writeDoubleLE(run.progress ?? NaN, AT.progress)
    record[AT.messageLength] = run.message ? record.write(run.message, AT.message, MESSAGE_ROOM) : 0
    // `write` never leaves half a character.
    record[AT.nameLength] = record.write(run.name, AT.name, NAME_ROOM)
    record[AT.funcLength] = record.write(run.func, AT.func, FUNC_ROOM)
    this.#write(slot)
  }

  finish(slot: number): void {
    this.#record[AT.state] = IDLE
    this.#write(slot)
  }

  close(): void {
    closeSync(this.#file)
  }

  #write(slot: number): void {
    const record = this.#record
    const sequence = this.#nextSequence(slot)
    record.writeUInt32LE(sequence, AT.sequence)
    record.writeUInt32LE(crc32(this.#checked), AT.checksum)
    record.writeUInt32LE(sequence, AT.endSequence)
    writeSync(this.#file, record, 0, RECORD, slot * RECORD)
  }

  #nextSequence(slot: number): number {
    const sequence = this.#sequences[slot]
    if (sequence === undefined)
      throw new RangeError(`Expected a slot from 0 to ${this.#sequences.length - 1}, got ${slot}.`)
    this.#sequences[slot] = sequence + 1
    return this.#sequences[slot] as number
  }
}

class RecordReader implements BoardReader {
  readonly #file: number
  readonly #path: string
  #board = Buffer.alloc(0)

  constructor(file: number, path: string) {
    this.#file = file
    this.#path = path
  }

  read(): RunningRecord[] {
    this.#fill()
    const running: RunningRecord[] = []
    for (let slot = 0; (slot + 1) * RECORD <= this.#board.length; slot += 1) {
      const record = this.#whole(slot)
      if (record[AT.state] === RUNNING) running.push(decode(slot, record))
    }
    return running
  }

  close(): void {
    closeSync(this.#file)
  }

  /** A board grows to its size while it is made, and its last record may be a part of one. */
  #fill(): void {
    const { size } = fstatSync(this.#file)
    if (size !== this.#board.length) this.#board = Buffer.alloc(size)
    readSync(this.#file, this.#board, 0, size, 0)
  }

  #whole(slot: number): Buffer {
    const record = this.#board.subarray(slot * RECORD, (slot + 1) * RECORD)
    for (let reads = 1; isTorn(record); reads += 1) {
      if (reads === MOST_READS) throw this.#damaged(slot)
      if (reads > 1) pause()
      readSync(this.#file, record, 0, RECORD, slot * RECORD)
    }
    return record
  }

  #damaged(slot: number): FrameError {
    return new FrameError(
      `Record ${slot} of the timer board ${this.#path} is still torn after ${MOST_READS} reads; something else has written to it, or the disk is damaged.`,
    )
  }
}

function isTorn(record: Buffer): boolean {
  return (
    record.readUInt32LE(AT.sequence) !== record.readUInt32LE(AT.endSequence) ||
    record.readUInt32LE(AT.checksum) !== checksum(record)
  )
}

const checksum = (record: Buffer): number => crc32(record.subarray(0, AT.checksum))

const nobody = new Int32Array(new SharedArrayBuffer(4))

/** Blocks for a millisecond: a busy loop could be what keeps the writer from its processor. */
function pause(): void {
  Atomics.wait(nobody, 0, 0, 1)
}

function decode(slot: number, record: Buffer): RunningRecord {
  const maxAttempts = record.readDoubleLE(AT.maxAttempts)
  const retry = record.readDoubleLE(AT.retry)
  const progress = record.readDoubleLE(AT.progress)
  return {
    ...(!Number.isNaN(maxAttempts) && { maxAttempts }),
    ...(!Number.isNaN(retry) && { retry }),
    ...(!Number.isNaN(progress) && { progress, message: text(record, AT.message, AT.messageLength) }),
    slot,
    taskId: record.toString('hex', AT.taskId, AT.taskId + 16),
    run: record.readUInt32LE(AT.run),
    attempt: record.readUInt32LE(AT.attempt),
    name: text(record, AT.name, AT.nameLength),
    func: text(record, AT.func, AT.funcLength),
    startedAt: record.readDoubleLE(AT.startedAt),
    startedNs: record.readBigUInt64LE(AT.startedNs),
    deadline: record.readBigUInt64LE(AT.deadline),
  }
}

const text = (record: Buffer, at: number, lengthAt: number): string =>
  record.toString('utf8', at, at + (record[lengthAt] as number))
