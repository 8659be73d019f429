/**
 * Imported first by each process of a cluster: with `?off` it leaves the flight recorder out, which is the only way to see
 * what that costs; with `?on` it leaves all as it is, so that what it costs itself is on both sides.
 */
import { registerHooks } from 'node:module'

const isOff = import.meta.url.endsWith('?off')

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!isOff || !url.endsWith('/lib/process/flight.js')) return loaded
    const source = String(loaded.source)
    const bare = source.replace('export function recorded(', '$&logic) { return logic; }\nfunction replaced(')
    if (bare === source) throw new Error(`Expected a function "recorded" in ${url}.`)
    return { ...loaded, source: bare }
  },
})
