import { globSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { expect } from 'chai'

const ROOT = join(import.meta.dirname, '..')

/** The parts of lib, the highest first. A file imports from its own row and the rows below it. */
const LAYERS = [
  ['cli', 'testing'],
  ['index'],
  ['cluster', 'bus', 'orders', 'orphans', 'inspection'],
  ['roles', 'process'],
  ['client', 'dead', 'connection', 'tasks', 'stat', 'control'],
  ['brokers', 'stores', 'package', 'envelope', 'notices'],
  [
    'clock',
    'config',
    'config-file',
    'options',
    'errors',
    'logger',
    'signing',
    'names',
    'sqlite',
    'postgres',
    'doorbell',
    'directory',
    'fault',
    'flights',
    'version',
    'memory',
  ],
]

/** Whoever wants a task to run where it is enqueued makes that process a worker and a monitor. */
const UPWARD = ['lib/client.ts imports lib/roles/inline.ts, which is above it']

/** Packages and parts of Node that one file keeps to itself. */
const KEEPERS: Record<string, string> = {
  winston: 'lib/logger.ts',
  zod: 'lib/options.ts',
  'node:sqlite': 'lib/sqlite.ts',
  pg: 'lib/postgres.ts',
  amqplib: 'lib/brokers/rabbitmq-link.ts',
  ws: 'lib/inspection/server.ts',
  croner: 'lib/tasks/rhythm.ts',
  'node:child_process': 'lib/process/fork.ts',
}

/** What of `process` only some places may use, and which. */
const PROCESS_RULES: { use: RegExp; what: string; allowed: readonly string[] }[] = [
  { use: /\bprocess\.env\b/, what: 'process.env', allowed: ['lib/config.ts'] },
  {
    use: /\bprocess\.(send|on|once|off)\b/,
    what: 'process.send and process.on',
    // Beside the two ends of a fork: signals of the cluster's own process, and the removal of its directory at its exit.
    allowed: ['lib/process/', 'lib/cluster.ts', 'lib/cli/', 'lib/directory.ts'],
  },
]

interface Source {
  /** From the root, with slashes. */
  readonly path: string
  readonly code: string
}

interface Import {
  readonly from: string
  /** Erased when it is compiled. */
  readonly isType: boolean
}

/** The code without comments, whose examples import as they like. */
const withoutComments = (text: string): string => text.replace(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')

/** What a file imports, at its top or on demand. */
function importsOf({ code }: Source): Import[] {
  const found = code.matchAll(
    /^(?:import|export)\s+(type\s)?[^'"();]*?from\s+'([^']+)'|^import\s+'([^']+)'|(\btypeof\s+)?\bimport\(\s*'([^']+)'/gm,
  )
  return [...found].map(([, type, from, bare, typeOf, onDemand]) => ({
    from: (from ?? bare ?? onDemand) as string,
    isType: (type ?? typeOf) !== undefined,
  }))
}

const isRelative = ({ from }: Import): boolean => from.startsWith('.')
const targetOf = (source: Source, { from }: Import): string => posix.join(dirname(source.path), from)

/** `lib/brokers/sqlite.ts` belongs to `brokers`, `lib/client.ts` to `client`. */
const partOf = (path: string): string => (path.split('/')[1] as string).replace(/\.ts$/, '')
const layerOf = (path: string): number => LAYERS.findIndex((parts) => parts.includes(partOf(path)))

function upwardImports(source: Source): string[] {
  return importsOf(source)
    .filter(isRelative)
    .map((one) => targetOf(source, one))
    .filter((target) => target.startsWith('lib/') && layerOf(target) < layerOf(source.path))
    .map((target) => `${source.path} imports ${target}, which is above it`)
}

function poached(source: Source): string[] {
  return importsOf(source)
    .filter(({ from, isType }) => !isType && KEEPERS[from] !== undefined && KEEPERS[from] !== source.path)
    .map(({ from }) => `${source.path} imports ${from}, which is for ${KEEPERS[from]} alone`)
}

function processUses({ path, code }: Source): string[] {
  return PROCESS_RULES.filter(
    ({ use, allowed }) => use.test(code) && !allowed.some((place) => path.startsWith(place)),
  ).map(({ what, allowed }) => `${path} uses ${what}, which is for ${allowed.join(', ')} alone`)
}

function strangersInMachine(source: Source): string[] {
  return importsOf(source)
    .filter(
      (one) => !(isRelative(one) ? targetOf(source, one).startsWith('machines/') : one.from === 'xstate'),
    )
    .map(({ from }) => `${source.path} imports ${from}, and a machine imports xstate and its neighbours only`)
}

function sourcesIn(folder: string): Source[] {
  return globSync(join(ROOT, folder, '**/*.ts')).map((path) => ({
    path: relative(ROOT, path).replaceAll(sep, '/'),
    code: withoutComments(readFileSync(path, 'utf8')),
  }))
}

describe('the architecture', () => {
  let lib: Source[]
  let machines: Source[]

  before(() => {
    lib = sourcesIn('lib')
    machines = sourcesIn('machines')
  })

  it('gives every file of lib a layer', () => {
    expect(lib.map(({ path }) => path)).to.include.members(['lib/errors.ts', 'lib/brokers/broker.ts'])
    expect(lib.map(({ path }) => path).filter((path) => layerOf(path) < 0)).to.deep.equal([])
  })

  it('lets imports go down only', () => {
    expect(lib.flatMap(upwardImports)).to.deep.equal(UPWARD)
  })

  it('keeps machines free of everything but xstate and their neighbours', () => {
    expect(machines).not.to.be.empty
    expect(machines.flatMap(strangersInMachine)).to.deep.equal([])
  })

  it('keeps drivers in one file each', () => {
    expect(lib.flatMap(poached)).to.deep.equal([])
  })

  it('reads the environment in one place and speaks to other processes in few', () => {
    expect([...lib, ...machines].flatMap(processUses)).to.deep.equal([])
  })

  it('has no clock in a machine but that of its actor system', () => {
    const timed = machines.filter(({ code }) =>
      /\b(setTimeout|setInterval|Date\.now|performance\.now)\b/.test(code),
    )
    expect(timed.map(({ path }) => path)).to.deep.equal([])
  })
})

describe('the rules of the architecture', () => {
  const source = (path: string, code: string): Source => ({ path, code: withoutComments(code) })

  it('see an import that goes up, in whatever form', () => {
    for (const code of [
      "import { Client } from '../client.ts'",
      "import type { Client } from '../client.ts'",
      "import {\n  type Client,\n  connect,\n} from '../client.ts'",
      "export * from '../client.ts'",
      "import '../client.ts'",
      "const { Client } = await import('../client.ts')",
    ])
      expect(upwardImports(source('lib/brokers/sqlite.ts', code)), code).to.have.length(1)
  })

  it('see no import in a comment', () => {
    const code = "/**\n * @example\n * import { Client } from '../client.ts'\n */\n// import '../client.ts'\n"
    expect(upwardImports(source('lib/brokers/sqlite.ts', code))).to.deep.equal([])
  })

  it('allow an import that goes down or stays', () => {
    const code = "import '../errors.ts'\nimport './broker.ts'\nimport '../stores/store.ts'\nimport 'xstate'"
    expect(upwardImports(source('lib/brokers/sqlite.ts', code))).to.deep.equal([])
  })

  it('see a driver outside its file, and none in its types', () => {
    expect(poached(source('lib/client.ts', "await import('winston')"))).to.have.length(1)
    expect(poached(source('lib/client.ts', "import { fork } from 'node:child_process'"))).to.have.length(1)
    expect(poached(source('lib/client.ts', "import type { Logger } from 'winston'"))).to.deep.equal([])
    expect(poached(source('lib/client.ts', "type W = typeof import('winston')"))).to.deep.equal([])
    expect(poached(source('lib/logger.ts', "await import('winston')"))).to.deep.equal([])
  })

  it('see the environment, signals and the channel to the parent', () => {
    expect(processUses(source('lib/client.ts', 'if (process.env.DEBUG) process.send?.(1)'))).to.have.length(2)
    expect(processUses(source('lib/process/serve.ts', "process.on('message', hear)"))).to.deep.equal([])
  })

  it('see a stranger in a machine', () => {
    const code =
      "import { setup } from 'xstate'\nimport './protocol.ts'\nimport '../lib/errors.ts'\nimport 'node:fs'"
    expect(strangersInMachine(source('machines/pusher.ts', code))).to.have.length(2)
  })
})
