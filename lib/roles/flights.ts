import type { Testament } from '../../machines/protocol.ts'
import type { Settings } from '../config.ts'
import { toErrorRecord } from '../errors.ts'
import { keepFlight } from '../flights.ts'
import { readFlight, removeFlight } from '../process/flight.ts'

/** Whose flights are kept, where, and how it is said. */
export interface FlightsOptions {
  readonly settings: Pick<Settings, 'dataDir'>
  /** Where the processes write while they live. */
  readonly directory: string
  /** The cluster's four words. */
  readonly cluster: string
  readonly record: (event: string, fields?: Record<string, unknown>) => void
}

/** What the machines of dead processes did last: kept in the data folder, or forgotten. */
export class Flights {
  readonly #options: FlightsOptions

  constructor(options: FlightsOptions) {
    this.#options = options
  }

  /** A process that had not begun has nothing to keep. Where nothing can be written, that is said and no more. */
  keep(machine: string, { worker: name, running, code, signal }: Testament): void {
    const { settings, directory, cluster, record } = this.#options
    const ended = { machine, process: name, cluster, endedAt: Date.now(), code, signal }
    try {
      const recording = readFlight(directory, name)
      if (!recording) return
      const runs = running.map(({ taskId, run }) => ({ taskId, run }))
      record('flight.kept', {
        process: name,
        file: keepFlight(settings.dataDir, { ...ended, running: runs, recording }),
      })
    } catch (error) {
      record('flight.lost', { process: name, reason: toErrorRecord(error).message })
    }
  }

  forget(name: string): void {
    removeFlight(this.#options.directory, name)
  }
}
