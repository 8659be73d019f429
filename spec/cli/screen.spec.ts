import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify, stripVTControlCharacters } from 'node:util'
import { expect } from 'chai'
import { type Broker, createBroker } from '../../lib/brokers/index.ts'
import { Signer } from '../../lib/signing.ts'
import { composeStat, sealStat } from '../../lib/stat.ts'
import type { ProcessStat } from '../../machines/protocol.ts'
import { BIN } from '../stories/stage.ts'

const signer = new Signer(['key'])
const ENTERS = '\u001b[?1049h'
const LEAVES = '\u001b[?1049l'
const SHOWS_CURSOR = '\u001b[?25h'

const SCAN = {
  ...{ taskId: 'a', run: 1, attempt: 1, name: 'ten-blue-old-pages', func: 'scan' },
  ...{ progress: 0.409, message: 'page\u001b[2J 4 of 10' },
}

function processOf(id: string, change: Partial<ProcessStat> = {}): ProcessStat {
  return {
    ...{
      id,
      role: 'worker',
      name: `Process-${id}`,
      pid: 7,
      state: 'running.idle',
      rss: 64 * 2 ** 20,
      cpu: 0,
    },
    ...{ delay: 0, heardAt: 0, blocked: false, tasks: [], counters: {}, gauges: {}, ...change },
  }
}

describe('the command line, on a screen', function () {
  this.timeout(60_000)
  const clusterId = randomUUID()
  const running: ChildProcess[] = []
  let folder: string
  let broker: Broker

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-screen-'))
    broker = await createBroker({ dataDir: join(folder, '.qcluster') })
    await broker.connect()
    const stat = composeStat({
      ...{
        clusterId,
        name: 'four-plain-words-here',
        queue: 'default',
        host: 'tower',
        pid: 1,
        startedAt: Date.now(),
      },
      ...{ life: 'running', reincarnations: 2, workerCount: 3, queueLimit: 10, counters: {} },
      processes: [
        processOf('sentinel', { role: 'sentinel', state: 'running.guarding' }),
        processOf('worker-1', { state: 'running.working', tasks: [{ ...SCAN, startedAt: Date.now() }] }),
        processOf('worker-2', { rss: 32 * 2 ** 20 }),
      ],
    })
    await broker.publishStat(clusterId, sealStat(stat, signer), 60_000)
  })
  afterEach(async () => {
    for (const one of running.splice(0)) if (one.exitCode === null) one.kill('SIGKILL')
    await broker.close()
    await rm(folder, { recursive: true })
  })

  const environment = { ...process.env, QCLUSTER_SECRET_KEY: 'key', TERM: 'xterm' }

  /** Runs a command in a terminal of 14 lines and 100 columns, which `script` makes. */
  function atTerminal(command: string) {
    const line = `stty rows 14 cols 100; echo $$ > pid; exec ${process.execPath} ${BIN} ${command}`
    const child = spawn('script', ['-qefc', line, '/dev/null'], { cwd: folder, env: environment })
    running.push(child)
    let seen = ''
    const exited = once(child, 'close').then(([code]) => code as number)
    const looks = new Set<() => void>()
    child.stdout.on('data', (chunk: Buffer) => {
      seen += chunk
      for (const look of looks) look()
    })
    /** Resolves when the newest frame shows it. */
    const shows = (text: string) =>
      new Promise<string>((resolve) => {
        const look = () => {
          const frame = seen.slice(seen.lastIndexOf('\u001b[1;1H'))
          if (!frame.includes(text)) return
          looks.delete(look)
          resolve(stripVTControlCharacters(frame))
        }
        looks.add(look)
        look()
      })
    return { shows, exited, type: (keys: string) => child.stdin.write(keys), all: () => seen }
  }

  it('watches clusters, turns to their machines, and gives the terminal back at q', async () => {
    const { shows, exited, type, all } = atTerminal('monitor')
    const first = await shows('quits')
    expect(first).to.match(/Host +Id +State +Pool +TQ +RQ +RC +Up/)
    expect(first).to.match(
      new RegExp(`tower +${clusterId.slice(-8)} +Working +2/3 +0 +0 +2 +0:\\d\\d:\\d\\d`),
    )
    type('\t')
    const second = await shows('worker-2')
    expect(second).to.contain('four-plain-words-here [default] on tower: Working')
    expect(second).to.match(
      /├─ worker-1 +7 +running › working +ten-blue-old-pages 'scan' for 0:00:\d\d, 40 % page 4 of 10/,
    )
    type('q')
    expect(await exited).to.equal(0)
    expect(all().indexOf(ENTERS)).to.be.within(0, all().indexOf('Host'))
    expect(all().trimEnd().endsWith(LEAVES)).to.equal(true)
    expect(all()).to.contain(SHOWS_CURSOR)
  })

  it('ends at Ctrl-C, too', async () => {
    const { shows, exited, type, all } = atTerminal('memory')
    await shows('quits')
    type('\u0003')
    expect(await exited).to.equal(0)
    expect(all()).to.contain(LEAVES)
  })

  it('gives the terminal back when it is told to end', async () => {
    const { shows, exited, all } = atTerminal('monitor')
    await shows('quits')
    process.kill(Number(await readFile(join(folder, 'pid'), 'utf8')), 'SIGTERM')
    expect(await exited).to.equal(0)
    expect(all()).to.contain(LEAVES)
  })

  it('shows memory as the clusters tell it, also of other hosts, as text where there is no terminal', async () => {
    expect(hostname()).to.not.equal('tower')
    const { stdout } = await promisify(execFile)(process.execPath, [BIN, 'memory', '--workers'], {
      cwd: folder,
      env: environment,
    })
    const [, ours = ''] = stdout.split('\n')
    expect(ours).to.match(new RegExp(`^tower +${clusterId.slice(-8)} +[\\d.]+ % .* 64\\.0 +- +96\\.0$`))
    expect(stdout).to.match(/Worker #1 \(MB\) +Worker #2 \(MB\)\n\S+ +64\.0 +32\.0/)
    expect(stdout).to.match(/tower: lowest [\d.]+ %/)
  })

  it('shows both as JSON', async () => {
    const json = async (command: string) => {
      const { stdout } = await promisify(execFile)(process.execPath, [BIN, command, '--json'], {
        cwd: folder,
        env: environment,
      })
      return JSON.parse(stdout)
    }
    expect((await json('monitor')).clusters[0].clusterId).to.equal(clusterId)
    expect((await json('memory'))[0].processes[2]).to.deep.equal({
      id: 'worker-2',
      pid: 7,
      rss: 32 * 2 ** 20,
    })
  })
})
