/** A RabbitMQ server of our own: its port, name, folder and port mapper belong to nobody else, so it may be killed at will. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePorts, hasEnded, Leash } from './server.ts'

/** Debian's `/usr/sbin/rabbitmq-server` insists on its own user; the real scripts run as anybody. */
const FOLDERS = ['/usr/lib/rabbitmq/bin', '/opt/rabbitmq/sbin', '/usr/local/sbin', '/opt/homebrew/sbin']
const LONGEST_START = 60_000
/** Nobody else may reach it; what leaves a rung while the next one has no leader yet is tried again after 5 s, not 180 s. */
const SERVER_SETTINGS =
  '-kernel inet_dist_use_interface {127,0,0,1} -rabbit dead_letter_worker_publisher_confirm_timeout 5000'
/** Erlang that listens at a socket and answers every expression with its value: `rabbitmqctl eval` starts a virtual machine for each. */
const ear = (path: string) => `
  file:delete("${path}"),
  Answer = fun(Text) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Text)),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    {answer, Value}
  end,
  spawn(fun() ->
    {ok, Ear} = gen_tcp:listen(0, [{ifaddr, {local, "${path}"}}, binary, {packet, 4}, {active, false}]),
    (fun Listen() ->
      {ok, Socket} = gen_tcp:accept(Ear),
      {ok, Text} = gen_tcp:recv(Socket, 0),
      gen_tcp:send(Socket, io_lib:format("~0tp", [catch Answer(Text)])),
      gen_tcp:close(Socket),
      Listen()
    end)()
  end).`

/** Where the scripts of an installed RabbitMQ are, or of the version that SPEC_RABBITMQ_SCRIPTS names; undefined where there is none. */
export function rabbitmqScripts(): string | undefined {
  const named = process.env.SPEC_RABBITMQ_SCRIPTS
  return [...(named ? [named] : []), ...FOLDERS].find((folder) => existsSync(join(folder, 'rabbitmq-server')))
}

export class RabbitmqServer {
  readonly port: number
  readonly #folder: string
  readonly #scripts: string
  readonly #epmdPort: number
  readonly #distributionPort: number
  readonly #leash: Leash
  #process: ChildProcess | undefined

  /** Makes a server that is not started yet, with these further lines of `rabbitmq.conf`, and these plugins. */
  static async make(
    configuration: readonly string[] = [],
    plugins: readonly string[] = [],
  ): Promise<RabbitmqServer> {
    const scripts = rabbitmqScripts()
    if (!scripts) throw new Error('RabbitMQ is not installed here: no rabbitmq-server was found.')
    const [port, epmdPort, distributionPort] = (await freePorts(3)) as [number, number, number]
    const folder = mkdtempSync(join(tmpdir(), 'qcluster-rabbitmq-'))
    await mkdir(join(folder, 'home'))
    await writeFile(join(folder, 'home', '.erlang.cookie'), 'qcluster', { mode: 0o400 })
    const lines = ['log.file.level = warning', ...configuration, '']
    await writeFile(join(folder, 'rabbitmq.conf'), lines.join('\n'))
    await writeFile(join(folder, 'enabled_plugins'), `[${plugins.join(', ')}].\n`)
    await writeFile(join(folder, 'ear.erl'), ear(join(folder, 'ear')))
    return new RabbitmqServer(scripts, folder, port, epmdPort, distributionPort)
  }

  constructor(scripts: string, folder: string, port: number, epmdPort: number, distributionPort: number) {
    this.#scripts = scripts
    this.#folder = folder
    this.port = port
    this.#epmdPort = epmdPort
    this.#distributionPort = distributionPort
    this.#leash = new Leash(`epmd -port ${epmdPort} -kill; rm -rf '${folder}'`)
  }

  get url(): string {
    return `amqp://127.0.0.1:${this.port}`
  }

  /** Starts it, or starts it again with all that it had; resolves when it takes connections. */
  async start(): Promise<void> {
    const child = spawn(join(this.#scripts, 'rabbitmq-server'), {
      env: this.#environment,
      cwd: this.#folder,
      detached: true,
      stdio: 'ignore',
    })
    this.#process = child
    this.#leash.hold(child.pid)
    const deadline = Date.now() + LONGEST_START
    while (!(await answers(this.port))) {
      if (hasEnded(child) || Date.now() > deadline) throw new Error(`RabbitMQ did not start.\n${this.#log()}`)
      await sleep(50)
    }
  }

