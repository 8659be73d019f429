/** A browser for the specs of the viewer: no server, so that its URL is the path of its program. */
import { existsSync } from 'node:fs'

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** The program of an installed Chromium; undefined where there is none. */
export function chromiumProgram(): string | undefined {
  return PROGRAMS.find((program) => existsSync(program))
}
