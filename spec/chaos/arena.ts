/** The place of a trial: a folder, a broker's queue, and whoever lives there. */
import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, type Options } from 'qcluster'
import { Load } from './load.ts'
import { type Blow, wayTo } from './pairs.ts'

export class Arena {
  readonly folder: string
  readonly load: Load
  log = ''
  readonly #options: Options
  readonly #client: Client

  private constructor(folder: string, broker: string | undefined) {
    this.folder = folder
    this.#options = {
      name: `chaos-${folder.split('-').at(-1)?.toLowerCase()}`,
      tasks: [join(import.meta.dirname, 'tasks.mjs')],
      ...{ dataDir: join(folder, 'data'), workers: 2, grace: 10, retry: 0.1, timeout: 60, logLevel: 'warn' },
      broker: broker ?? null,
    }
    this.#client = new Client(this.#options)
    this.load = new Load(this.#client, this.ledger)
  }

  static async make(broker: string | undefined): Promise<Arena> {
    const folder = await mkdtemp(join(tmpdir(), 'qx-'))
    await mkdir(join(folder, 'node_modules'))
    await symlink(join(import.meta.dirname, '..', '..'), join(folder, 'node_modules', 'qcluster'))
    return new Arena(folder, broker)
  }

  /** Where tasks write down their runs. */
  get ledger(): string {
    return join(this.folder, 'ledger')
  }

  /** Where the process that is held in its state says which it is. */
  get gate(): string {
    return join(this.folder, 'gate')
  }

  /** Starts a cluster; with a blow to come one whose processes stop at the gate. */
  start(blow?: Blow): ChildProcess {
    const env = { ...process.env, TMPDIR: this.folder }
    const { outage, nudge } = blow ? wayTo(blow) : {}
    const gate = blow && { role: blow.role, state: blow.state, file: this.gate, outage, nudge }
    // What is entered while the cluster starts would be hit before it has anything to do.
    const ledger = blow?.state.includes('.running.') ? this.ledger : undefined
    const child = fork(join(import.meta.dirname, 'cluster.mjs'), [JSON.stringify(this.#options)], {
      execArgv: [],
      env: gate
        ? {
            ...env,
            NODE_OPTIONS: `--import ${join(import.meta.dirname, 'gate.mjs')}`,
            CHAOS_GATE: JSON.stringify({ ...gate, ledger }),
          }
        : env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
      })
    // Whoever was killed hears no order.
    child.on('error', () => {})
    return child
  }

  /** The processes that have this folder in their environment. Only a machine with /proc can tell. */
  living(): number[] {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0 && pid !== process.pid)
      .filter((pid) => readProc(`/proc/${pid}/environ`).includes(`TMPDIR=${this.folder}\0`))
  }

  /** Runtime directories that are left, with what is in them. */
  async directories(): Promise<string[]> {
    const names = (await readdir(this.folder)).filter((name) => name.startsWith('qc-'))
    const found = names.map(
      async (name) => `${name} (${(await readdir(join(this.folder, name))).join(', ')})`,
    )
    return Promise.all(found)
  }

  /** Leaves nothing, whatever has happened. */
  async remove(): Promise<void> {
    for (const pid of this.living()) kill(pid, 'SIGKILL')
    const { broker, name } = this.#options
    if (broker) await this.#client.atBroker((one) => one.deleteQueue(name as string)).catch(() => {})
    await this.#client.close()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It is gone.
  }
}

/** Stopped, or gone. */
export function isStopped(pid: number): boolean {
  const state = /\) (\w)/.exec(readProc(`/proc/${pid}/stat`))?.[1]
  return state === undefined || state === 'T'
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
