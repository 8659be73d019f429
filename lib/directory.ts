/**
 * Private runtime directories, where the sockets of this process live, and the identity that tells whether the
 * process which made something is still there.
 */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A process, named so that another one of the same pid is not taken for it. Empty texts where there is no /proc. */
export interface ProcessIdentity {
  /** The machine's boot id: pids of another boot, or of another machine, mean nothing here. */
  readonly boot: string
  /** The pid namespace: pids of another container mean nothing here either. */
  readonly pidNamespace: string
  readonly pid: number
  /** When it started, in clock ticks since the boot: tells two processes of one pid apart. */
  readonly startedAt: string
}

/** A directory for the sockets of this process. */
export interface RuntimeDirectory {
  readonly path: string
  /** Removes it with all that is in it. Safe to call twice. */
  remove(): void
}

/**
 * Makes a directory that only this user can enter, with a short path (a socket's may have 107 bytes).
 * It is removed by `remove()` or, at the latest, when the process exits.
 */
export function makeRuntimeDirectory(): RuntimeDirectory {
  const path = mkdtempSync(join(runtimeRoot(), PREFIX))
  writeFileSync(join(path, OWNER), JSON.stringify(thisProcess()), { mode: 0o600 })
  removeAtExit(path)
  return { path, remove: () => remove(path) }
}

/**
 * Makes this process an owner, too, of a directory that another one has made: it stays while one of them lives, and is
 * removed by the last at its exit.
 */
export function shareRuntimeDirectory(path: string): void {
  const mine = `${OWNER}-${process.pid}`
  writeFileSync(join(path, mine), JSON.stringify(thisProcess()), { mode: 0o600 })
  process.on('exit', () => {
    const others = ownersOf(path).filter((name) => name !== mine)
    if (areCertainlyDead(path, others)) rmSync(path, { recursive: true, force: true })
  })
}

/** Removes the directories of this user whose owners are certainly dead, and returns their paths. */
export function sweepRuntimeDirectories(): string[] {
  const root = runtimeRoot()
  const abandoned = readdirSync(root)
    .filter((name) => RUNTIME_DIRECTORY.test(name))
    .map((name) => join(root, name))
    .filter(isAbandoned)
  for (const path of abandoned) rmSync(path, { recursive: true, force: true })
  return abandoned
}

let self: ProcessIdentity | undefined

/** The identity of this process. */
export function thisProcess(): ProcessIdentity {
  self ??= {
    boot: readProc(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) ?? '',
    pidNamespace: readProc(() => readlinkSync('/proc/self/ns/pid')) ?? '',
    pid: process.pid,
    startedAt: processStat(process.pid)?.startedAt ?? '',
  }
  return self
}

/** True when that process has ended, beyond doubt. False also where nobody can know: another boot, another container, no /proc. */
export function isCertainlyDead(owner: ProcessIdentity): boolean {
  const { boot, pidNamespace } = thisProcess()
  if (boot === '' || pidNamespace === '') return false
  if (owner.boot !== boot || owner.pidNamespace !== pidNamespace) return false
  const stat = processStat(owner.pid)
  if (stat) return stat.startedAt !== owner.startedAt || ENDED.has(stat.state)
  return !answersSignals(owner.pid)
}

/** When a process started, in clock ticks since the boot; an empty text where there is no /proc, or no such process. */
export function startOf(pid: number): string {
  return processStat(pid)?.startedAt ?? ''
}

/** True when a process of this machine that was seen alive is not there any more, though another one may have its pid. */
export function isGone({ pid, bornAt }: { readonly pid: number; readonly bornAt: string }): boolean {
  const stat = processStat(pid)
  if (stat && bornAt !== '') return stat.startedAt !== bornAt || ENDED.has(stat.state)
  return !answersSignals(pid)
}

const PREFIX = 'qc-'
const RUNTIME_DIRECTORY = /^qc-\w{6}$/
const OWNER = 'owner'
/** The longest root that leaves room for a socket's name within 107 bytes. */
const LONGEST_ROOT = 70
/** Dead, but its parent has not asked for its exit code yet (Z), or just going (X). */
const ENDED = new Set(['Z', 'X', 'x'])

function runtimeRoot(): string {
  const root = tmpdir()
  return process.platform === 'win32' || Buffer.byteLength(root) <= LONGEST_ROOT ? root : '/tmp'
}

const made = new Set<string>()

function removeAtExit(path: string): void {
  if (made.size === 0) process.on('exit', removeAll)
  made.add(path)
}

function removeAll(): void {
  for (const path of made) rmSync(path, { recursive: true, force: true })
}

function remove(path: string): void {
  rmSync(path, { recursive: true, force: true })
  made.delete(path)
  if (made.size === 0) process.off('exit', removeAll)
}

function isAbandoned(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.uid !== process.getuid?.()) return false
  return areCertainlyDead(path, ownersOf(path))
}

/** The files in which the owners of a directory are named: who made it, and who shares it. */
function ownersOf(path: string): string[] {
  try {
    return readdirSync(path).filter((name) => name.startsWith(OWNER))
  } catch {
    return [] // Another process has just removed it.
  }
}

function areCertainlyDead(path: string, owners: readonly string[]): boolean {
  return (
    owners.length > 0 &&
    owners.every((name) => {
      const owner = readOwner(join(path, name))
      return owner !== undefined && isCertainlyDead(owner)
    })
  )
}

/** Undefined when it cannot be read: it is being made or removed right now, or it is not ours. Nothing is certain then. */
function readOwner(path: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
  } catch {
    return undefined
  }
}

/** State and start time of a process: the fields behind its name, which may itself hold blanks and brackets. */
function processStat(pid: number): { state: string; startedAt: string } | undefined {
  const line = readProc(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  if (line === undefined) return undefined
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? '', startedAt: fields[19] ?? '' }
}

/** Undefined where there is no such file: no such process, or no /proc at all. */
function readProc(read: () => string): string | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Asks the kernel itself, because a /proc mounted with `hidepid` hides the processes of others. */
function answersSignals(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
