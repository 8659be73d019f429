/** Finding and loading the config file, and telling the line at which one cannot be loaded. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Options } from './config.ts'
import { ConfigError } from './errors.ts'

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
  const { stack, message } = cause instanceof Error ? cause : { stack: '', message: String(cause) }
  const line =
    lineIn(stack, path) ?? (cause instanceof SyntaxError ? await lineOfSyntaxError(path) : undefined)
  return line === undefined
    ? `The config file ${path} cannot be loaded: ${message}; correct it, or what it imports: \`node ${path}\` shows the place.`
    : `The config file ${path} cannot be loaded, line ${line}: ${message}; correct it.`
}

/** The line that a stack names first in this file. */
function lineIn(stack = '', path: string): string | undefined {
  return [pathToFileURL(path).href, path].map((address) => lineAfter(stack, address)).find((line) => line)
}

function lineAfter(stack: string, address: string): string | undefined {
  const [, rest] = stack.split(`${address}:`)
  return rest && /^\d+/.exec(rest)?.[0]
}

/**
 * Node tells where the syntax of TypeScript is wrong, and of JavaScript only its own fatal error says it. Nothing is run:
 * what cannot be parsed as the one cannot be as the other.
 */
async function lineOfSyntaxError(path: string): Promise<string | undefined> {
  const address = `${pathToFileURL(path).href}?as=typescript`
  const source = await readFile(path)
  const hooks = registerHooks({
    load: (url, context, next) =>
      url === address ? { format: 'module-typescript', source, shortCircuit: true } : next(url, context),
  })
  try {
    await import(address)
    return undefined
  } catch (error) {
    return lineAfter((error as Error).stack ?? '', address)
  } finally {
    hooks.deregister()
  }
}