  /** Stops it in order. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  /** Kills it with -9. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Freezes it: it answers nothing and closes nothing, like a host whose network is gone. */
  freeze(): void {
    this.#signal('SIGSTOP')
  }

  thaw(): void {
    this.#signal('SIGCONT')
  }

  /** Runs `rabbitmqctl`; resolves with what it prints. */
  async control(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(join(this.#scripts, 'rabbitmqctl'), ['-q', ...args], {
      env: this.#environment,
    })
    return stdout
  }

  /** Evaluates Erlang within it, in milliseconds; resolves with the value as Erlang writes it. */
  async evaluate(expressions: string): Promise<string> {
    const socket = await this.#reachEar()
    const text = Buffer.from(expressions)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(text.length)
    socket.write(Buffer.concat([length, text]))
    const answer = (await buffer(socket)).toString('utf8', 4)
    const value = /^\{answer,(.*)\}$/s.exec(answer)?.[1]
    if (value === undefined) throw new Error(`RabbitMQ cannot evaluate ${expressions}: ${answer}`)
    return value
  }

  /** It listens a moment after it takes connections. */
  async #reachEar(): Promise<Socket> {
    const deadline = Date.now() + LONGEST_START
    for (;;) {
      const socket = connect(join(this.#folder, 'ear'))
      try {
        await once(socket, 'connect')
        return socket
      } catch (cause) {
        if (Date.now() > deadline) throw new Error('RabbitMQ does not listen for Erlang.', { cause })
        await sleep(20)
      }
    }
  }

  /** Kills it, and removes all it had. */
  async remove(): Promise<void> {
    await this.kill()
    await this.#leash.cut()
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || hasEnded(child)) return
    const exit = once(child, 'exit')
    this.#signalTo(child, signal)
    await exit
    this.#leash.hold(undefined)
    // A server whose name is still known to the port mapper does not start again.
    while (await this.#isKnown()) await sleep(50)
  }

  async #isKnown(): Promise<boolean> {
    const { stdout } = await promisify(execFile)('epmd', ['-port', String(this.#epmdPort), '-names']).catch(
      () => ({ stdout: '' }),
    )
    return stdout.includes('name qcluster')
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#process) this.#signalTo(this.#process, signal)
  }

  /** To the whole group: shell, virtual machine and its helpers. */
  #signalTo(child: ChildProcess, signal: NodeJS.Signals): void {
    process.kill(-(child.pid as number), signal)
  }

  /** All of these are needed: what is missing is taken from `/etc/rabbitmq`. */
  get #environment(): NodeJS.ProcessEnv {
    const inFolder = (name: string) => join(this.#folder, name)
    return {
      PATH: process.env.PATH,
      HOME: inFolder('home'),
      LANG: 'C.UTF-8',
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_EPMD_PORT: String(this.#epmdPort),
      ERL_CRASH_DUMP: inFolder('erl_crash.dump'),
      RABBITMQ_NODENAME: `qcluster${this.port}@localhost`,
      RABBITMQ_NODE_PORT: String(this.port),
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_DIST_PORT: String(this.#distributionPort),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      RABBITMQ_CONFIG_FILE: inFolder('rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: inFolder('enabled_plugins'),
      RABBITMQ_MNESIA_BASE: inFolder('mnesia'),
      RABBITMQ_LOG_BASE: inFolder('log'),
      RABBITMQ_PID_FILE: inFolder('pid'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${SERVER_SETTINGS} -eval file:eval("${inFolder('ear.erl')}")`,
    }
  }

  #log(): string {
    const path = join(this.#folder, 'log', `qcluster${this.port}@localhost.log`)
    return existsSync(path) ? readFileSync(path, 'utf8').slice(-2_000) : 'It left no log.'
  }
}

/** Whether RabbitMQ speaks at a port: it answers AMQP's greeting with a frame, or with a greeting of its own. */
export async function answers(port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect({ host, port })
  socket.setTimeout(2_000, () => socket.destroy(new Error('no answer')))
  try {
    await once(socket, 'connect')
    socket.write('AMQP\x00\x00\x09\x01')
    const [data] = (await once(socket, 'data')) as [Buffer]
    return data[0] === 1
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
