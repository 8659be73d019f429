/**
 * Configuration: what a user gives, checked at the door, frozen after. The options themselves stand in one table in
 * lib/options.ts. This is the only file that reads the environment, and it loads no package before it is asked to.
 */
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { z } from 'zod'
import { type ConfigFile, findFile, loadConfigFile } from './config-file.ts'
import { ConfigError } from './errors.ts'
import type { OptionName, optionTable } from './options.ts'

export type { OptionName } from './options.ts'

/** What a user gives, all of it optional; times are seconds. See the table in lib/options.ts. */
export interface Options extends z.input<typeof optionTable> {}

/**
 * What the cluster goes by: plain JSON, complete and frozen. Times are seconds as in {@link Options}, so that an option
 * means one thing wherever it is read; whoever sets a timer by one multiplies. Paths are absolute.
 */
export interface Settings extends Readonly<Omit<z.output<typeof optionTable>, 'secretKey' | 'altClusters'>> {
  /** The first one signs, all are accepted. */
  readonly secretKey: readonly string[]
  /** True where the key is the data folder's own, not one that was given. */
  readonly isKeyOfFolder: boolean
}

/** The least level of what is logged. */
export type LogLevel = Settings['logLevel']

/** Where the value of an option came from. */
type Origin = 'flag' | 'env' | 'altClusters' | 'file' | 'default'

export interface ResolveOptions {
  /** Where the config file is looked for, and what relative paths start from; the working directory. */
  readonly baseDir?: string
  /** The config file, when it is not the one in `baseDir`; null: none is read. */
  readonly file?: string | null
  /** The environment; this process's own. */
  readonly env?: Environment
  /** Where a user corrects one of the given options. */
  readonly place?: (name: string) => string
  /** False: a secret key that the data folder does not have yet is not made; `secretKey` is then empty. */
  readonly makeKey?: boolean
}

export interface ResolvedConfig {
  readonly settings: Settings
  readonly origins: Readonly<Record<OptionName, Origin>>
  /** Where the options that were given are corrected: a flag, a variable, a file. */
  readonly places: Readonly<Partial<Record<OptionName, string>>>
  /** What was given, before it was completed. */
  readonly given: Options
  /** The absolute path of the config file that was read. */
  readonly configFile?: string
}

/** Milliseconds between two stats: the guard cycle, but never so long that the cluster seems to be gone. */
export function statCycle({ guardCycle }: Pick<Settings, 'guardCycle'>): number {
  return Math.min(guardCycle, 1) * 1000
}

/**
 * Gives a config file its types.
 * @example
 * export default defineConfig({ workers: 4, tasks: ['./tasks.ts'] })
 */
export function defineConfig(options: Options): Options {
  return options
}

/**
 * Completes and checks what a user gave. Given options win over the environment (`QCLUSTER_WORKERS`, …), that over
 * what `altClusters` says for the cluster's name, that over the config file, and that over the defaults. Makes the data
 * folder's secret key when no key is given. What it has made already it gives back as it is.
 * @throws {ConfigError} that lists everything that is wrong
 */
export async function resolveSettings(options: Options = {}, where: ResolveOptions = {}): Promise<Settings> {
  return resolved.has(options) ? (options as Settings) : (await resolveConfig(options, where)).settings
}

/** Does what {@link resolveSettings} does, and tells where each value came from. */
export async function resolveConfig(
  options: Options = {},
  where: ResolveOptions = {},
): Promise<ResolvedConfig> {
  const table = await import('./options.ts')
  const baseDir = resolve(where.baseDir ?? process.cwd())
  const file = where.file === null ? undefined : await loadConfigFile(baseDir, where.file)
  const given = givenBy(layersOf(table, options, { ...where, baseDir }, file))
  refuseFaults(table, given)
  const values = Object.fromEntries(given.map(({ name, value, layer }) => [name, rooted(name, value, layer)]))
  const home = file ? dirname(file.path) : baseDir
  const { makeKey = true } = where
  const settings = freeze(await complete(table.optionTable.parse(values), home, makeKey))
  resolved.add(settings)
  return {
    settings,
    origins: originsOf(table, given),
    places: Object.fromEntries(given.map(({ name, layer }) => [name, layer.place(name)])),
    given: values,
    ...(file && { configFile: file.path }),
  }
}

