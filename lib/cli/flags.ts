import { type Command, Option } from 'commander'
import { type Options, type ResolvedConfig, type ResolveOptions, resolveConfig } from '../config.ts'
import {
  choicesOfOption,
  defaultOfOption,
  describeOption,
  expectationOf,
  kindOfOption,
  type OptionName,
  optionNames,
  readText,
} from '../options.ts'

/** What a command line gives, by the names of its flags in camel case. */
export type Flags = Readonly<Record<string, unknown>>

/** The options that tell a command which queue is meant, and where it is. */
export const PLACE: readonly OptionName[] = ['name', 'dataDir', 'broker', 'store']

/** Gives a command flags for options of the table, and `--config-file`. */
export function addFlags(command: Command, names: readonly OptionName[] = PLACE): Command {
  for (const flag of names.flatMap(flagsOf)) command.addOption(flag)
  return command.option('--config-file <path>', 'The config file, when it is not the one of this folder.')
}

/**
 * Completes what the flags of {@link addFlags} say with the environment, the config file and the defaults.
 * @param fixed what the command itself decides
 * @throws {ConfigError} that lists everything that is wrong
 */
export function configOf(
  flags: Flags,
  fixed: Options = {},
  where: ResolveOptions = {},
): Promise<ResolvedConfig> {
  const { configFile } = flags as { configFile?: string }
  return resolveConfig(
    { ...optionsOf(flags), ...fixed },
    {
      ...where,
      place: (name) => `the flag ${flagName(name)}`,
      ...(configFile !== undefined && { file: configFile }),
    },
  )
}

/** `dataDir` is `--data-dir`. */
export function flagName(name: string): string {
  return `--${kebab(name)}`
}

const SHORT: Partial<Record<OptionName, string>> = { name: '-n', tasks: '-t', workers: '-w' }

function flagsOf(name: OptionName): Option[] {
  if (kindOfOption(name) === 'flag') return switchesOf(name)
  const names = [SHORT[name] ?? [], flagName(name)].flat().join(', ')
  const flag = new Option(`${names} <${kindOfOption(name)}>`, helpOf(name))
  // A list is given as several words, which need no reading.
  return [flag.variadic ? flag : flag.argParser((text) => readText(name, text))]
}

/** With the values to choose from, and with a default that is no matter of the machine or the folder. */
function helpOf(name: OptionName): string {
  const choices = choicesOfOption(name) ? ` It is ${expectationOf(name)}.` : ''
  const standard = name === 'workers' ? undefined : defaultOfOption(name)
  const isTold = typeof standard === 'number' || typeof standard === 'string'
  return `${describeOption(name)}${choices}${isTold ? ` (default: ${standard})` : ''}`
}

/** Both, because commander takes a lone `--no-…` for a flag that was given. The help shows the one that changes something. */
function switchesOf(name: OptionName): Option[] {
  const [on, off] = [new Option(flagName(name)), new Option(`--no-${kebab(name)}`)]
  on.description = describeOption(name)
  off.description = `Not: ${describeOption(name)}`
  return defaultOfOption(name) ? [on.hideHelp(), off] : [on, off.hideHelp()]
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function optionsOf(flags: Flags): Options {
  const given = optionNames.filter((name) => flags[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, flags[name]]))
}
