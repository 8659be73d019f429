/**
 * The tables of README.md that are made of the code: `npm run readme` renews them, and a spec fails when they are stale.
 * Each stands between `<!-- table: name -->` and `<!-- end -->`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { flagName } from '../lib/cli/flags.ts'
import { commandLine } from '../lib/cli/main.ts'
import { environmentName } from '../lib/config.ts'
import { EXIT, EXIT_MEANINGS } from '../lib/errors.ts'
import { EVENTS, type EventName, type LogRecord, wordsOf } from '../lib/logger.ts'
import {
  defaultOfOption,
  describeOption,
  expectationOf,
  type OptionName,
  optionNames,
} from '../lib/options.ts'

const README = join(import.meta.dirname, '..', 'README.md')

/** The README as it is. */
export function readme(): string {
  return readFileSync(README, 'utf8')
}

/** A text with its tables renewed. */
export function renewed(text: string): string {
  return text.replace(
    /(<!-- table: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, begin: string, name: string, end: string) => `${begin}\n${tableOf(name)}\n\n${end}`,
  )
}

const TABLES: Readonly<Record<string, () => string[][]>> = {
  options: () => [
    ['Option', 'Expects', 'Default', 'Environment', 'Meaning'],
    ...optionNames.map((name) => [
      `\`${name}\``,
      expectationOf(name),
      defaultText(name),
      `\`${environmentName(name)}\``,
      describeOption(name),
    ]),
  ],
  commands: () => [
    ['Command', 'What it does', 'Flags of its own'],
    ...leavesOf(commandLine()).map(({ path, command }) => [
      `\`qcluster ${[path, ...command.registeredArguments.map(argumentText)].join(' ')}\``,
      command.description(),
      ownFlagsOf(command).join(' '),
    ]),
  ],
  exits: () => [
    ['Code', 'Meaning'],
    ...Object.entries(EXIT).map(([name, code]) => [`${code}`, EXIT_MEANINGS[name as keyof typeof EXIT]]),
  ],
  events: () => [
    ['Event', 'Level', 'Line'],
    ...(Object.keys(EVENTS) as EventName[]).map((event) => [
      `\`${event}\``,
      EVENTS[event].level,
      `\`${wordsOf(sample(event))}\``,
    ]),
  ],
}

interface Leaf {
  readonly path: string
  readonly command: Command
}

/** The commands that do something; those above them only group. */
function leavesOf(parent: Command, path: readonly string[] = []): Leaf[] {
  return parent.commands.flatMap((command) => {
    const here = [...path, command.name()]
    return command.commands.length > 0 ? leavesOf(command, here) : [{ path: here.join(' '), command }]
  })
}

function argumentText(argument: Command['registeredArguments'][number]): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`
  return argument.required ? `<${name}>` : `[${name}]`
}

/** Without those that stand for an option of the configuration. */
function ownFlagsOf({ options }: Command): string[] {
  const shared = [
    ...optionNames.flatMap((name) => [flagName(name), `--no-${flagName(name).slice(2)}`]),
    '--config-file',
  ]
  return options.filter(({ long }) => !shared.includes(long ?? '')).map(({ flags }) => `\`${flags}\``)
}

/** Defaults that the machine or the folder decides. */
const DEFAULTS: Partial<Record<OptionName, string>> = {
  workers: 'processors',
  tasks: '`tasks.ts`, `.js` or `.mjs`, when there is one',
  secretKey: 'made',
}

/** A record whose fields are their own names, so that a line shows where each stands; what is counted with is a number. */
function sample(event: EventName): LogRecord {
  const fields: Record<string, unknown> = {
    ...{ event, attempt: 1, delay: 60_000, others: ['<others>'] },
    error: { message: '<error>' },
  }
  return new Proxy(fields, {
    get: (own, name) => own[String(name)] ?? `<${String(name)}>`,
  }) as unknown as LogRecord
}

function tableOf(name: string): string {
  const rows = TABLES[name]
  if (!rows)
    throw new Error(`README.md asks for a table "${name}"; there is ${Object.keys(TABLES).join(', ')}.`)
  const [head, ...body] = rows() as [string[], ...string[][]]
  return [head, head.map(() => '---'), ...body]
    .map((cells) => `| ${cells.map(escaped).join(' | ')} |`)
    .join('\n')
}

function escaped(cell: string): string {
  return cell.replaceAll('|', '\\|')
}

function defaultText(name: OptionName): string {
  return DEFAULTS[name] ?? `\`${JSON.stringify(defaultOfOption(name))}\``
}

if (import.meta.main) writeFileSync(README, renewed(readme()))
