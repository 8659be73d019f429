import { thisProcess } from '../directory.ts'
import type { SqliteFile } from '../sqlite.ts'

/**
 * The time of a queue's file, the same for all its processes: milliseconds since the epoch as the wall clock tells them,
 * except that it never goes back. By the wall clock alone, all that was enqueued before it is set back an hour would wait
 * that hour. So the file keeps how far the wall clock is ahead of the one that runs since the boot, and
 * follows it forward only: when it is set, or when the machine has slept.
 */
export class QueueClock {
  readonly #file: SqliteFile

  constructor(file: SqliteFile) {
    this.#file = file
  }

  /** The time, in a write. */
  now(): number {
    const ahead = aheadNow()
    const known = this.#known()
    if (isFollowing(known, ahead)) return Math.floor(sinceBoot() + known)
    this.#file.run(KEEP, thisProcess().boot, ahead)
    return Math.floor(sinceBoot() + ahead)
  }

  /** The time, in a read. */
  read(): number {
    const ahead = aheadNow()
    const known = this.#known()
    return Math.floor(sinceBoot() + (isFollowing(known, ahead) ? known : ahead))
  }

  /** Undefined in a new file and after a boot. */
  #known(): number | undefined {
    return this.#file.get<{ ahead: number }>('select ahead from clock where boot = ?', thisProcess().boot)
      ?.ahead
  }
}

/** Milliseconds that a wall clock may gain by being set little by little before it is followed. */
const SLACK = 50

const KEEP = 'insert or replace into clock (id, boot, ahead) values (1, ?, ?)'

/** Milliseconds on the clock that all processes of a machine share and nobody can set. */
function sinceBoot(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

function aheadNow(): number {
  return Date.now() - sinceBoot()
}

function isFollowing(known: number | undefined, ahead: number): known is number {
  return known !== undefined && ahead <= known + SLACK
}
