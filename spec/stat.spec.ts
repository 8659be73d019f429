import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import { clustersAsText, type View } from '../lib/cli/clusters.ts'
import { FRESH, sealEnvelope } from '../lib/envelope.ts'
import { Signer } from '../lib/signing.ts'
import { composeStat, countStrangers, openStats, type Stat, type StatParts, sealStat } from '../lib/stat.ts'
import type { ProcessStat } from '../machines/protocol.ts'

const signer = new Signer(['key'])

const processOf = (id: string, given: Partial<ProcessStat> = {}): ProcessStat => ({
  ...{ id, role: id.replace(/-.*/, '') as ProcessStat['role'], name: id, pid: 1, state: 'running' },
  ...{
    rss: null,
    cpu: null,
    delay: null,
    heardAt: null,
    blocked: false,
    tasks: [],
    counters: {},
    gauges: {},
  },
  ...given,
})

const statOf = (given: Partial<StatParts> = {}): Stat =>
  composeStat({
    ...{ clusterId: randomUUID(), name: 'four-words', queue: 'q', host: 'h', pid: 1, startedAt: Date.now() },
    ...{ life: 'running', reincarnations: 0, workerCount: 1, queueLimit: 10, counters: {}, processes: [] },
    ...given,
  })

const task = { taskId: 'a'.repeat(32), run: 1, attempt: 1, name: 'n', func: 'f', startedAt: 0 }

describe('a stat', () => {
  it('is Working while a worker is busy, or something waits', () => {
    const statusOf = (...processes: ProcessStat[]) => statOf({ processes }).status
    expect(statusOf(processOf('worker-1', { state: 'running.idle' }))).to.equal('Idle')
    expect(statusOf(processOf('worker-1', { state: 'running.working' }))).to.equal('Working')
    expect(statusOf(processOf('worker-1', { tasks: [task] }))).to.equal('Working')
    expect(statusOf(processOf('pusher', { gauges: { waiting: 1 } }))).to.equal('Working')
    expect(statusOf(processOf('monitor', { gauges: { unsaved: 1 } }))).to.equal('Working')
    expect(statusOf(processOf('worker-1', { state: 'running.idle', gauges: { kept: 1 } }))).to.equal(
      'Working',
    )
  })

  it('says what the cluster is about, whatever its workers do', () => {
    const processes = [processOf('worker-1', { tasks: [task] })]
    const lives = ['starting', 'paused', 'stopping', 'stopped'] as const
    expect(lives.map((life) => statOf({ life, processes }).status)).to.deep.equal([
      ...['Starting', 'Paused', 'Stopping', 'Stopped'],
    ])
  })

  it('sums what waits, and names the processes of each role', () => {
    const stat = statOf({
      processes: [
        processOf('sentinel', { pid: 10 }),
        processOf('worker-1', { pid: 11, gauges: { waiting: 2 } }),
        processOf('worker-2', { pid: null, state: 'down', gauges: {} }),
        processOf('pusher', { pid: 13, gauges: { waiting: 3 } }),
        processOf('monitor', { pid: 14, gauges: { unsaved: 4 } }),
      ],
    })
    expect(stat).to.deep.include({ taskQueueSize: 5, doneQueueSize: 4, workers: [11] })
    expect(stat).to.include({ sentinel: 10, pusher: 13, monitor: 14, scheduler: null })
  })

  it('is blocked while the broker takes nothing from the pusher', () => {
    const blockedWith = (blocked: number) =>
      statOf({ processes: [processOf('pusher', { gauges: { blocked } })] }).blocked
    expect([0, 1].map(blockedWith)).to.deep.equal([false, true])
  })

  it('is read as it was signed', () => {
    const stat = statOf()
    expect(openStats([sealStat(stat, signer)], signer)).to.deep.equal([stat])
  })

  it('is shown once, the newest of several', () => {
    const stat = statOf()
    const older = { ...stat, at: stat.at - 1_000, host: 'older' }
    const shown = openStats(
      [stat, older].map((one) => sealStat(one, signer)),
      signer,
    )
    expect(shown).to.deep.equal([stat])
  })

  it('is left out, and hides no other, where its text is hostile', () => {
    const good = statOf()
    const stale = { ...statOf(), at: Date.now() - FRESH - 1_000 }
    const hostile = [
      ...[
        '',
        'null',
        'not JSON',
        '{"__proto__":{"polluted":true}}',
        '\u001b[2J\u0007',
        'x'.repeat(5_000_000),
      ],
      ...[sealStat(statOf(), new Signer(['foreign'])), sealEnvelope('order', statOf(), signer)],
      ...[sealStat(stale, signer), sealStat(statOf(), signer).replace('"host":"h"', '"host":"x"')],
    ]
    expect(openStats([...hostile, sealStat(good, signer)], signer)).to.deep.equal([good])
    expect({}).to.not.have.property('polluted')
  })

  it('is counted as a stranger where it claims our queue and is not signed by us, and nothing else of it', () => {
    const foreign = (queue: string) => sealStat(statOf({ queue }), new Signer(['foreign']))
    const bodies = ['', 'null', '[]', `${'x'.repeat(5_000_000)}`, sealStat(statOf(), signer)]
    expect(countStrangers(bodies, 'q', signer)).to.equal(0)
    expect(countStrangers([...bodies, foreign('q'), foreign('other'), foreign('q')], 'q', signer)).to.equal(2)
  })

  it('cannot steer the terminal by the names of hosts, queues and tasks', () => {
    const name = '\u001b]0;owned\u0007\u001b[31mred\u202e\nnext line'
    const stat = statOf({
      ...{ host: name, queue: name },
      processes: [processOf('worker-1', { tasks: [{ ...task, name, func: name }] })],
    })
    const view: View = { broker: 'b', queue: 'q', queued: 0, locked: 0, saved: null, clusters: [stat] }
    const text = clustersAsText(view)
    expect(text).to.not.match(/[^\P{C}\n]/u)
    expect(text.split('\n').filter((line) => line.startsWith('next'))).to.deep.equal([])
  })
})
