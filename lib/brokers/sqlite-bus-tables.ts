import type { SqliteFile } from '../sqlite.ts'
import { QueueClock } from './sqlite-clock.ts'

/** A text for one mailbox. */
export interface Letter {
  readonly sender: string
  readonly body: string
  readonly patience: number
}

/** Who can be written to, and where to ring. */
export interface Recipient {
  readonly address: string
  readonly doorbell: string | null
}

/** Milliseconds that a mailbox is listed without a sign of life. */
const MAILBOX_LIFE = 7_000
/** A time that lies further ahead than this was written by a clock that was set back before a boot; it counts as past. */
const AHEAD = 1_000

/** The bus's tables in `queue.db`: each method is one step of a read or of a transaction that its caller has begun. */
export class BusTables {
  readonly #file: SqliteFile
  readonly #clock: QueueClock

  constructor(file: SqliteFile) {
    this.#file = file
    this.#clock = new QueueClock(file)
  }

  putStat(cluster: string, body: string, ttl: number): void {
    const now = this.#clock.now()
    // What the dead have left is cleared away by the living.
    this.#file.run(
      `delete from stats where cluster <> ? and ${PAST('shown_at', 'ttl')}`,
      cluster,
      now,
      now + AHEAD,
    )
    this.#file.run(
      'insert or replace into stats (cluster, body, shown_at, ttl) values (?, ?, ?, ?)',
      ...[cluster, body, now, ttl],
    )
  }

  deleteStat(cluster: string): void {
    this.#file.run('delete from stats where cluster = ?', cluster)
  }

  stats(): string[] {
    const now = this.#clock.read()
    return this.#file
      .all<{ body: string }>(`select body from stats where not ${PAST('shown_at', 'ttl')}`, now, now + AHEAD)
      .map(({ body }) => body)
  }

  putMailbox(address: string, isCluster: boolean, doorbell: string | null): void {
    this.#file.run(
      'insert or replace into mailboxes (address, is_cluster, renewed_at, doorbell) values (?, ?, ?, ?)',
      ...[address, Number(isCluster), this.#clock.now(), doorbell],
    )
  }

  /** Forgets an address with the letters to it. */
  deleteMailbox(address: string): void {
    this.#file.run('delete from letters where recipient = ?', address)
    this.#file.run('delete from mailboxes where address = ?', address)
  }

  /** Everybody at an address; null: every cluster. */
  recipients(to: string | null): Recipient[] {
    const now = this.#clock.now()
    this.#deletePast(now)
    return to === null
      ? this.#file.all<Recipient>('select address, doorbell from mailboxes where is_cluster = 1')
      : this.#file.all<Recipient>('select address, doorbell from mailboxes where address = ?', to)
  }

  post(recipient: string, sender: string, body: string, patience: number): void {
    this.#file.run(
      'insert into letters (recipient, sender, body, sent_at, patience) values (?, ?, ?, ?, ?)',
      ...[recipient, sender, body, this.#clock.now(), patience],
    )
  }

  hasLetters(recipient: string): boolean {
    return this.#file.get('select 1 from letters where recipient = ? limit 1', recipient) !== undefined
  }

  takeLetters(recipient: string): Letter[] {
    this.#deletePast(this.#clock.now())
    const letters = this.#file.all<Letter>(
      'select sender, body, patience from letters where recipient = ? order by seq',
      recipient,
    )
    this.#file.run('delete from letters where recipient = ?', recipient)
    return letters
  }

  unlistDoorbell(doorbell: string): void {
    this.#file.run('update mailboxes set doorbell = null where doorbell = ?', doorbell)
  }

  /** Forgets mailboxes whose owner is gone, and letters that nobody has taken in time. */
  #deletePast(now: number): void {
    this.#file.run(
      `delete from mailboxes where ${PAST('renewed_at', String(MAILBOX_LIFE))}`,
      now,
      now + AHEAD,
    )
    this.#file.run(`delete from letters where ${PAST('sent_at', 'patience')}`, now, now + AHEAD)
  }
}

/** True of what is over: its parameters are the time now, and the latest that can honestly be written there. */
const PAST = (from: string, life: string) => `(${from} + ${life} <= ? or ${from} > ?)`
