import { defineTask } from 'qcluster'

/** Does nothing: what is measured is everything around it. */
export const noop = defineTask('bench.noop', (_payload: string) => {})
