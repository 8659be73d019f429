import { basename, extname, isAbsolute } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { TaskLoadError } from '../errors.ts'
import { definitionOf, type TaskDefinition } from './define.ts'

/** A task that a worker can run. */
export interface LoadedTask {
  /** The name that producers call it by. */
  readonly func: string
  /** What `defineTask` was told; undefined for a plain function. */
  readonly definition: TaskDefinition | undefined
  readonly fn: (...args: unknown[]) => unknown
}

/**
 * Imports task modules and finds the tasks among their exports: what `defineTask` made, by its own name, and every
 * other function as `<file name without extension>.<export name>`. Classes are no tasks, and objects are not searched.
 *
 * @param modules absolute paths, `file:` URLs or package names
 * @returns the tasks by name
 * @throws {TaskLoadError} when a module is missing, fails (its error is the `cause`) or exports no task, or when two
 *   tasks share a name
 */
export async function loadTasks(modules: readonly string[]): Promise<Map<string, LoadedTask>> {
  const found = new Map<string, Found>()
  // One after the other: modules have side effects, and their order should be the configured one.
  for (const module of modules) for (const task of await tasksOf(module)) add(found, task)
  return found
}

/** A task and where it came from. */
interface Found extends LoadedTask {
  readonly module: string
  readonly exportName: string
}

async function tasksOf(module: string): Promise<Found[]> {
  const exported = Object.entries(await load(module))
  const tasks = exported.flatMap(([exportName, value]) => taskOf(module, exportName, value))
  if (tasks.length > 0) return tasks
  throw new TaskLoadError(
    `The task module ${module} exports no task; export a function from it, such as \`export const add = defineTask('add', …)\`.`,
  )
}

function taskOf(module: string, exportName: string, value: unknown): Found[] {
  // Node shows a CommonJS module a second time under this name.
  if (exportName === 'module.exports' || !isFunction(value)) return []
  const definition = definitionOf(value)
  if (definition === undefined && isClass(value)) return []
  const func = definition?.name ?? `${basename(module, extname(module))}.${exportName}`
  return [{ func, definition, fn: value, module, exportName }]
}

function add(found: Map<string, Found>, task: Found): void {
  const known = found.get(task.func)
  if (known !== undefined && known.fn !== task.fn) throw clash(known, task)
  found.set(task.func, known ?? task)
}

async function load(module: string): Promise<object> {
  const address = isAbsolute(module) ? pathToFileURL(module).href : module
  try {
    return await import(address)
  } catch (cause) {
    throw await cannotLoad(module, address, cause)
  }
}

async function cannotLoad(module: string, address: string, cause: unknown): Promise<TaskLoadError> {
  if (isMissing(cause, address))
    return new TaskLoadError(
      `The task module ${module} does not exist; correct its path in \`tasks\`, or create it.`,
      { cause },
    )
  const reason = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  const line = await lineIn(address, cause)
  return new TaskLoadError(
    line === undefined
      ? `The task module ${module} cannot be loaded: ${reason}. Correct it; \`node ${module}\` shows the place.`
      : `The task module ${module} cannot be loaded, line ${line}: ${reason}. Correct it.`,
    { cause },
  )
}

/** A worker that has loaded its tasks has no need of what finds it. */
async function lineIn(address: string, cause: unknown): Promise<string | undefined> {
  if (!address.startsWith('file:')) return undefined
  const { lineOfFault } = await import('../fault.ts')
  return lineOfFault(fileURLToPath(address), cause)
}

/** Whether it is this module that is missing, not one that it imports. */
function isMissing(cause: unknown, address: string): boolean {
  const { code, url } = (cause ?? {}) as { code?: unknown; url?: unknown }
  return code === 'ERR_MODULE_NOT_FOUND' && (url === address || !address.startsWith('file:'))
}

function clash(known: Found, task: Found): TaskLoadError {
  const place = ({ module, exportName }: Found) => `${exportName} of ${module}`
  return new TaskLoadError(
    `Two tasks are named "${task.func}": ${place(known)} and ${place(task)}; give one of them another name with defineTask.`,
  )
}

function isFunction(value: unknown): value is LoadedTask['fn'] {
  return typeof value === 'function'
}

/** Only a class has a `prototype` that cannot be replaced. */
function isClass(value: object): boolean {
  return Object.getOwnPropertyDescriptor(value, 'prototype')?.writable === false
}
