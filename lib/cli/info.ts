import type { Command } from 'commander'
import { close, configure } from '../client.ts'
import { clustersAsData, clustersAsText, lookAround } from './clusters.ts'
import { addFlags, configOf, type Flags } from './flags.ts'
import { settingsAsData, settingsAsText } from './settings.ts'

const EXAMPLES = `
Examples:
  qcluster info
  qcluster info --json | jq '.clusters[].status'
  qcluster info --config --name long`

/** `qcluster info`: the clusters that run, or what is configured. */
export function addInfo(program: Command): void {
  const command = program
    .command('info')
    .description('Show the clusters at this broker with their processes, and what waits for them.')
    .option('--ids', 'The ids of the clusters only.')
    .option('--config', 'Each option with its value and where it comes from; secrets are masked.')
    .option('--json', 'As JSON.')
  addFlags(command).addHelpText('after', EXAMPLES).action(info)
}

async function info(flags: Flags): Promise<void> {
  if (flags.config) await showConfig(flags)
  else await showClusters(flags)
}

async function showConfig(flags: Flags): Promise<void> {
  const config = await configOf(flags, {}, { makeKey: false })
  print(flags.json ? settingsAsData(config) : settingsAsText(config))
}

async function showClusters(flags: Flags): Promise<void> {
  const { settings } = await configOf(flags)
  configure(settings)
  const view = await lookAround(settings.name)
  await close()
  const ids = view.clusters.map(({ clusterId }) => clusterId)
  if (flags.ids) print(flags.json ? ids : ids.join('\n') || 'No clusters appear to be running.')
  else print(flags.json ? clustersAsData(view) : clustersAsText(view))
}

function print(shown: object | string): void {
  console.log(typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2))
}
