import type { Command } from 'commander'
import { close, configure } from '../client.ts'
import { clustersAsData, clustersAsText, lookAround } from './clusters.ts'
import { addFlags, configOf, type Flags } from './flags.ts'
import { settingsAsData, settingsAsText } from './settings.ts'
import { START_FLAGS } from './start.ts'

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
  addFlags(command, START_FLAGS).addHelpText('after', EXAMPLES).action(info)
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
  if (!flags.ids) print(flags.json ? clustersAsData(view) : clustersAsText(view))
  else if (flags.json) print(ids)
  else if (ids.length > 0) print(ids.join('\n'))
  // Whoever reads ids from stdout takes no sentence for one.
  else console.error('No clusters appear to be running.')
}

function print(shown: object | string): void {
  console.log(typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2))
}
