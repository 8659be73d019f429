import type { Command } from 'commander'
import { addFlags, configOf, type Flags } from './flags.ts'
import { settingsAsData, settingsAsText } from './settings.ts'

const EXAMPLES = `
Examples:
  qcluster info --config
  qcluster info --config --name long --json`

/** `qcluster info`: what is configured. */
export function addInfo(program: Command): void {
  const command = program
    .command('info')
    .description('Show the configuration.')
    .option('--config', 'Each option with its value and where it comes from; secrets are masked.')
    .option('--json', 'As JSON.')
  addFlags(command).addHelpText('after', EXAMPLES).action(info)
}

async function info(flags: Flags): Promise<void> {
  const config = await configOf(flags, {}, { makeKey: false })
  console.log(flags.json ? JSON.stringify(settingsAsData(config), null, 2) : settingsAsText(config))
}
