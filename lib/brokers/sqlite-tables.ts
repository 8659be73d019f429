/** The tables of `queue.db`, and everything that is done to them. Each method runs inside a read or write of the file. */
import type { ProcessIdentity } from '../directory.ts'
import type { SqliteFile } from '../sqlite.ts'
import type { DeadLetter, DeadLetterFate, Enqueued, Package, Priority, Settlement } from './broker.ts'
import { QueueClock } from './sqlite-clock.ts'

/**
 * A message's body is written once and deleted once; whether it waits or is held is told by small rows beside it.
 * One table with a lease column and a partial index was tried: claim and acknowledgement took 1.6 times as long, for
 * each claim rewrites the row, body and all. The small table also makes it cheap to count or free what is held.
 */
export const MIGRATIONS = [
  `
  create table messages (
    seq integer primary key,
    task_id text not null,
    run integer not null,
    attempt integer not null,
    body text not null
  ) strict;
  create table waiting (
    queue text not null,
    due integer not null,
    seq integer not null,
    deliveries integer not null,
    primary key (queue, due, seq)
  ) strict, without rowid;
  create table held (
    seq integer primary key,
    lease integer not null,
    due integer not null,
    deliveries integer not null
  ) strict;
  create table leases (
    id integer primary key,
    queue text not null,
    boot text not null,
    pid_namespace text not null,
    pid integer not null,
    started_at text not null,
    beat integer not null,
    doorbell text
  ) strict;
  create table dead_letters (
    seq integer primary key,
    queue text not null,
    task_id text not null,
    run integer not null,
    attempt integer not null,
    body text not null,
    reason text not null,
    died_at integer not null
  ) strict;
  create index dead_letters_by_queue on dead_letters (queue);
  `,
  `
  create table stats (
    cluster text primary key,
    body text not null,
    shown_at integer not null,
    ttl integer not null
  ) strict, without rowid;
  create table mailboxes (
    address text primary key,
    is_cluster integer not null,
    renewed_at integer not null,
    doorbell text
  ) strict, without rowid;
  create table letters (
    seq integer primary key,
    recipient text not null,
    sender text not null,
    body text not null,
    sent_at integer not null,
    patience integer not null
  ) strict;
  create index letters_by_recipient on letters (recipient);
  `,
  `
  create table clock (
    id integer primary key check (id = 1),
    boot text not null,
    ahead real not null
  ) strict;
  `,
  `
  alter table held add column urgent integer not null default 0;
  `,
]

/** Urgent messages wait in a lane of their own. No queue has a line feed in its name. */
const laneOf = (queue: string, priority: Priority = 'normal'): string =>
  priority === 'high' ? `${queue}\nhigh` : queue

/** A message as it is claimed: seq, due, deliveries, task id, run, attempt, body. */
export type ClaimedRow = readonly [number, number, number, string, number, number, string]

/** A message's place in its queue: due, seq. */
type Place = readonly [number, number]

/** Who holds messages of a queue; `beat` changes with every sign of life. */
export interface Lease extends ProcessIdentity {
  readonly id: number
  readonly queue: string
  readonly beat: number
}

/** A settlement, and the message that its receipt stands for. */
export interface Redeemed {
  readonly seq: number
  readonly settlement: Settlement
}

/** Whose messages are settled. */
export interface Holder {
  readonly lease: number
  readonly queue: string
}

/** What is done to the tables: each method is one step of a transaction that its caller has begun. */
export class QueueTables {
  readonly #file: SqliteFile
  readonly #clock: QueueClock

  constructor(file: SqliteFile) {
    this.#file = file
    this.#clock = new QueueClock(file)
  }

  insertAll(batch: readonly Enqueued[]): void {
    const now = this.#clock.now()
    for (const { queue, package: sealed, delay = 0 } of batch) this.#insert(queue, sealed, now + delay)
  }

  /** Milliseconds until the first message of these priorities may be handed out; 0 or less: now. */
  untilDue(queue: string, priorities: readonly Priority[]): number | undefined {
    const dues = priorities.flatMap(
      (priority) => this.#file.get<{ due: number }>(FIRST_DUE, laneOf(queue, priority)) ?? [],
    )
    return dues.length === 0 ? undefined : Math.min(...dues.map(({ due }) => due)) - this.#clock.read()
  }

  /** Hands the first messages of a priority that are due to a lease, in the order they are due. */
  claim({ queue, lease }: Holder, priority: Priority, limit: number): ClaimedRow[] {
    const now = this.#clock.now()
    const lane = laneOf(queue, priority)
    const rows = this.#file.arrays<ClaimedRow>(SELECT_DUE, lane, now, limit)
    const last = rows.at(-1)
    if (!last) return []
    this.#file.run(HOLD_DUE, lease, priority === 'high' ? 1 : 0, lane, now, limit)
    // What was selected is all there is up to the last one, because we are alone in this transaction.
    this.#file.run(DELETE_FIRST_WAITING, lane, last[1], last[0])
    return rows
  }

