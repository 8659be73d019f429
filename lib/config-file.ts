/** Finding and loading the config file. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Options } from './config.ts'
import { ConfigError } from './errors.ts'
import { lineOfFault } from './fault.ts'

export interface ConfigFile {
  /** Absolute. */
  readonly path: string
  readonly options: Options
}

/**
 * Loads `qcluster.config.ts`, `.mjs` or `.js` of a folder, or the file that is named.
 * @returns undefined when the folder has none
 * @throws {ConfigError} when a named file is missing, or a file cannot be loaded or exports no options
 */
export async function loadConfigFile(cwd: string, name?: string): Promise<ConfigFile | undefined> {
  const path = name === undefined ? findFile(cwd, CONFIG_FILES) : resolve(cwd, name)
  if (path === undefined) return undefined
  if (!existsSync(path))
    throw new ConfigError(
      `Expected a config file at ${path}, but there is none; correct the path or leave it out.`,
    )
  return { path, options: await importOptions(path) }
}

/** The path of the first of these files that a folder has. */
export function findFile(folder: string, names: readonly string[]): string | undefined {
  return names.map((name) => join(folder, name)).find((path) => existsSync(path))
}

const CONFIG_FILES = ['qcluster.config.ts', 'qcluster.config.mjs', 'qcluster.config.js']

async function importOptions(path: string): Promise<Options> {
  const { isPlainObject, kindOf } = await import('./options.ts')
  const loaded: unknown = await importDefault(path)
  if (isPlainObject(loaded)) return loaded
  throw new ConfigError(
    `Expected ${path} to export its options as default, got ${kindOf(loaded)}; write \`export default defineConfig({ … })\`.`,
  )
}

async function importDefault(path: string): Promise<unknown> {
  try {
    return (await import(pathToFileURL(path).href)).default
  } catch (cause) {
    throw new ConfigError(await cannotLoad(path, cause), { cause })
  }
}

async function cannotLoad(path: string, cause: unknown): Promise<string> {
  const message = cause instanceof Error ? cause.message : String(cause)
  const line = await lineOfFault(path, cause)
  return line === undefined
    ? `The config file ${path} cannot be loaded: ${message}; correct it, or what it imports: \`node ${path}\` shows the place.`
    : `The config file ${path} cannot be loaded, line ${line}: ${message}; correct it.`
}
