/**
 * Makes a service available that specs and benchmarks need: `node tools/services/main.ts rabbitmq|postgres|pgbouncer|chromium`.
 * It takes the one named in the environment, else one that runs on this machine, else it starts an installed one, else
 * one by `docker compose`, else, as root on Debian, it installs it first. It says on stderr what it does, and the URL on
 * stdout; what it started ends when stdin does, or at a signal. A killed parent leaves nothing behind.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { chromiumProgram } from './chromium.ts'
import { PgBouncer, pgbouncerProgram } from './pgbouncer.ts'
import { isPostgresAt, PostgresServer, postgresPrograms } from './postgres.ts'
import { answers, RabbitmqServer, rabbitmqScripts } from './rabbitmq.ts'
import { freePorts } from './server.ts'

/** A service that is available, and what must be ended when it is not needed any more. */
interface Service {
  readonly url: string
  readonly remove?: () => Promise<void>
}

/** What differs between the services. */
interface Recipe {
  readonly variable: string
  /** Where it is on a machine that has it as a service. */
  readonly local: { readonly url: string; readonly isThere: () => Promise<boolean> }
  readonly isInstalled: () => boolean
  readonly start: () => Promise<Service>
  readonly debianPackages: readonly string[]
  /** Absent where an image alone is of no use. */
  readonly docker?: Image
}

interface Image {
  readonly image: string
  readonly port: number
  readonly environment: readonly string[]
  readonly isReadyAt: (port: number) => Promise<boolean>
  readonly urlAt: (port: number) => string
}

const RECIPES: Readonly<Record<string, Recipe>> = {
  rabbitmq: {
    variable: 'SPEC_RABBITMQ_URL',
    local: { url: 'amqp://127.0.0.1:5672', isThere: () => answers(5672) },
    isInstalled: () => rabbitmqScripts() !== undefined,
    start: async () => started(await RabbitmqServer.make()),
    debianPackages: ['rabbitmq-server'],
    docker: {
      ...{ image: 'rabbitmq:4-management', port: 5672, environment: [], isReadyAt: answers },
      urlAt: (port) => `amqp://127.0.0.1:${port}`,
    },
  },
  postgres: {
    variable: 'SPEC_POSTGRES_URL',
    local: { url: 'postgres://postgres@127.0.0.1:5432/postgres', isThere: () => isPostgresAt(5432) },
    isInstalled: () => postgresPrograms() !== undefined,
    start: async () => started(await PostgresServer.make()),
    debianPackages: ['postgresql'],
    docker: {
      ...{ image: 'postgres:17', port: 5432, environment: ['POSTGRES_HOST_AUTH_METHOD=trust'] },
      isReadyAt: isPostgresAt,
      urlAt: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
    },
  },
  /** One in transaction mode; with a PostgreSQL behind it where it is started here. */
  pgbouncer: {
    variable: 'SPEC_PGBOUNCER_URL',
    // One that runs on this machine may be in any mode.
    local: { url: 'postgres://postgres@127.0.0.1:6432/postgres', isThere: async () => false },
    isInstalled: () => pgbouncerProgram() !== undefined && postgresPrograms() !== undefined,
    start: async () => started(await PgBouncer.make()),
    debianPackages: ['postgresql', 'pgbouncer'],
  },
  /** The program itself, which whoever needs it starts. */
  chromium: {
    variable: 'SPEC_CHROMIUM',
    local: { url: chromiumProgram() ?? '', isThere: async () => chromiumProgram() !== undefined },
    isInstalled: () => chromiumProgram() !== undefined,
    start: async () => ({ url: chromiumProgram() ?? '' }),
    debianPackages: ['chromium', 'fonts-dejavu-core'],
  },
}

const run = promisify(execFile)
const say = (text: string): boolean => process.stderr.write(`${text}\n`)

const [name = ''] = process.argv.slice(2)
const recipe = RECIPES[name]
if (!recipe) {
  say(`Expected one of ${Object.keys(RECIPES).join(', ')}, got "${name}".`)
  process.exit(2)
}
const stopped = Promise.race([
  once(process.stdin.resume(), 'end'),
  ...(['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => once(process, signal)),
])
try {
  const service = await provide(recipe)
  console.log(service.url)
  await stopped
  await service.remove?.()
  process.exit(0)
} catch (error) {
  say((error as Error).message)
  process.exit(1)
}

async function provide({
  variable,
  local,
  isInstalled,
  start,
  docker,
  debianPackages,
}: Recipe): Promise<Service> {
  const named = process.env[variable]
  if (named) return found(named, `${variable} names it`)
  if (await local.isThere()) return found(local.url, 'it runs on this machine')
  if (isInstalled()) return doing(`${name}: starting the installed one`, start)
  if (docker && (await hasDocker()))
    return doing(`${name}: starting ${docker.image} by docker`, () => runImage(docker))
  if (canInstall())
    return doing(`${name}: installing ${debianPackages.join(' and ')} by apt-get`, () =>
      installAndStart(debianPackages, start),
    )
  throw new Error(
    `${name} is needed and cannot be had: ${variable} is not set, none runs on this machine, none is installed, docker does not answer, and only root on Debian can install it. Start one and set ${variable}.`,
  )
}

function found(url: string, why: string): Service {
  say(`${name}: using the one at ${URL.parse(url)?.host ?? url}, for ${why}.`)
  return { url }
}

async function doing(what: string, work: () => Promise<Service>): Promise<Service> {
  const before = performance.now()
  say(`${what} …`)
  const service = await work()
  say(`${name}: ready after ${((performance.now() - before) / 1000).toFixed(1)} s.`)
  return service
}

async function started(server: RabbitmqServer | PostgresServer | PgBouncer): Promise<Service> {
  try {
    // It may be asked to go while it starts.
    await Promise.race([
      server.start(),
      stopped.then(() => Promise.reject(new Error(`${name} is not needed any more.`))),
    ])
  } catch (error) {
    await server.remove()
    throw error
  }
  return { url: server.url, remove: () => server.remove() }
}

function hasDocker(): Promise<boolean> {
  return run('docker', ['info'], { timeout: 10_000 }).then(
    () => true,
    () => false,
  )
}

async function runImage({
  image,
  port: inside,
  environment: settings,
  isReadyAt,
  urlAt,
}: Image): Promise<Service> {
  const [port = 0] = await freePorts(1)
  const environment = settings.flatMap((setting) => ['--env', setting])
  const { stdout } = await run('docker', [
    ...['run', '--detach', '--rm', '--publish', `127.0.0.1:${port}:${inside}`],
    ...environment,
    image,
  ])
  const remove = async () => void (await run('docker', ['rm', '--force', stdout.trim()]))
  const deadline = Date.now() + 120_000
  while (!(await isReadyAt(port)))
    if (Date.now() > deadline) throw new Error(`${image} did not become ready.`)
  return { url: urlAt(port), remove }
}

function canInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version')
}

async function installAndStart(
  debianPackages: readonly string[],
  start: () => Promise<Service>,
): Promise<Service> {
  const aptGet = async (...args: string[]) => {
    const child = spawn('apt-get', ['-qq', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const [code] = await once(child, 'exit')
    if (code !== 0)
      throw new Error(
        `apt-get ${args.join(' ')} ended with ${code}: ${debianPackages.join(' and ')} cannot be installed.`,
      )
  }
  await aptGet('update')
  await aptGet('install', '-y', '--no-install-recommends', ...debianPackages)
  return start()
}
