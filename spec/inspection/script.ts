import type { Source, Watcher } from '../../lib/inspection/hub.ts'
import type { InspectionNote } from '../../machines/protocol.ts'

/** Notes that a spec makes itself. */
export class Script implements Source {
  readonly #present: readonly InspectionNote[]
  take: Watcher | undefined

  constructor(present: readonly InspectionNote[]) {
    this.#present = present
  }

  open(take: Watcher): void {
    this.take = take
    take(this.#present)
  }
  close(): void {
    this.take = undefined
  }
  flush(): void {}
}
