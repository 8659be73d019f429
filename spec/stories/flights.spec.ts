import { readdirSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { type Command, Stage } from './stage.ts'

describe('the flights of processes that died', function () {
  this.timeout(120_000)
  const stage = new Stage({ 'tasks.mjs': 'export function add(a, b) { return a + b }' })

  async function replay(file: string, ...flags: string[]): Promise<{ code: number | null; log: string }> {
    const command = stage.qcluster('replay', file, ...flags)
    const [code] = await command.exit
    return { code, log: command.log() }
  }

  /** The files that a log names, the first first. */
  const filesIn = (cluster: Command) =>
    [...cluster.log().matchAll(/qcluster replay (\S+)/g)].map(([, file]) => file as string)
  const workerIn = (cluster: Command) =>
    Number([...cluster.log().matchAll(/ready for work at (\d+)/g)].at(-1)?.[1])

  it('are kept of a killed worker and of the sentinel that gives up, and can be replayed', async () => {
    const cluster = stage.qcluster('start', '--workers', '1', '--max-restarts', '0', '--no-scheduler')
    await cluster.line(/running\./)
    process.kill(workerIn(cluster), 'SIGKILL')
    expect(await cluster.exit, cluster.log()).to.deep.equal([5, null])
    const [worker = '', sentinel = ''] = filesIn(cluster)
    expect(readdirSync(join(stage.dataDir, 'flights'))).to.have.length(2)
    expect(statSync(worker).mode & 0o777).to.equal(0o600)
    const first = await replay(worker)
    expect(first.code, first.log).to.equal(0)
    expect(first.log).to.match(
      /killed by SIGKILL at .*\n[\s\S]* running\.idle\n\nIt ended in running\.idle, as it was recorded\.\n$/,
    )
    const second = await replay(sentinel, '--json')
    const { machine, code, matches, steps } = JSON.parse(second.log)
    expect({ machine, code, matches }).to.deep.equal({ machine: 'sentinel', code: 0, matches: true })
    expect(steps.at(-1)).to.deep.include({ recorded: 'failed', rebuilt: 'failed' })
    await refusesWhatIsNone(worker)
  })

  async function refusesWhatIsNone(file: string): Promise<void> {
    const text = await readFile(file, 'utf8')
    await stage.write('tampered.json', text.replaceAll('{"running":"idle"}', '{"running":"working"}'))
    const tampered = await replay('tampered.json')
    expect(tampered.code, tampered.log).to.equal(6)
    expect(tampered.log).to.match(
      /✖ rebuilt: running\.idle\n[\s\S]*differs from the recorded one from step 1 on/,
    )
    await stage.write('short.json', text.slice(0, -100))
    const short = await replay('short.json')
    expect(short.code).to.equal(2)
    expect(short.log).to.match(/^Expected the file of a flight, as the log names it, got short\.json, .*\n$/)
    const absent = await replay('absent.json')
    expect(absent.code).to.equal(2)
    expect(absent.log).to.match(/got absent\.json, which cannot be read as one: there is no such file\.\n$/)
    await stage.write('partial.json', text.replace('"machine":"worker",', ''))
    const partial = await replay('partial.json')
    expect(partial.code).to.equal(2)
    expect(partial.log).to.match(/got partial\.json, .*: its "machine" is missing\.\n$/)
    await stage.write('old.json', text.replace(/"version":"[^"]+"/, '"version":"0.0.1"'))
    const old = await replay('old.json')
    expect(old.code).to.equal(2)
    expect(old.log).to.match(/^Expected a flight of qcluster \S+, got one of 0\.0\.1: .*\n$/)
    await stage.write('foreign.json', text.replace('"machine":"worker"', '"machine":"pusher"'))
    const foreign = await replay('foreign.json')
    expect(foreign.code, foreign.log).to.be.oneOf([2, 6])
  }
})