  /** Settles what this lease still holds, and returns how many it held no more. */
  settle(holder: Holder, redeemed: readonly Redeemed[]): number {
    const acks = redeemed.filter(({ settlement }) => isPlainAck(settlement)).map(({ seq }) => seq)
    let settled = acks.length === 0 ? 0 : this.#acknowledge(holder.lease, acks)
    for (const one of redeemed) if (!isPlainAck(one.settlement)) settled += this.#settleOne(holder, one)
    return redeemed.length - settled
  }

  countWaiting(queue: string): number {
    return this.#count(
      'select count(*) as count from waiting where queue in (?, ?)',
      ...LANES.map((one) => laneOf(queue, one)),
    )
  }

  countHeld(queue: string): number {
    return this.#count(
      'select count(*) as count from held join leases on leases.id = held.lease where leases.queue = ?',
      queue,
    )
  }

  /** Forgets the first messages that wait, and returns how many. */
  deleteWaiting(queue: string, limit: number): number {
    return LANES.map((priority) => this.#deleteFirst(laneOf(queue, priority), limit)).reduce((a, b) => a + b)
  }

  /** Forgets what consumers hold; their receipts are void from then on. */
  deleteHeld(queue: string): void {
    this.#file.run(`delete from messages where seq in (select seq from held where ${LEASED})`, queue)
    this.#file.run(`delete from held where ${LEASED}`, queue)
  }

  deleteDeadLetters(queue: string): void {
    this.#file.run('delete from dead_letters where queue = ?', queue)
  }

  deadLetters(queue: string, limit: number): DeadLetter[] {
    return this.#file.all<DeadLetter>(
      `select task_id as taskId, run, attempt, body, queue, reason, died_at as diedAt
       from dead_letters where queue = ? order by seq desc limit ?`,
      queue,
      limit,
    )
  }

  /** Judges the first dead letters after a place; returns the place of the last one, undefined when there were none. */
  reviewDeadLetters(
    queue: string,
    judge: (letter: DeadLetter) => DeadLetterFate,
    after: number,
    limit: number,
  ): number | undefined {
    const letters = this.#file.all<DeadLetter & { readonly seq: number }>(
      `select seq, task_id as taskId, run, attempt, body, queue, reason, died_at as diedAt
       from dead_letters where queue = ? and seq > ? order by seq limit ?`,
      ...[queue, after, limit],
    )
    for (const { seq, ...letter } of letters) this.#carryOut(seq, queue, judge(letter))
    return letters.at(-1)?.seq
  }

  insertLease({ lease, queue }: Holder, owner: ProcessIdentity, doorbell: string): void {
    this.#file.run(
      `insert into leases (id, queue, boot, pid_namespace, pid, started_at, beat, doorbell)
       values (?, ?, ?, ?, ?, ?, 0, ?)`,
      lease,
      queue,
      owner.boot,
      owner.pidNamespace,
      owner.pid,
      owner.startedAt,
      doorbell,
    )
  }

  hasLease(lease: number): boolean {
    return this.#file.get('select 1 from leases where id = ?', lease) !== undefined
  }

  /** Shows a sign of life, and lists the doorbell again in case that somebody took it for dead. False: the lease is gone. */
  renewLease(lease: number, doorbell: string | null): boolean {
    return (
      this.#file.run('update leases set beat = beat + 1, doorbell = ? where id = ?', doorbell, lease) === 1
    )
  }

  /** Gives what a lease holds back to its queue, where it was, and ends the lease. Returns how many that were. */
  releaseLease(lease: number): number {
    const freed = this.#file.run(RETURN_HELD, lease)
    this.#file.run('delete from held where lease = ?', lease)
    this.#file.run('delete from leases where id = ?', lease)
    return freed
  }

  leasesExcept(lease: number): Lease[] {
    return this.#file.all<Lease>(
      `select id, queue, beat, boot, pid_namespace as pidNamespace, pid, started_at as startedAt
       from leases where id <> ?`,
      lease,
    )
  }

  isStillAt({ id, beat }: Lease): boolean {
    return this.#file.get('select 1 from leases where id = ? and beat = ?', id, beat) !== undefined
  }

  doorbells(queue: string): string[] {
    return this.#file
      .all<{ doorbell: string }>(
        'select doorbell from leases where queue = ? and doorbell is not null',
        queue,
      )
      .map(({ doorbell }) => doorbell)
  }

  unlistDoorbell(doorbell: string): void {
    this.#file.run('update leases set doorbell = null where doorbell = ?', doorbell)
  }

  #deleteFirst(lane: string, limit: number): number {
    const last = this.#file.arrays<Place>(FIRST_WAITING, lane, limit).at(-1)
    if (!last) return 0
    this.#file.run(DELETE_FIRST_MESSAGES, lane, ...last)
    return this.#file.run(DELETE_FIRST_WAITING, lane, ...last)
  }

  #carryOut(seq: number, queue: string, fate: DeadLetterFate): void {
    if (fate === 'keep') return
    if (fate !== 'remove') this.#insert(queue, fate.replay, this.#clock.now())
    this.#file.run('delete from dead_letters where seq = ?', seq)
  }

  #insert(queue: string, { taskId, run, attempt, body, priority }: Package, due: number): void {
    this.#file.run(
      'insert into messages (task_id, run, attempt, body) values (?, ?, ?, ?)',
      taskId,
      run,
      attempt,
      body,
    )
    this.#file.run(
      'insert into waiting (queue, due, seq, deliveries) values (?, ?, last_insert_rowid(), 0)',
      laneOf(queue, priority),
      Math.ceil(due),
    )
  }

  #acknowledge(lease: number, seqs: readonly number[]): number {
    const list = JSON.stringify(seqs)
    this.#file.run(DELETE_HELD_MESSAGES, list, lease)
    return this.#file.run(
      'delete from held where lease = ? and seq in (select value from json_each(?))',
      lease,
      list,
    )
  }

  /** Returns 1, or 0 when the lease does not hold it any more: then nothing may happen. */
  #settleOne({ lease, queue }: Holder, { seq, settlement }: Redeemed): number {
    if (settlement.type === 'requeue') this.#file.run(RETURN_ONE, queue, seq, lease)
    const settled = this.#file.run('delete from held where seq = ? and lease = ?', seq, lease)
    if (settled === 0 || settlement.type === 'requeue') return settled
    this.#file.run('delete from messages where seq = ?', seq)
    if (settlement.type === 'retry')
      this.#insert(queue, settlement.package, this.#clock.now() + settlement.delay)
    if (settlement.type === 'deadLetter') this.#bury(queue, settlement.package, settlement.reason)
    this.insertAll(followOf(settlement))
    return settled
  }

  #bury(queue: string, { taskId, run, attempt, body }: Package, reason: string): void {
    this.#file.run(
      `insert into dead_letters (queue, task_id, run, attempt, body, reason, died_at)
       values (?, ?, ?, ?, ?, ?, ?)`,
      queue,
      taskId,
      run,
      attempt,
      body,
      reason,
      Date.now(),
    )
  }

  #count(sql: string, ...values: string[]): number {
    return this.#file.get<{ count: number }>(sql, ...values)?.count ?? 0
  }
}

