/** Measures what the README claims: `npm run bench -- SUITE…`. Exits with 1 when a floor is missed, or could not be judged. */
import { parseArgs } from 'node:util'
import { endAll } from './resources.ts'
import { isKept, type Row, tableOf } from './table.ts'

const { values, positionals: names } = parseArgs({
  allowPositionals: true,
  /** How long a soak takes its time for the tasks of an hour. */
  options: { minutes: { type: 'string', default: '12' } },
})

const SUITES: Readonly<Record<string, () => Promise<Row[]>>> = {
  embedded: async () => (await import('./embedded.ts')).embedded(),
  hostage: async () => (await import('./hostage.ts')).hostage(),
  'hostage-20': async () => (await import('./hostage.ts')).latenciesAt(0.2),
  'hostage-60': async () => (await import('./hostage.ts')).latenciesAt(0.6),
  'hostage-changes': async () => (await import('./hostage.ts')).changes(),
  inspection: async () => (await import('./inspection.ts')).inspection(),
  rabbitmq: async () => (await import('./rabbitmq.ts')).rabbitmq(),
  soak: async () => (await import('./soak.ts')).soak(Number(values.minutes)),
}

const known = Object.keys(SUITES).join(', ')
const unknown = names.find((name) => !Object.hasOwn(SUITES, name))
if (unknown !== undefined) leave(2, `There is no suite "${unknown}"; the suites are: ${known}.`)
if (names.length === 0)
  leave(2, `Name a suite, such as \`npm run bench -- embedded\`; the suites are: ${known}.`)

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => void endAll().finally(() => process.exit(1)))

try {
  const rows: Row[] = []
  for (const name of names) rows.push(...((await SUITES[name]?.()) ?? []))
  console.log(tableOf(rows))
  const missed = rows.filter((row) => isKept(row) === false)
  if (missed.length > 0) process.exitCode = 1
} finally {
  await endAll()
}

function leave(code: number, why: string): never {
  console.error(why)
  process.exit(code)
}
