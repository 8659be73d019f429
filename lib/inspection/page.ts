/** The built-in viewer as it is served: a few files that are read once. What somebody asks for never reaches the disk. */
import { readdir, readFile } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'

export interface PageFile {
  readonly type: string
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
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

/** Nothing is run, shown or asked for that does not come from the same address; but for an inspector that is named. */
const headersWith = (frames: string) => ({
  'content-security-policy': `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src ${frames}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
})

export const PAGE_HEADERS: Readonly<Record<string, string>> = headersWith("'none'")

/**
 * The files by the path of their address; the viewer is `/`.
 * @param inspector the address of an inspector's page, which is then shown at `/stately`
 */
export async function readPage(inspector?: URL, folder = FOLDER): Promise<ReadonlyMap<string, PageFile>> {
  const names = await readdir(folder, { recursive: true })
  const served = names.filter((name) => extname(name) in TYPES && (inspector || name !== 'stately.html'))
  return new Map(await Promise.all(served.map((name) => readPageFile(folder, name, inspector))))
}

async function readPageFile(folder: string, name: string, inspector?: URL): Promise<[string, PageFile]> {
  const type = TYPES[extname(name)] as string
  const body = await readFile(join(folder, name))
  if (name === 'index.html') return ['/', { type, body, headers: PAGE_HEADERS }]
  if (name !== 'stately.html' || !inspector)
    return [`/${name.replaceAll(sep, '/')}`, { type, body, headers: PAGE_HEADERS }]
  // An address that was parsed has no character that means something in an attribute, save this one.
  const text = body.toString().replace('%INSPECTOR%', () => inspector.href.replaceAll('&', '&amp;'))
  return ['/stately', { type, body: Buffer.from(text), headers: headersWith(inspector.origin) }]
}
