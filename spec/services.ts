/** The servers that specs need, each made available when the first one asks for it, and ended with the run. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

type Name = 'rabbitmq' | 'postgres' | 'pgbouncer' | 'chromium'
type Holder = ChildProcessByStdio<Writable, Readable, null>

/** A server may have to be installed first. Call this in a `before` hook. */
export async function service(this: Mocha.Context, name: Name): Promise<string> {
  this.timeout(300_000)
  return serviceAt(name)
}

/** The same outside mocha; {@link endServices} ends what was started. */
export function serviceAt(name: Name): Promise<string> {
  urls[name] ??= start(name)
  return urls[name]
}

const urls: Partial<Record<Name, Promise<string>>> = {}
const holders: Holder[] = []
const main = join(import.meta.dirname, '..', 'tools', 'services', 'main.ts')

async function start(name: Name): Promise<string> {
  const holder = spawn(process.execPath, [main, name], { stdio: ['pipe', 'pipe', 'inherit'] })
  holders.push(holder)
  for await (const url of createInterface(holder.stdout)) return url
  throw new Error(`These specs need ${name}; why it cannot be had is said above.`)
}

export async function endServices(): Promise<void> {
  await Promise.all(holders.map(end))
}

async function end(holder: Holder): Promise<void> {
  if (holder.exitCode !== null) return
  const exit = once(holder, 'exit')
  holder.stdin.end()
  await exit
}

/** What a cluster would take its options from. */
const OPTIONS = /^(Q_?CLUSTER_\w+|(AMQP|CLOUDAMQP|RABBITMQ|DATABASE)_URL|LOG_LEVEL)$/

export const mochaHooks = {
  /** Nothing is specified, and no queue purged, of the servers that whoever runs the specs works with. */
  beforeAll(): void {
    for (const name of Object.keys(process.env)) if (OPTIONS.test(name)) delete process.env[name]
  },

  async afterAll(this: Mocha.Context): Promise<void> {
    this.timeout(30_000)
    await endServices()
  },
}
