/** A cluster and a client that reach a server over a wire, which a spec may cut. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Cluster, type ClusterOptions, type Options } from 'qcluster'
import type { PostgresServer } from '../../tools/services/postgres.ts'
import type { RabbitmqServer } from '../../tools/services/rabbitmq.ts'
import { eventually } from '../contracts/material.ts'
import { Ledger } from './ledger.ts'
import { Wire } from './wire.ts'

const TASKS = [join(import.meta.dirname, '..', 'stories', 'fixtures', 'tasks.mjs')]

export class Line {
  readonly wire: Wire
  readonly options: Options & { readonly name: string; readonly dataDir: string }
  readonly client: Client
  /** `lost` and `connected`, as the cluster says them of the server. */
  readonly log: string[] = []
  /** Why it was lost each time. */
  readonly reasons: string[] = []
  ledger: Ledger
  cluster: Cluster
  #ledgers = 1

  /** With RabbitMQ as its broker. The cluster is not started; more options are given to it alone. */
  static toRabbitmq({ port }: RabbitmqServer, more: ClusterOptions = {}): Promise<Line> {
    return Line.#to(
      port,
      (at) => ({ broker: `amqp://127.0.0.1:${at}?heartbeat=2`, enqueueTimeout: 60 }),
      more,
    )
  }

  /** With PostgreSQL as its store: a query that is not answered in 2 s, not 30, counts as lost. */
  static toPostgres({ port }: PostgresServer): Promise<Line> {
    const store = (at: number) => `postgres://postgres@127.0.0.1:${at}/postgres?query_timeout=2000`
    return Line.#to(port, (at) => ({ store: store(at) }), {})
  }

  static async #to(target: number, way: (port: number) => Options, more: ClusterOptions): Promise<Line> {
    const wire = await Wire.to(target)
    return new Line(wire, await mkdtemp(join(tmpdir(), 'qcluster-faults-')), way(wire.port), more)
  }

  private constructor(wire: Wire, dataDir: string, way: Options, more: ClusterOptions) {
    this.wire = wire
    this.options = {
      ...way,
      ...{ name: `faults-${randomUUID()}`, dataDir, tasks: TASKS, workers: 2, retry: 0.1, saveLimit: 0 },
      logLevel: 'silent',
    }
    this.client = new Client(this.options)
    this.ledger = new Ledger(this.client, dataDir)
    this.cluster = this.#newCluster(more)
  }

  /** Another cluster takes the place of the one that has stopped, or was never started. */
  replace(more: ClusterOptions = {}): void {
    this.cluster = this.#newCluster(more)
  }

  /** What was written and heard before counts no more. */
  turnPage(): void {
    this.#ledgers += 1
    this.ledger = new Ledger(this.client, this.options.dataDir, `ledger-${this.#ledgers}`)
    this.log.length = 0
    this.reasons.length = 0
  }

  async isLost(): Promise<void> {
    await eventually(async () => this.log.includes('lost'), true)
  }

  /** A quick cluster may be done with all tasks before it has lost anything. */
  async isBack(): Promise<void> {
    await eventually(async () => this.log.includes('lost') && this.log.at(-1) === 'connected', true)
  }

  async end(): Promise<void> {
    await this.cluster.stop()
    await this.client.close()
    await this.wire.close()
    await rm(this.options.dataDir, { recursive: true })
  }

  #newCluster(more: ClusterOptions): Cluster {
    const cluster = new Cluster({ ...this.options, ...more })
    const what = this.options.store ? 'store' : 'broker'
    cluster.on(`${what}.lost`, ({ reason }) => {
      this.log.push('lost')
      this.reasons.push(String(reason))
    })
    cluster.on(`${what}.connected`, () => this.log.push('connected'))
    return cluster
  }
}
