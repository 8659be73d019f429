import { constants, existsSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import { brokerOptionsOf, createBroker } from '../brokers/index.ts'
import type { ResolvedConfig, Settings } from '../config.ts'
import { ConfigError, EXIT, toErrorRecord } from '../errors.ts'
import { escapeControls } from '../logger.ts'
import { createStore, storeOptionsOf } from '../stores/index.ts'
import type { TaskDefinition } from '../tasks/define.ts'
import { type LoadedTask, loadTasks } from '../tasks/load.ts'
import { exitCodeOf, type Finding, findingsOf } from './findings.ts'
import { addFlags, configOf, type Flags } from './flags.ts'
import { START_FLAGS } from './start.ts'

const EXAMPLES = `
Ends with 0 when there is nothing worse than a warning, 2 when the configuration is wrong, 3 when the broker or the store
cannot be reached, and 4 when the tasks cannot be loaded.

Examples:
  qcluster check
  qcluster check --name long --json`

/** `qcluster check`: what would go wrong, without starting anything. */
export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('Check the configuration, the tasks, the broker and the store, without starting anything.')
    .option('--json', 'As JSON.')
  addFlags(command, START_FLAGS).addHelpText('after', EXAMPLES).action(check)
}

async function check(flags: Flags): Promise<void> {
  const report = await inspect(flags)
  const text = flags.json ? JSON.stringify(reportOf(report), null, 2) : textOf(report)
  // Task modules were loaded here, and what they have opened would keep the process alive.
  process.stdout.write(`${text}\n`, () => process.exit(exitCodeOf(report.findings)))
}

interface Report {
  readonly findings: readonly Finding[]
  /** What was reached, in a line each. */
  readonly services: readonly Service[]
}

interface Service {
  readonly name: 'broker' | 'store'
  readonly info: string
}

async function inspect(flags: Flags): Promise<Report> {
  const config = await configOf(flags, {}, { makeKey: false }).catch(faultsOf)
  if (Array.isArray(config)) return { findings: config, services: [] }
  const reached = await inspectServices(config.settings)
  const { tasks, faults } = await inspectTasks(config)
  return {
    findings: [...reached.filter((one) => 'severity' in one), ...faults, ...findingsOf({ ...config, tasks })],
    services: reached.filter((one) => 'info' in one),
  }
}

function faultsOf(error: unknown): Finding[] {
  if (!(error instanceof ConfigError)) throw error
  return error.faults.map((message) => ({
    severity: 'error',
    code: 'configuration',
    message,
    remedy: 'Nothing else was checked: it depends on the configuration.',
    exitCode: EXIT.usage,
  }))
}

/** A folder that is not there yet is left so: the first start, or the first task, makes it. */
async function inspectServices(settings: Settings): Promise<(Finding | Service)[]> {
  const { dataDir, broker, store } = settings
  const hasFolder = existsSync(dataDir)
  const findings = [
    ...(hasFolder ? [] : [inspectPlace(dataDir)]),
    ...(hasFolder || broker ? [reach('broker', await createBroker(brokerOptionsOf(settings)))] : []),
    ...(hasFolder || store ? [reach('store', await createStore(storeOptionsOf(settings)))] : []),
  ]
  return (await Promise.all(findings)).flat()
}

async function inspectPlace(dataDir: string): Promise<Finding[]> {
  const parent = nearestFolder(dataDir)
  try {
    await access(parent, constants.W_OK)
    return []
  } catch (error) {
    return [unreachable('data folder', `${dataDir} cannot be made in ${parent}: ${(error as Error).message}`)]
  }
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path))
}

interface Reachable {
  connect(): Promise<void>
  ping(): Promise<void>
  info(): Promise<string>
  close(): Promise<void>
}

async function reach(name: Service['name'], port: Reachable): Promise<(Finding | Service)[]> {
  try {
    await port.connect()
    await port.ping()
    return [{ name, info: await port.info() }]
  } catch (error) {
    return [unreachable(name, toErrorRecord(error).message)]
  } finally {
    await port.close()
  }
}

function unreachable(what: string, message: string): Finding {
  return {
    severity: 'error',
    code: 'unreachable',
    message: `The ${what} cannot be reached: ${message}`,
    remedy: 'A cluster would end with exit code 3 there, and a producer would reject.',
    exitCode: EXIT.unreachable,
  }
}

interface Inspected {
  readonly tasks: readonly TaskDefinition[]
  readonly faults: readonly Finding[]
}

async function inspectTasks({ settings: { tasks: modules } }: ResolvedConfig): Promise<Inspected> {
  if (modules.length === 0) return { tasks: [], faults: [NO_TASKS] }
  try {
    return { tasks: definitionsOf([...(await loadTasks(modules)).values()]), faults: [] }
  } catch (error) {
    return { tasks: [], faults: [cannotLoad(toErrorRecord(error))] }
  }
}

function definitionsOf(tasks: readonly LoadedTask[]): TaskDefinition[] {
  return tasks.map(({ func, definition }) => definition ?? { name: func })
}

const NO_TASKS: Finding = {
  severity: 'error',
  code: 'no-tasks',
  message: 'There is no task module: every task would fail as not defined.',
  remedy: 'Name the modules in tasks, or call one tasks.ts beside the config file.',
  exitCode: EXIT.tasks,
}

function cannotLoad({ message }: { message: string }): Finding {
  return {
    severity: 'error',
    code: 'tasks',
    message,
    remedy: 'Every worker would end with this error, and the start with exit code 4.',
    exitCode: EXIT.tasks,
  }
}

function reportOf({ findings, services }: Report): object {
  const { node, sqlite } = process.versions
  return {
    ok: exitCodeOf(findings) === EXIT.clean,
    exitCode: exitCodeOf(findings),
    findings: findings.map(({ exitCode: _, ...finding }) => finding),
    versions: { node, sqlite },
    services: Object.fromEntries(services.map(({ name, info }) => [name, info])),
  }
}

const MARKS = { error: '✖', warning: '!', note: 'i' } as const

function textOf({ findings, services }: Report): string {
  const { node, sqlite } = process.versions
  const lines = findings.map(
    ({ severity, message, remedy }) =>
      `${MARKS[severity]} ${severity}: ${escapeControls(message)}\n    ${remedy}`,
  )
  const verdict =
    exitCodeOf(findings) === EXIT.clean ? 'A cluster can be started.' : 'A cluster cannot be started.'
  const reached = services.map(({ name, info }) => `The ${name} is ${escapeControls(info)}.`)
  return [...lines, [`${verdict} Node ${node}, SQLite ${sqlite}.`, ...reached].join(' ')].join('\n')
}
