import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'

/** The version of this package. */
export function version(): string {
  const path = findPackageJSON(import.meta.url) as string
  return (JSON.parse(readFileSync(path, 'utf8')) as { readonly version: string }).version
}
