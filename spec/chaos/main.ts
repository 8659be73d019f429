/** `npm run chaos -- --seed N --minutes M [--broker amqp://…] [--only pusher.running]`: exits with 1 when something was lost or left. */
import { parseArgs } from 'node:util'
import { allBlows, shuffled } from './pairs.ts'
import { sweep, tableOf, wordsOf } from './sweep.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
    broker: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
const blows = shuffled(allBlows(), Number(values.seed)).filter(({ state }) => state.startsWith(values.only))
const trials = await sweep(blows, {
  ...{ minutes: Number(values.minutes), broker: values.broker, pause: 5_000 },
  onTrial: (trial) => {
    console.error(`${trial.blow.state} ${trial.blow.fault}: ${wordsOf(trial)}`)
    if (trial.faults.length > 0) console.error(trial.log)
  },
})
console.log(tableOf(trials))
const struck = trials.filter(({ reached }) => reached).length
console.log(
  `${blows.length} blows, ${trials.length} tried, ${struck} struck in their state, seed ${values.seed}.`,
)
if (trials.some(({ faults }) => faults.length > 0)) process.exitCode = 1
