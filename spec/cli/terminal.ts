/** The command line, as somebody has it who runs it in a folder; within this process, for a start of Node takes longer than most commands. */
import { main } from '../../lib/cli/main.ts'
import { close } from '../../lib/client.ts'

/** How a command ended, and what it said. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

let isTaken = false

/** Runs `qcluster` with these arguments, one at a time: folder, environment and output are the process's. */
export async function qcluster(
  folder: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Ran> {
  if (isTaken) throw new Error(`A command still runs, and "${args.join(' ')}" has to wait for its end.`)
  isTaken = true
  // A process that begins has no default client; another spec may have used one here.
  await close()
  const before = { folder: process.cwd(), environment: process.env, code: process.exitCode }
  const [stdout, stderr] = [caught(process.stdout), caught(process.stderr)]
  process.chdir(folder)
  process.env = environment
  process.exitCode = undefined
  try {
    await main(['node', 'qcluster', ...args])
    return { code: Number(process.exitCode ?? 0), stdout: stdout.text(), stderr: stderr.text() }
  } finally {
    process.exitCode = before.code
    process.env = before.environment
    process.chdir(before.folder)
    for (const stream of [stdout, stderr]) stream.free()
    isTaken = false
  }
}

/** Keeps what is written to a stream, which is no terminal meanwhile. */
function caught(stream: NodeJS.WriteStream) {
  const { write, isTTY } = stream
  let text = ''
  stream.isTTY = false
  stream.write = (chunk: Uint8Array | string) => {
    text += chunk
    return true
  }
  return { text: () => text, free: () => Object.assign(stream, { write, isTTY }) }
}
