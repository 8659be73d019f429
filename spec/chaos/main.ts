/** `npm run chaos -- --seed N --minutes M [--broker …] [--only STATE] [--fault SIGNAL] [--skip N]`: exits with 1 when something was lost or left. */
import { parseArgs } from 'node:util'
import { endServices, serviceAt } from '../services.ts'
import { allBlows, FAULTS, shuffled } from './pairs.ts'
import { summaryOf, sweep, tableOf, wordsOf } from './sweep.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
    /** `sqlite`, `rabbitmq`, or the address of a RabbitMQ. */
    broker: { type: 'string', default: 'sqlite' },
    /** The beginning of a state's id. */
    only: { type: 'string', default: '' },
    /** Blows of the seed's order to pass over: what another run has tried. */
    skip: { type: 'string', default: '0' },
    fault: { type: 'string', multiple: true, default: [...FAULTS] },
  },
})
const seed = Number(values.seed)
const blows = shuffled(allBlows(), seed)
  .slice(Number(values.skip))
  .filter(({ state }) => state.startsWith(values.only))
  .filter(({ fault }) => values.fault.includes(fault))
const trials = await sweep(blows, {
  ...{ minutes: Number(values.minutes), broker: await addressOf(values.broker), pause: 5_000 },
  onTrial: (trial) => {
    const { state, fault } = trial.blow
    console.error(`${new Date().toISOString()} ${state} ${fault}: ${wordsOf(trial)}`)
    if (trial.faults.length > 0) console.error(trial.log)
  },
})
console.log(`${tableOf(trials)}\n\n${summaryOf(blows, trials)} Broker ${values.broker}, seed ${seed}.`)
if (trials.some(({ faults }) => faults.length > 0)) process.exitCode = 1
await endServices()

async function addressOf(broker: string): Promise<string | undefined> {
  if (broker === 'sqlite') return undefined
  return broker === 'rabbitmq' ? serviceAt('rabbitmq') : broker
}
