import { type Command, Option } from 'commander'
import { defaultClient } from '../client.ts'
import { ConfigError, EXIT } from '../errors.ts'
import { Hub } from '../inspection/hub.ts'
import { remoteSource } from '../inspection/remote.ts'
import { type InspectionServer, type ServerOptions, serveInspection } from '../inspection/server.ts'
import { Stat } from '../stat.ts'
import { addFlags, type Flags } from './flags.ts'
import { withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster inspect
  qcluster inspect --at 9000 --inspect-url https://stately.ai/inspect
  qcluster inspect --cluster 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed`

/** `qcluster inspect`: the machines of a cluster that runs, on whatever machine. */
export function addInspect(program: Command): void {
  const command = program
    .command('inspect')
    .description('Show the machines of a running cluster to XState inspectors, by WebSocket; Ctrl-C ends it.')
    .option('--cluster <id>', 'The cluster that is meant, by its id; the only one where it is absent.')
    .option('--at <address>', ADDRESS)
    .addOption(pageOption())
  addFlags(command).addHelpText('after', EXAMPLES).action(inspect)
}

const ADDRESS = 'Where viewers connect: [host:]port, by default 8080 of the loopback address.'

function pageOption(): Option {
  return new Option('--inspect-url <url>', 'The page that shows it, such as https://stately.ai/inspect.')
}

/** Gives `start` its flags to be inspected. */
export function addInspection(command: Command): Command {
  return command
    .option('--inspect [address]', `Show the machines to XState inspectors. ${ADDRESS}`)
    .addOption(pageOption())
}

/** The server that the flags ask for, if any. */
export async function inspectionOf(
  hub: Hub,
  { inspect, inspectUrl }: Flags,
): Promise<InspectionServer | undefined> {
  if (inspect === undefined) return undefined
  const address = addressOf(inspect === true ? undefined : (inspect as string))
  return announced(hub, address, inspectUrl as string | undefined)
}

async function inspect(flags: Flags): Promise<void> {
  const { at, inspectUrl } = flags as { at?: string; inspectUrl?: string }
  const address = addressOf(at)
  await withClient(flags, async () => {
    const clusterId = (flags.cluster as string | undefined) ?? (await onlyCluster())
    const { promise: end, resolve } = Promise.withResolvers<'silence' | 'signal'>()
    const source = remoteSource({ client: defaultClient(), clusterId, onSilence: () => resolve('silence') })
    await using _viewers = await announced(new Hub(source), address, inspectUrl)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.once(signal, () => resolve('signal'))
    if ((await end) === 'signal') return
    console.error(`The cluster ${clusterId} does not answer any more.`)
    process.exitCode = EXIT.incomplete
  })
}

/** Says where it is to whoever reads the results: with JSON lines as its log, a line that is none would be in the way. */
async function announced(hub: Hub, address: ServerOptions, page?: string): Promise<InspectionServer> {
  const server = await serveInspection(hub, { ...address, ...(page !== undefined && { page }) })
  const elsewhere =
    page === undefined ? '' : `; ${page} shows it at ${server.pageUrl.replace(/\/(?=\?|$)/, '/stately')}`
  console.log(`Inspect at ${server.pageUrl} or ${server.url}${elsewhere}`)
  return server
}

function addressOf(text: string | undefined): ServerOptions {
  if (text === undefined) return {}
  const [, host, port = ''] = text.match(/^(?:(.+):)?(\d+)$/) ?? []
  if (port === '' || Number(port) > 65_535)
    throw new ConfigError(`Expected an address such as 8080 or 0.0.0.0:8080, got "${text}".`)
  return { port: Number(port), ...(host !== undefined && { host: host.replace(/^\[(.*)\]$/, '$1') }) }
}

async function onlyCluster(): Promise<string> {
  const clusters = await Stat.getAll()
  const [only] = clusters
  if (only && clusters.length === 1) return only.clusterId
  const ids = clusters.map(({ clusterId, name }) => `${clusterId} (${name})`).join(', ')
  throw new ConfigError(
    only
      ? `Expected one cluster at this broker, got ${clusters.length}; name one with --cluster: ${ids}.`
      : 'No clusters appear to be running at this broker; start one, or name the broker.',
  )
}