/** The environment's name of an option: `dataDir` is `QCLUSTER_DATA_DIR`. */
export function environmentName(name: OptionName): string {
  return `QCLUSTER_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/**
 * What a cluster's processes get for their environment: this process's own, and a folder for compiled code. From the
 * second start on they load a task file in TypeScript as fast as one in JavaScript.
 */
export function childEnvironment({ dataDir }: Pick<Settings, 'dataDir'>): Environment {
  return { NODE_COMPILE_CACHE: join(dataDir, 'compile-cache'), ...process.env }
}

/**
 * What a cluster's processes tell V8, where `NODE_OPTIONS` does not. It lets the young generation grow to twice 64 MiB where
 * the machine has the memory. What we hold lives for some milliseconds: with 16 a process under load has a third less memory,
 * and is no slower.
 */
export function childFlags(): string[] {
  return process.env.NODE_OPTIONS?.includes('semi-space') ? [] : ['--max-semi-space-size=16']
}

/** Environment variables read beside `QCLUSTER_…`, which wins. */
const ALIASES: Partial<Record<OptionName, readonly string[]>> = {
  name: ['Q_CLUSTER_NAME'],
  logLevel: ['LOG_LEVEL'],
  broker: ['QCLUSTER_BROKER_URL', 'AMQP_URL', 'CLOUDAMQP_URL', 'RABBITMQ_URL'],
  store: ['QCLUSTER_STORE_URL', 'DATABASE_URL'],
}
const TASK_FILES = ['tasks.ts', 'tasks.js', 'tasks.mjs']

/** Settings that need no second look: they would otherwise be read as options that overrule everything. */
const resolved = new WeakSet<object>()

type Table = typeof import('./options.ts')
type Checked = z.output<typeof optionTable>
type Environment = Readonly<Record<string, string | undefined>>

type Located = ResolveOptions & { readonly baseDir: string }

/** One source of options. */
interface Layer {
  readonly origin: Origin
  /** What its relative paths start from. */
  readonly base: string
  readonly values: Readonly<Record<string, unknown>>
  /** Where a user corrects an option of it. */
  readonly place: (name: string) => string
}

interface Given {
  readonly name: string
  readonly value: unknown
  readonly layer: Layer
}

/** Where options are given, the strongest place first. */
function layersOf(table: Table, options: Options, where: Located, file: ConfigFile | undefined): Layer[] {
  const { baseDir, env = process.env, place = () => 'the given options' } = where
  return [
    { origin: 'flag', base: baseDir, values: options, place },
    environmentLayer(table, baseDir, env),
    ...(file ? [fileLayer(file)] : []),
  ]
}

function fileLayer({ path, options }: ConfigFile): Layer {
  return { origin: 'file', base: dirname(path), values: { ...options }, place: () => path }
}

/**
 * Unknown `QCLUSTER_…` names are left alone, unlike unknown options: orchestrators put names of their own there, such as
 * `QCLUSTER_PORT` for a service that is called qcluster.
 */
function environmentLayer({ optionNames, readText }: Table, base: string, env: Environment): Layer {
  const given = optionNames.filter((name) => env[variableOf(name, env)])
  return {
    origin: 'env',
    base,
    values: Object.fromEntries(
      given.map((name) => [name, readText(name, env[variableOf(name, env)] as string)]),
    ),
    place: (name) => `the environment variable ${variableOf(name as OptionName, env)}`,
  }
}

/** What is given by these layers and by the alternative cluster that they choose, which counts just before the file. */
function givenBy(layers: readonly Layer[]): Given[] {
  const isStronger = ({ origin }: Layer) => origin !== 'file'
  const chosen = alternativeLayer(strongest(layers))
  return strongest([...layers.filter(isStronger), ...chosen, ...layers.filter((one) => !isStronger(one))])
}

/** What `altClusters` says for the name that counts, wherever the two are given. What is wrong with it is told later. */
function alternativeLayer(given: readonly Given[]): Layer[] {
  const name = String(given.find((one) => one.name === 'name')?.value ?? 'default')
  const clusters = given.find((one) => one.name === 'altClusters')
  if (!clusters || !Object.hasOwn(Object(clusters.value), name)) return []
  const { base, place } = clusters.layer
  return [
    {
      origin: 'altClusters',
      base,
      values: Object((clusters.value as Record<string, unknown>)[name]),
      place: () => `altClusters.${name} of ${place('altClusters')}`,
    },
  ]
}

/** The variable that counts for an option; one that is set to nothing counts as absent. */
function variableOf(name: OptionName, env: Environment): string {
  const names = [environmentName(name), ...(ALIASES[name] ?? [])]
  return names.find((variable) => env[variable] && isMeant(variable, env[variable])) ?? environmentName(name)
}

/** The database of an application may be any; only one that could be a store is taken for one. */
function isMeant(variable: string, value: string): boolean {
  return variable !== 'DATABASE_URL' || /^postgres(ql)?:/.test(value)
}

/**
 * Of each name the value of the first layer that has one. What a stronger layer hides is not even checked: a `LOG_LEVEL`
 * that is meant for another program can be overruled.
 */
function strongest(layers: readonly Layer[]): Given[] {
  const given = new Map<string, Given>()
  for (const layer of layers)
    for (const [name, value] of Object.entries(layer.values))
      if (value !== undefined && !given.has(name)) given.set(name, { name, value, layer })
  return [...given.values()]
}

function refuseFaults({ faultOf }: Table, given: readonly Given[]): void {
  const found = given
    .map(({ name, value, layer }) => faultOf(name, value, layer.place(name)))
    .filter((fault) => fault !== undefined)
  // The same one is found twice in the alternative cluster that counts.
  const faults = [...new Set(found)]
  if (faults.length === 1) throw new ConfigError(`The configuration is wrong. ${faults[0]}`, { faults })
  if (faults.length > 1)
    throw new ConfigError(
      `The configuration is wrong in ${faults.length} places.\n- ${faults.join('\n- ')}`,
      { faults },
    )
}

/** Relative paths start from the place that names them. */
function rooted(name: string, value: unknown, { base }: Layer): unknown {
  if (name === 'dataDir') return absolute(base, value as string)
  if (name === 'tasks') return (value as string[]).map((path) => absolute(base, path))
  return value
}

function absolute(base: string, path: string): string {
  return path.startsWith('file:') ? fileURLToPath(path) : resolve(base, path)
}

/** Fills in what depends on other options, on folders and on the secret's file. */
async function complete(
  { altClusters: _, ...checked }: Checked,
  home: string,
  makeKey: boolean,
): Promise<Settings> {
  const dataDir = resolve(home, checked.dataDir)
  return {
    ...checked,
    dataDir,
    tasks: checked.tasks.length > 0 ? checked.tasks : [findFile(home, TASK_FILES) ?? []].flat(),
    queueLimit: Math.max(checked.queueLimit, checked.workers * checked.concurrency + 1),
    secretKey: await secretsOf(checked.secretKey, dataDir, makeKey),
    isKeyOfFolder: checked.secretKey === undefined,
  }
}

async function secretsOf(
  given: Checked['secretKey'],
  dataDir: string,
  makeKey: boolean,
): Promise<readonly string[]> {
  if (given !== undefined) return [given].flat()
  const { loadOrCreateSecret, loadSecret } = await import('./signing.ts')
  const secret = await (makeKey ? loadOrCreateSecret : loadSecret)(dataDir)
  return secret === undefined ? [] : [secret]
}

function originsOf({ optionNames }: Table, given: readonly Given[]): Record<OptionName, Origin> {
  const originOf = (name: OptionName) => given.find((one) => one.name === name)?.layer.origin ?? 'default'
  return Object.fromEntries(optionNames.map((name) => [name, originOf(name)])) as Record<OptionName, Origin>
}

function freeze(settings: Settings): Settings {
  Object.freeze(settings.tasks)
  Object.freeze(settings.secretKey)
  return Object.freeze(settings)
}
