import { asyncTask, defineTask, RetryError, type TaskRecord } from 'qcluster'

/** Stands for a service that is busy at first. */
let calls = 0

export const charge = defineTask(
  { name: 'charge', retry: 60, retryFactor: 2, maxAttempts: 5 },
  (amount: number) => {
    calls += 1
    if (calls === 1) throw new RetryError('too many requests', { seconds: 5 })
    if (calls === 2) throw new Error('gateway timeout')
    return `charged ${amount}`
  },
)

export const receipt = defineTask('receipt', (record: TaskRecord<string>) => `sent: ${record.result}`)

/** What an application does: it knows no test. */
export async function order(amount: number) {
  return asyncTask(charge, [amount], { delay: 3600, hook: receipt })
}

export const report = defineTask('report', () => 'all is well')
