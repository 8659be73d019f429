/** The built-in viewer as it is served: a few files that are read once. What somebody asks for never reaches the disk. */
import { readdir, readFile } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'

export interface PageFile {
  readonly type: string
  readonly body: Buffer
}

/** Beside this file where it is built; where it runs from its source, in what was built of it. */
const FOLDER =
  extname(import.meta.filename) === '.ts'
    ? join(import.meta.dirname, '..', '..', 'dist', 'lib', 'inspection', 'viewer')
    : join(import.meta.dirname, 'viewer')

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Nothing is run, shown or asked for that does not come from the same address. */
export const PAGE_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
} as const

/** The files by the path of their address; the page itself is `/`. */
export async function readPage(folder = FOLDER): Promise<ReadonlyMap<string, PageFile>> {
  const names = await readdir(folder, { recursive: true })
  const files = names.filter((name) => extname(name) in TYPES).map((name) => readPageFile(folder, name))
  return new Map(await Promise.all(files))
}

async function readPageFile(folder: string, name: string): Promise<[string, PageFile]> {
  const path = name === 'index.html' ? '/' : `/${name.replaceAll(sep, '/')}`
  return [path, { type: TYPES[extname(name)] as string, body: await readFile(join(folder, name)) }]
}
