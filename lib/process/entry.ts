import { dirname, extname, join } from 'node:path'

/** The module that our processes start from: beside this one, compiled or not as this one is. */
export const entryFile = join(dirname(import.meta.filename), `main${extname(import.meta.filename)}`)
