import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause } from '../contracts/material.ts'
import { ended } from '../stories/stage.ts'

const SERVER = join(import.meta.dirname, '..', '..', 'tools', 'services', 'server.ts')

/** Starts a process in a group of its own, puts it on the leash, and tells its id. */
const holder = (farewell: string) => `
  import { spawn } from 'node:child_process'
  import { Leash } from ${JSON.stringify(SERVER)}
  const server = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
  new Leash(${JSON.stringify(farewell)}).hold(server.pid)
  process.stdout.write(String(server.pid))
  setInterval(() => {}, 1_000)`

describe('a server on a leash', () => {
  it('ends, and what it had with it, when the process is killed that started it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qcluster-leash-'))
    const child = spawn(process.execPath, ['--input-type=module', '--eval', holder(`rm -r '${folder}'`)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [pid] = (await once(child.stdout, 'data')) as [Buffer]
      child.kill('SIGKILL')
      await ended([Number(pid)])
      while (existsSync(folder)) await pause()
    } finally {
      child.kill('SIGKILL')
      await rm(folder, { recursive: true, force: true })
    }
  }).timeout(60_000)
})
