import { type Definition, fingerprintOf } from './chart.ts'
import type { Layout } from './layout.ts'
import bus from './layouts/bus.json' with { type: 'json' }
import child from './layouts/child.json' with { type: 'json' }
import cluster from './layouts/cluster.json' with { type: 'json' }
import monitor from './layouts/monitor.json' with { type: 'json' }
import pusher from './layouts/pusher.json' with { type: 'json' }
import scheduler from './layouts/scheduler.json' with { type: 'json' }
import sentinel from './layouts/sentinel.json' with { type: 'json' }
import worker from './layouts/worker.json' with { type: 'json' }

const LAYOUTS = [
  cluster,
  bus,
  sentinel,
  child,
  pusher,
  worker,
  monitor,
  scheduler,
] as unknown as readonly Layout[]

/** Undefined for a machine that is none of ours, or of another version of ours. */
export function layoutFor(definition: Definition): Layout | undefined {
  const named = LAYOUTS.find(({ machine }) => machine === definition.id)
  return named?.fingerprint === fingerprintOf(definition) ? named : undefined
}
