import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

export const root = join(import.meta.dirname, '..', '..')

/** How an example ended, and what it said. */
export interface Ran {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
  /** Command lines of its processes that are still there. */
  readonly left: string[]
}

/** An example that runs as a user runs it, in a folder of its own and with nothing of ours in its environment. */
export class Example {
  readonly #file: string
  readonly #environment: NodeJS.ProcessEnv
  #folder = ''
  #group: number | undefined

  constructor(name: string, file = 'main.ts', environment: NodeJS.ProcessEnv = {}) {
    this.#file = join(root, 'examples', name, file)
    this.#environment = environment
  }

  /** The folder it runs in, made when it is first asked for. */
  async folder(): Promise<string> {
    this.#folder ||= await mkdtemp(join(tmpdir(), 'qcluster-example-'))
    return this.#folder
  }

  async run(
    args: readonly string[] = [],
    onStart?: (pid: number, stderr: NodeJS.ReadableStream, stdout: NodeJS.ReadableStream) => void,
  ): Promise<Ran> {
    // A group of its own: whatever it starts is found by it, also when its parent is gone.
    const child = spawn(process.execPath, [this.#file, ...args], {
      ...{ cwd: await this.folder(), detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
      env: { PATH: process.env.PATH, TMPDIR: tmpdir(), ...this.#environment },
    })
    this.#group = child.pid as number
    onStart?.(child.pid as number, child.stderr, child.stdout)
    const [stdout, stderr, [code, signal]] = await Promise.all([
      ...([text(child.stdout), text(child.stderr)] as const),
      once(child, 'close') as Promise<[number | null, string | null]>,
    ])
    return { code, signal, stdout, stderr, left: processesOf(this.#group) }
  }

  /** Ends what is left of it. */
  async remove(): Promise<void> {
    if (this.#group && processesOf(this.#group).length > 0) process.kill(-this.#group, 'SIGKILL')
    if (this.#folder) await rm(this.#folder, { recursive: true })
  }
}

function processesOf(group: number): string[] {
  const table = execFileSync('ps', ['-eo', 'pgid=,stat=,args='], { encoding: 'utf8' })
  const rows = table.split('\n').map((row) => row.trim().split(/\s+/))
  return rows
    .filter(([pgid, stat]) => Number(pgid) === group && !stat?.startsWith('Z'))
    .map(([, , ...args]) => args.join(' '))
}