const LANES: readonly Priority[] = ['high', 'normal']

const FIRST_DUE = 'select due from waiting where queue = ? order by due, seq limit 1'

/** What is enqueued in the same transaction in which a delivery is forgotten. */
export function followOf(settlement: Settlement): readonly Enqueued[] {
  return 'follow' in settlement ? (settlement.follow ?? []) : []
}

/** One of the many that are acknowledged together. */
function isPlainAck(settlement: Settlement): boolean {
  return settlement.type === 'ack' && settlement.follow === undefined
}

const SELECT_DUE = `
  select waiting.seq, waiting.due, waiting.deliveries + 1, task_id, run, attempt, body
  from waiting cross join messages on messages.seq = waiting.seq
  where waiting.queue = ? and waiting.due <= ? order by waiting.due, waiting.seq limit ?`

const HOLD_DUE = `
  insert into held (seq, lease, urgent, due, deliveries)
  select seq, ?, ?, due, deliveries + 1 from waiting where queue = ? and due <= ? order by due, seq limit ?`

const FIRST_WAITING = 'select due, seq from waiting where queue = ? order by due, seq limit ?'

const DELETE_FIRST_WAITING = 'delete from waiting where queue = ? and (due, seq) <= (?, ?)'

const DELETE_FIRST_MESSAGES = `
  delete from messages where seq in (select seq from waiting where queue = ? and (due, seq) <= (?, ?))`

const LEASED = 'lease in (select id from leases where queue = ?)'

const URGENT_LANE = "iif(held.urgent, char(10) || 'high', '')"

const RETURN_HELD = `
  insert into waiting (queue, due, seq, deliveries)
  select leases.queue || ${URGENT_LANE}, held.due, held.seq, held.deliveries
  from held join leases on leases.id = held.lease where held.lease = ?`

const RETURN_ONE = `
  insert into waiting (queue, due, seq, deliveries)
  select ? || ${URGENT_LANE}, due, seq, deliveries from held where seq = ? and lease = ?`

const DELETE_HELD_MESSAGES = `
  delete from messages where seq in (
    select held.seq from json_each(?) cross join held on held.seq = value where held.lease = ?
  )`
