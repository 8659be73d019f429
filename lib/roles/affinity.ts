import { cpus } from 'node:os'

/**
 * The processors of a worker's slot, dealt out in turn over all that there are; none where there is nothing to choose.
 * Who is replaced in the same slot has the same ones.
 *
 * @param slot such as `worker-3`
 * @param each how many processors a worker gets
 * @see https://github.com/django-q2/django-q2/blob/master/django_q/cluster.py its `set_cpu_affinity`
 */
export function processorsOf(slot: string, each: number, all: number = cpus().length): number[] {
  if (each <= 0 || each >= all) return []
  const first = (numberOf(slot) - 1) * each
  return Array.from({ length: each }, (_, n) => (first + n) % all)
}

const numberOf = (slot: string): number => Number(slot.slice(slot.lastIndexOf('-') + 1))
