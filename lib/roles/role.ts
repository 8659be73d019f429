import type { Heritage } from '../../machines/cluster.ts'
import type { Measures, Role } from '../../machines/protocol.ts'
import type { Settings } from '../config.ts'
import type { Title } from '../process/title.ts'

/** What a forked process of a cluster is told before anything else. Settings and secrets travel nowhere but here. */
export interface RoleInput {
  readonly role: Role | 'sentinel'
  readonly settings: Settings
  /** The private directory of the cluster's sockets. */
  readonly directory: string
  /** Events that somebody listens to, sent up whatever their level. */
  readonly events: readonly string[]
  /** The cluster's four words. */
  readonly cluster: string
  /** Of a sentinel that takes the place of one that died. */
  readonly heritage?: Heritage
}

/** What every role has: its input, who it is, and a way to say what happens. */
export interface RoleContext extends RoleInput {
  /** `Process-` and 32 hex digits. */
  readonly name: string
  readonly record: (event: string, fields?: Record<string, unknown>) => void
  /** What the process is called. */
  readonly title: Pick<Title, 'show' | 'rest'>
  /** Sends what was recorded now, before this process may block or end. */
  readonly flush: () => void
  /** Says what this role counts, to be told with the vitals of its process. Returns how to say that it has changed. */
  readonly measure: (measures: () => Measures) => () => void
}
