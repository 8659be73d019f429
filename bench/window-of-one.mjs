/**
 * Imported first by each process of a cluster: no worker is sent a task while it has one. What it costs to send tasks ahead,
 * to those that wait behind a slow one, is measured against this.
 */
import { registerHooks } from 'node:module'

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/lib/roles/window.js')) return loaded
    const one = 'Window.prototype.admits = (_func, ahead, concurrency) => ahead.size < concurrency'
    return { ...loaded, source: `${loaded.source}\n${one}\n` }
  },
})
