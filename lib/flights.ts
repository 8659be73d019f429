/** What processes did before they died, kept in files of the data folder for `qcluster replay`. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError } from './errors.ts'
import { version } from './version.ts'

/** A process that ended, and what its machine did last. */
export interface Flight<TRecording = unknown> {
  readonly format: typeof FORMAT
  /** Of the package that recorded it: another one may have other machines. */
  readonly version: string
  /** The machine's id, which is the role of its process. */
  readonly machine: string
  readonly process: string
  readonly cluster: string
  /** When it ended: milliseconds since the epoch. */
  readonly endedAt: number
  readonly code: number | null
  readonly signal: string | null
  /** The runs that it had not finished. */
  readonly running: readonly { readonly taskId: string; readonly run: number }[]
  readonly recording: TRecording
}

const FORMAT = 'qcluster flight'
/** What none is without. */
const PARTS = ['machine', 'process', 'cluster', 'endedAt', 'running', 'recording'] as const
/** The most files that are kept. */
const MOST = 50

/**
 * Writes a flight beside the others, readable by this user alone, and removes the oldest of too many.
 * @returns the path of its file
 * @throws The system's error when it cannot be written.
 */
export function keepFlight(dataDir: string, flight: Omit<Flight, 'format' | 'version'>): string {
  const folder = join(dataDir, 'flights')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const time = new Date(flight.endedAt).toISOString().replaceAll(':', '-')
  const path = join(folder, `${time}-${flight.machine}-${flight.process.slice(-8)}.json`)
  writeFileSync(path, `${JSON.stringify({ format: FORMAT, version: version(), ...flight })}\n`, {
    mode: 0o600,
  })
  removeOldest(folder)
  return path
}

/**
 * Reads a flight of this version.
 * @throws {ConfigError} where the file is none, or was damaged, or is of another version
 */
export function readFlightFile<TRecording>(path: string): Flight<TRecording> {
  const flight = parse(path)
  if (flight.format !== FORMAT) throw notAFlight(path, 'it is some other JSON')
  if (flight.version !== version())
    throw new ConfigError(
      `Expected a flight of qcluster ${version()}, got one of ${flight.version ?? 'an unknown version'}: ${path}; replay it with that version, whose machines it is about.`,
    )
  const missing = PARTS.find((part) => flight[part] === undefined)
  if (missing) throw notAFlight(path, `its "${missing}" is missing`)
  return flight as Flight<TRecording>
}

function parse(path: string): Partial<Flight> {
  try {
    return Object(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw notAFlight(path, code === 'ENOENT' ? 'there is no such file' : message)
  }
}

function notAFlight(path: string, reason: string): ConfigError {
  return new ConfigError(
    `Expected the file of a flight, as the log names it, got ${path}, which cannot be read as one: ${reason}.`,
  )
}

/** Their names begin with their time. Another sentinel may remove them at the same moment. */
function removeOldest(folder: string): void {
  const surplus = readdirSync(folder).toSorted().slice(0, -MOST)
  for (const name of surplus) rmSync(join(folder, name), { force: true })
}
