/** What a process is called in `ps`, `top` and `pgrep`. */
import type { RoleInput } from '../roles/role.ts'

/**
 * Bytes of a filler among the arguments of a forked process: a title may not be longer than the command line was, which
 * the program and its module alone do not make long.
 */
export const TITLE_ROOM = 160

/** Says in its title what a process is and, for as long as it is worth saying, what it does. */
export class Title {
  readonly #idle: string
  #isIdle = true

  /** Takes the title at once, and the filler out of the arguments: they are the tasks' to read. */
  constructor({ role, cluster }: Pick<RoleInput, 'role' | 'cluster'>) {
    this.#idle = `qcluster ${role} ${cluster}`
    process.argv.length = 2
    process.title = this.#idle
  }

  /** Costs some microseconds: nothing to say of every tiny task. */
  show(what: string): void {
    this.#isIdle = false
    process.title = `${this.#idle} ${what}`
  }

  rest(): void {
    if (this.#isIdle) return
    this.#isIdle = true
    process.title = this.#idle
  }
}
