/** At which line a module cannot be loaded. */
import { readFile } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

/** The line of this very module at which loading it failed; undefined where that is elsewhere, or nobody knows. */
export async function lineOfFault(path: string, cause: unknown): Promise<string | undefined> {
  const { stack = '' } = cause instanceof Error ? cause : {}
  return lineIn(stack, path) ?? (cause instanceof SyntaxError ? await lineOfSyntaxError(path) : undefined)
}

/** The line that a stack names first in this file. */
function lineIn(stack: string, path: string): string | undefined {
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
