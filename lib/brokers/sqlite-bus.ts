/** The bus of the embedded broker: what clusters show of themselves, and letters between them and whoever steers them. */
import { randomUUID } from 'node:crypto'
import { type Doorbell, Ringer } from '../doorbell.ts'
import type { SqliteFile } from '../sqlite.ts'
import type { ControlRequest, Listener, ListenOptions } from './broker.ts'
import { BusTables, type Letter } from './sqlite-bus-tables.ts'

/** Makes a doorbell of this process. */
export type HangDoorbell = (name: string, onRing: () => void) => Promise<Doorbell>

/**
 * Milliseconds between two rounds, in which a mailbox shows a sign of life and looks for letters whose ring got lost. A
 * cluster's is there for long and must cost next to nothing; who waits for an answer does not wait for long.
 */
const ROUND = { cluster: 3_000, asker: 250 } as const

/** Stats and letters of one broker. No handle of it keeps the process, except while answers are waited for. */
export class SqliteBus {
  readonly #file: SqliteFile
  readonly #tables: BusTables
  readonly #hang: HangDoorbell
  readonly #ringer: Ringer
  readonly #mailboxes = new Set<Mailbox>()

  constructor(file: SqliteFile, hang: HangDoorbell) {
    this.#file = file
    this.#tables = new BusTables(file)
    this.#hang = hang
    this.#ringer = new Ringer((doorbell) => void this.#unlist(doorbell))
  }

  publishStat(clusterId: string, body: string, ttl: number): Promise<void> {
    return this.#file.write(() => this.#tables.putStat(clusterId, body, ttl))
  }

  withdrawStat(clusterId: string): Promise<void> {
    return this.#file.write(() => this.#tables.deleteStat(clusterId))
  }

  stats(): Promise<string[]> {
    return this.#file.read(() => this.#tables.stats())
  }

  async control({ to, body, patience, onAnswer }: ControlRequest): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const mailbox = await this.#open({
      address: randomUUID(),
      isCluster: false,
      onLetters: (letters) => {
        if (letters.some((letter) => onAnswer(letter.body))) resolve()
      },
      onEnd: (error) => (error ? reject(error) : resolve()),
    })
    const timer = setTimeout(resolve, patience)
    try {
      if (await this.#send(mailbox.address, to, body, patience)) await promise
    } finally {
      clearTimeout(timer)
      await mailbox.close()
    }
  }

  async onControl({ clusterId, onOrder, onLost }: ListenOptions): Promise<Listener> {
    const answer = async ({ sender, body, patience }: Letter) => {
      const answered = await onOrder(body)
      // Whoever asked may be gone, and a file that is lost is told by the next round.
      if (answered !== undefined) await this.#send(clusterId, sender, answered, patience).catch(() => {})
    }
    const mailbox = await this.#open({
      address: clusterId,
      isCluster: true,
      onLetters: (letters) => {
        for (const letter of letters) void answer(letter)
      },
      onEnd: (error) => {
        if (error) onLost(error)
      },
    })
    return { stop: () => mailbox.close() }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#mailboxes].map((mailbox) => mailbox.close()))
    this.#ringer.close()
  }

  async #open(options: MailboxOptions): Promise<Mailbox> {
    const mailbox = new Mailbox(options, this.#file, this.#tables, () => this.#mailboxes.delete(mailbox))
    this.#mailboxes.add(mailbox)
    await mailbox.open(await this.#hang(`bus ${options.address}`, () => mailbox.look()))
    return mailbox
  }

  /** False when nobody has such an address. */
  async #send(sender: string, to: string | null, body: string, patience: number): Promise<boolean> {
    const recipients = await this.#file.write(() => {
      const found = this.#tables.recipients(to)
      for (const { address } of found) this.#tables.post(address, sender, body, patience)
      return found
    })
    for (const { doorbell } of recipients) if (doorbell !== null) this.#ringer.ring(doorbell)
    return recipients.length > 0
  }

  async #unlist(doorbell: string): Promise<void> {
    try {
      await this.#file.write(() => this.#tables.unlistDoorbell(doorbell))
    } catch {
      // It stays listed; whoever rings next tries again.
    }
  }
}

interface MailboxOptions {
  readonly address: string
  readonly isCluster: boolean
  readonly onLetters: (letters: readonly Letter[]) => void
  /** Called once: with the error where the file was lost. */
  readonly onEnd: (error?: Error) => void
}

/** An address at which letters arrive for as long as it is open. */
class Mailbox {
  readonly #options: MailboxOptions
  readonly #file: SqliteFile
  readonly #tables: BusTables
  readonly #onClosed: () => void
  #doorbell: Doorbell | undefined
  #round: NodeJS.Timeout | undefined
  #isOpen = true

  constructor(options: MailboxOptions, file: SqliteFile, tables: BusTables, onClosed: () => void) {
    this.#options = options
    this.#file = file
    this.#tables = tables
    this.#onClosed = onClosed
  }

  get address(): string {
    return this.#options.address
  }

  /** Lists the address; letters come from now on. Takes over the doorbell. */
  async open(doorbell: Doorbell): Promise<void> {
    this.#doorbell = doorbell
    try {
      await this.#renew()
    } catch (error) {
      await this.close()
      throw error
    }
    this.#round = setInterval(
      () => void this.#goRound(),
      this.#options.isCluster ? ROUND.cluster : ROUND.asker,
    )
    this.#round.unref()
  }

  /** Takes the letters that have come. */
  look(): void {
    this.#take().catch((error: Error) => this.#end(error))
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return
    await this.#end()
    // It ends by itself when it is not renewed.
    await this.#file.write(() => this.#tables.deleteMailbox(this.address)).catch(() => {})
  }

  async #goRound(): Promise<void> {
    try {
      await this.#renew()
      await this.#take()
    } catch (error) {
      await this.#end(error as Error)
    }
  }

  #renew(): Promise<void> {
    const { address, isCluster } = this.#options
    return this.#file.write(() => this.#tables.putMailbox(address, isCluster, this.#doorbell?.path ?? null))
  }

  async #take(): Promise<void> {
    if (!(await this.#file.read(() => this.#tables.hasLetters(this.address)))) return
    const letters = await this.#file.write(() => this.#tables.takeLetters(this.address))
    if (this.#isOpen) this.#options.onLetters(letters)
  }

  async #end(error?: Error): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    clearInterval(this.#round)
    this.#onClosed()
    this.#options.onEnd(error)
    await this.#doorbell?.close()
  }
}
