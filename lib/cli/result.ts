import type { Command } from 'commander'
import { EXIT } from '../errors.ts'
import { fetch, result } from '../tasks/results.ts'
import { addFlags, type Flags } from './flags.ts'
import { addWaitFlags, jsonOf, textOf, waitOf, withClient } from './values.ts'

const EXAMPLES = `
Examples:
  qcluster result 0199f3c2a7d47b3c8f0e5d1c2b3a4f5e
  qcluster result "nightly report" --wait=30 --final

The exit code is 1 when the task failed, or had no outcome in time.`

/** `qcluster result`: what a task returned. */
export function addResult(program: Command): void {
  const command = program
    .command('result')
    .description('Print what a task returned.')
    .argument('<task>', 'its id, or its name: then the newest task of that name')
    .option('--json', 'Print the whole record as JSON.')
  addFlags(addWaitFlags(command)).addHelpText('after', EXAMPLES).action(printResult)
}

function printResult(idOrName: string, flags: Flags): Promise<void> {
  return withClient(flags, () => (flags.json ? printRecord(idOrName, flags) : printValue(idOrName, flags)))
}

async function printValue(idOrName: string, flags: Flags): Promise<void> {
  console.log(textOf(await result(idOrName, waitOf(flags))))
}

async function printRecord(idOrName: string, flags: Flags): Promise<void> {
  const record = await fetch(idOrName, waitOf(flags))
  console.log(jsonOf(record ?? null))
  if (!record?.success) process.exitCode = EXIT.incomplete
}
