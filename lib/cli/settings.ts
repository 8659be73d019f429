import type { ResolvedConfig } from '../config.ts'
import { type OptionName, optionNames } from '../options.ts'

/** Options whose values are shown to nobody. */
const SECRETS: readonly OptionName[] = ['secretKey']

/** A resolved configuration as data: each value with its origin and where it is corrected; secrets are masked. */
export function settingsAsData({ given, settings, origins, places, configFile }: ResolvedConfig): object {
  const shown = (name: OptionName) => (name === 'altClusters' ? (given.altClusters ?? {}) : settings[name])
  const options = optionNames.map((name) => [
    name,
    {
      value: masked(name, shown(name)),
      origin: origins[name],
      ...(places[name] && { place: places[name] }),
    },
  ])
  return { ...(configFile !== undefined && { configFile }), options: Object.fromEntries(options) }
}

/** The same for people, a line an option. */
export function settingsAsText(config: ResolvedConfig): string {
  const { configFile = 'none', options } = settingsAsData(config) as Described
  const rows = Object.entries(options).map(([name, { value, origin, place }]) => [
    name,
    JSON.stringify(value),
    place ?? origin,
  ])
  return table([['config file', configFile, ''], ...rows])
}

interface Described {
  readonly configFile?: string
  readonly options: Record<string, { value: unknown; origin: string; place?: string }>
}

/** Also within what an alternative cluster changes. */
function masked(name: string, value: unknown): unknown {
  if ((SECRETS as readonly string[]).includes(name)) return [value].flat().map(() => '••••')
  if ((name === 'broker' || name === 'store') && value !== null)
    return [value].flat().map((url) => withoutLogin(String(url)))
  if (name !== 'altClusters') return value
  return mapValues(value as object, (overrides) =>
    mapValues(overrides as object, (one, key) => masked(key, one)),
  )
}

function mapValues(object: object, map: (value: unknown, key: string) => unknown): object {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value, key)]))
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** A URL may hold a password. */
function withoutLogin(text: string): string {
  return text.replace(/:\/\/[^/]*@/, '://••••@').replace(/(password=)[^&]*/gi, '$1••••')
}
