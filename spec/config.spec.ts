import { existsSync } from 'node:fs'
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { expect } from 'chai'
import {
  childEnvironment,
  defineConfig,
  environmentName,
  type Options,
  type ResolveOptions,
  resolveConfig,
  resolveSettings,
} from '../lib/config.ts'
import { loadConfigFile } from '../lib/config-file.ts'
import { ConfigError } from '../lib/errors.ts'
import { describeOption, optionNames } from '../lib/options.ts'

describe('configuration', () => {
  let folder: string

  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'qcluster-config-')))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('gives child processes a folder for compiled code', () => {
    const { NODE_COMPILE_CACHE } = childEnvironment({ dataDir: folder })
    expect(NODE_COMPILE_CACHE).to.equal(process.env.NODE_COMPILE_CACHE ?? join(folder, 'compile-cache'))
    expect(childEnvironment({ dataDir: folder })).to.include({ PATH: process.env.PATH })
  })

  const resolveHere = (options: Options = {}, where: ResolveOptions = {}) =>
    resolveConfig({ secretKey: 'secret', ...options }, { baseDir: folder, env: {}, ...where })
  const settingsOf = async (...given: Parameters<typeof resolveHere>) =>
    (await resolveHere(...given)).settings
  const write = (name: string, text: string) => writeFile(join(folder, name), text)

  /** The sentence that refuses these options, which need not be of a type that the compiler accepts. */
  async function refusal(options: object, where: ResolveOptions = {}): Promise<string> {
    try {
      await resolveHere(options as Options, where)
    } catch (error) {
      expect(error).to.be.instanceOf(ConfigError)
      return (error as ConfigError).message
    }
    throw new Error(`expected ${JSON.stringify(options)} to be refused`)
  }

  describe('defaults', () => {
    it('completes what is not given', async () => {
      const { workers, ...settings } = await settingsOf()
      expect(workers).to.be.a('number').above(0)
      expect(settings).to.deep.equal({
        name: 'default',
        tasks: [],
        concurrency: 1,
        timeout: null,
        timeoutGrace: 3,
        recycle: 0,
        maxRss: null,
        maxAge: null,
        cpuAffinity: 0,
        nice: 0,
        maxHeap: null,
        saveLimit: 250,
        saveLimitPer: null,
        saveFor: 60,
        queueLimit: 1000,
        grace: 25,
        guardCycle: 0.5,
        poll: 0.2,
        maxAttempts: 3,
        maxDeliveries: 50,
        retry: 60,
        ackFailures: false,
        cached: 0,
        sync: false,
        broker: null,
        enqueueTimeout: 10,
        secretKey: ['secret'],
        store: null,
        dataDir: join(folder, '.qcluster'),
        durability: 'normal',
        handleSignals: false,
        isKeyOfFolder: false,
        runOnce: false,
        compress: false,
        maxPayload: 16_000_000,
        logLevel: 'info',
        inspectPayloads: false,
        logFormat: 'text',
        scheduler: true,
        maxRestarts: 5,
        restartWindow: 30,
      })
    })

    it('gives settings that are plain JSON', async () => {
      const settings = await settingsOf({ tasks: ['a.ts'] })
      expect(JSON.parse(JSON.stringify(settings))).to.deep.equal(settings)
    })

    it('freezes the settings, lists included', async () => {
      const settings = await settingsOf()
      expect(settings).to.be.frozen
      expect(settings.tasks).to.be.frozen
      expect(settings.secretKey).to.be.frozen
    })

    it('takes an undefined option for one that is not given', async () => {
      expect((await settingsOf({ grace: undefined })).grace).to.equal(25)
    })

    it('makes a secret key in the data folder when none is given, and finds it again', async () => {
      const where = { baseDir: folder, env: {} }
      const first = await resolveSettings({}, where)
      expect(first.secretKey).to.have.length(1)
      expect(existsSync(join(folder, '.qcluster', 'secret.key'))).to.equal(true)
      expect((await resolveSettings({}, where)).secretKey).to.deep.equal(first.secretKey)
    })

    it('touches no file when a secret key is given', async () => {
      await resolveHere()
      expect(existsSync(join(folder, '.qcluster'))).to.equal(false)
    })

    it('raises a queue limit that would leave a worker idle', async () => {
      expect((await settingsOf({ queueLimit: 5, workers: 4, concurrency: 3 })).queueLimit).to.equal(13)
    })

    it('describes every option', () => {
      for (const name of optionNames) expect(describeOption(name), name).to.match(/\.$/)
    })
  })

  describe('precedence', () => {
    it('prefers given options to the environment, that to the config file, and that to the defaults', async () => {
      await write('qcluster.config.mjs', 'export default { workers: 1, concurrency: 1, grace: 1 }')
      const { settings, origins, configFile } = await resolveHere(
        { workers: 3 },
        { env: { QCLUSTER_WORKERS: '2', QCLUSTER_CONCURRENCY: '2' } },
      )
      expect(settings).to.include({ workers: 3, concurrency: 2, grace: 1, poll: 0.2 })
      expect(origins).to.include({ workers: 'flag', concurrency: 'env', grace: 'file', poll: 'default' })
      expect(configFile).to.equal(join(folder, 'qcluster.config.mjs'))
    })

    it('leaves a value unchecked that a stronger one hides', async () => {
      const settings = await settingsOf({ logLevel: 'warn' }, { env: { LOG_LEVEL: 'chatty' } })
      expect(settings.logLevel).to.equal('warn')
    })
  })

  describe('alternative clusters', () => {
    const FILE = `export default {
      name: 'short', workers: 4, timeout: 60, tasks: ['jobs.ts'],
      altClusters: { long: { workers: 1, timeout: 3600, tasks: ['long.ts'] }, mail: { grace: 5 } },
    }`
    const resolveAs = async (name: string | undefined, where: ResolveOptions = {}) => {
      await write('qcluster.config.mjs', FILE)
      return resolveHere(name === undefined ? {} : { name }, where)
    }

    it('change options where their name is chosen', async () => {
      const { settings, origins } = await resolveAs('long')
      expect(settings).to.include({ name: 'long', workers: 1, timeout: 3600 })
      expect(settings.tasks).to.deep.equal([join(folder, 'long.ts')])
      expect(origins).to.include({
        name: 'flag',
        workers: 'altClusters',
        timeout: 'altClusters',
        grace: 'default',
      })
    })

    it('change nothing elsewhere', async () => {
      expect((await resolveAs(undefined)).settings).to.include({ name: 'short', workers: 4, timeout: 60 })
    })

    it('are chosen by the environment too, and what it says of other options wins over them', async () => {
      const { settings } = await resolveAs(undefined, {
        env: { Q_CLUSTER_NAME: 'long', QCLUSTER_WORKERS: '2' },
      })
      expect(settings).to.include({ name: 'long', workers: 2, timeout: 3600 })
    })

    it('are chosen by a flag rather than by the environment', async () => {
      const { settings } = await resolveAs('mail', { env: { Q_CLUSTER_NAME: 'long' } })
      expect(settings).to.include({ name: 'mail', workers: 4, grace: 5 })
    })

    it('need not have the name that is chosen, nor be there at all', async () => {
      expect((await resolveAs('other')).settings).to.include({ name: 'other', workers: 4 })
      expect((await resolveAs('toString')).settings).to.include({ name: 'toString', workers: 4 })
      expect(await settingsOf({}, { env: { Q_CLUSTER_NAME: 'long' }, file: null })).to.include({
        name: 'long',
      })
    })

    it('are checked all, whichever is chosen', async () => {
      const refused = (long: object) => refusal({ altClusters: { mail: {}, long } })
      const place = 'altClusters\\.long of the given options'
      expect(await refused({ wrokers: 1 })).to.match(new RegExp(`nearest one is workers.*${place}`))
      expect(await refused({ workers: 0 })).to.match(new RegExp(`workers: expected .*${place}`))
      expect(await refused({ name: 'x' })).to.match(
        new RegExp(`name: an alternative cluster cannot .*${place}`),
      )
      expect(await refused({ altClusters: {} })).to.match(
        new RegExp(`altClusters: an alternative .*${place}`),
      )
      expect(await refused({ secretKey: ['hush', 1] }))
        .to.match(/secretKey: expected/)
        .and.not.contain('hush')
    })

    it('are an object of objects', async () => {
      for (const altClusters of [1, ['long'], { long: 'hush' }])
        expect(await refusal({ altClusters, name: 'long' }))
          .to.match(/altClusters: expected an object/)
          .and.not.contain('hush')
    })
  })

  describe('environment', () => {
    const fromEnvironment = (env: Record<string, string>) =>
      resolveSettings({}, { baseDir: folder, env: { QCLUSTER_SECRET_KEY: 'secret', ...env } })

    it('names each option in upper case', () => {
      expect(environmentName('workers')).to.equal('QCLUSTER_WORKERS')
      expect(environmentName('dataDir')).to.equal('QCLUSTER_DATA_DIR')
    })

    it('reads numbers, words and lists', async () => {
      const settings = await fromEnvironment({
        QCLUSTER_TIMEOUT: '1.5',
        QCLUSTER_HANDLE_SIGNALS: '1',
        QCLUSTER_SCHEDULER: 'no',
        QCLUSTER_TASKS: 'a.ts, b.ts',
        QCLUSTER_SECRET_KEY: 'new,old',
      })
      expect(settings).to.include({ timeout: 1.5, handleSignals: true, scheduler: false })
      expect(settings.tasks).to.deep.equal([join(folder, 'a.ts'), join(folder, 'b.ts')])
      expect(settings.secretKey).to.deep.equal(['new', 'old'])
    })

    it('reads none as no limit, over a limit in the config file', async () => {
      await write('qcluster.config.mjs', 'export default { timeout: 5 }')
      expect((await fromEnvironment({ QCLUSTER_TIMEOUT: 'none' })).timeout).to.equal(null)
    })

    it('keeps texts that look like something else', async () => {
      const settings = await fromEnvironment({ QCLUSTER_NAME: '1', QCLUSTER_SECRET_KEY: '"0123"' })
      expect(settings.name).to.equal('1')
      expect(settings.secretKey).to.deep.equal(['"0123"'])
    })

    it('knows the names of the reference', async () => {
      const settings = await fromEnvironment({ Q_CLUSTER_NAME: 'long', LOG_LEVEL: 'CRITICAL' })
      expect(settings).to.include({ name: 'long', logLevel: 'fatal' })
    })

    it('reads where RabbitMQ is from the names that providers give it, its own first', async () => {
      const named = { RABBITMQ_URL: 'amqp://c', CLOUDAMQP_URL: 'amqps://b', AMQP_URL: 'amqp://a,amqp://d' }
      expect((await fromEnvironment({ RABBITMQ_URL: 'amqp://c' })).broker).to.equal('amqp://c')
      expect((await fromEnvironment(named)).broker).to.deep.equal(['amqp://a', 'amqp://d'])
      expect((await fromEnvironment({ ...named, QCLUSTER_BROKER_URL: 'amqp://e' })).broker).to.equal(
        'amqp://e',
      )
    })

    it('takes the database of an application for the store only where it is PostgreSQL', async () => {
      expect((await fromEnvironment({ DATABASE_URL: 'postgres://a/b' })).store).to.equal('postgres://a/b')
      expect((await fromEnvironment({ DATABASE_URL: 'mysql://a/b' })).store).to.equal(null)
      const both = { DATABASE_URL: 'postgres://a/b', QCLUSTER_STORE_URL: 'postgresql://c/d' }
      expect((await fromEnvironment(both)).store).to.equal('postgresql://c/d')
    })

    it('prefers its own names to those', async () => {
      const settings = await fromEnvironment({ Q_CLUSTER_NAME: 'long', QCLUSTER_NAME: 'short' })
      expect(settings.name).to.equal('short')
    })

    it('passes over variables that are empty or of no option', async () => {
      const settings = await fromEnvironment({ QCLUSTER_GRACE: '', QCLUSTER_PORT: 'tcp://10.0.0.1:80' })
      expect(settings.grace).to.equal(25)
    })

    it('names the variable that is wrong', async () => {
      expect(await refusal({}, { env: { QCLUSTER_WORKERS: 'many' } })).to.equal(
        'The configuration is wrong. workers: expected a whole number of at least 1, got "many". ' +
          'Correct it in the environment variable QCLUSTER_WORKERS.',
      )
      expect(await refusal({}, { env: { LOG_LEVEL: 'chatty' } })).to.match(/variable LOG_LEVEL\.$/)
    })
  })

  describe('config file', () => {
    it('is TypeScript or JavaScript beside what is started', async () => {
      await write('qcluster.config.ts', 'const workers: number = 7\nexport default { workers }')
      expect(await loadConfigFile(folder)).to.deep.equal({
        path: join(folder, 'qcluster.config.ts'),
        options: { workers: 7 },
      })
    })

    it('is not needed', async () => {
      expect(await loadConfigFile(folder)).to.equal(undefined)
      expect(await resolveHere()).not.to.have.property('configFile')
    })

    it('is left alone when it is not wanted', async () => {
      await write('qcluster.config.mjs', 'export default { workers: 0 }')
      expect((await resolveHere({ workers: 2 }, { file: null })).settings.workers).to.equal(2)
    })

    it('can be another one', async () => {
      await write('other.mjs', 'export default { workers: 8 }')
      expect((await settingsOf({}, { file: 'other.mjs' })).workers).to.equal(8)
    })

    it('is refused when the named one is missing', async () => {
      expect(await refusal({}, { file: 'missing.mjs' })).to.contain(join(folder, 'missing.mjs'))
    })

    it('is refused when it exports no options', async () => {
      await write('qcluster.config.mjs', 'export default () => ({})')
      expect(await refusal({})).to.match(
        /Expected .*qcluster\.config\.mjs to export its options .*got a function/,
      )
    })

    for (const [what, name, text, words] of [
      [
        'throws',
        'mjs',
        'const a = 1\nthrow new Error("no such luck")',
        /\.mjs cannot be loaded, line 2: no such luck;/,
      ],
      [
        'throws as TypeScript',
        'ts',
        '\nconst a: number = null!.b',
        /\.ts cannot be loaded, line 2: Cannot read/,
      ],
      [
        'is no JavaScript',
        'mjs',
        'export default {\n  workers: 1,,\n}',
        /\.mjs cannot be loaded, line 2: Unexpected token/,
      ],
      [
        'is no TypeScript',
        'ts',
        'export default {\n  workers: 1,,\n}',
        /\.ts cannot be loaded, line 2: Unexpected token/,
      ],
      [
        'throws a text',
        'mjs',
        'throw "no such luck"',
        /cannot be loaded: no such luck; .*`node .*config\.mjs` shows/,
      ],
      [
        'imports what is not there',
        'mjs',
        'import "./gone.mjs"',
        /cannot be loaded: Cannot find module .*gone\.mjs/,
      ],
    ] as const)
      it(`is refused when it ${what}, with the line where there is one`, async () => {
        await write(`qcluster.config.${name}`, text)
        expect(await refusal({})).to.match(words)
      })

    it('gets its types from defineConfig', () => {
      const options: Options = { workers: 2 }
      expect(defineConfig(options)).to.equal(options)
    })
  })

  describe('paths', () => {
    it('start from the config file that names them, and from the working directory elsewhere', async () => {
      const elsewhere = join(folder, 'elsewhere')
      await write('qcluster.config.mjs', 'export default { tasks: ["jobs.ts"], dataDir: "data" }')
      const settings = await settingsOf(
        { dataDir: 'given' },
        { baseDir: elsewhere, file: '../qcluster.config.mjs' },
      )
      expect(settings.tasks).to.deep.equal([join(folder, 'jobs.ts')])
      expect(settings.dataDir).to.equal(join(elsewhere, 'given'))
    })

    it('lie beside the config file by default', async () => {
      await write('qcluster.config.mjs', 'export default {}')
      await write('tasks.mjs', '')
      const settings = await settingsOf({}, { baseDir: tmpdir(), file: join(folder, 'qcluster.config.mjs') })
      expect(settings.dataDir).to.equal(join(folder, '.qcluster'))
      expect(settings.tasks).to.deep.equal([join(folder, 'tasks.mjs')])
    })

    it('can be file URLs', async () => {
      const file = join(folder, 'a b.ts')
      expect((await settingsOf({ tasks: [pathToFileURL(file).href] })).tasks).to.deep.equal([file])
    })

    it('lead to tasks.ts before tasks.js', async () => {
      await write('tasks.js', '')
      await write('tasks.ts', '')
      expect((await settingsOf()).tasks).to.deep.equal([join(folder, 'tasks.ts')])
    })
  })

  describe('refusals', () => {
    it('names the option that is nearest to an unknown one', async () => {
      expect(await refusal({ wrokers: 2 })).to.equal(
        'The configuration is wrong. wrokers: there is no such option; the nearest one is workers. ' +
          'Correct it in the given options.',
      )
      expect(await refusal({ max_attempts: 2 })).to.contain('the nearest one is maxAttempts')
      expect(await refusal({ toString: 2 })).to.contain('there is no such option')
    })

    it('tells where a logger belongs', async () => {
      await write('qcluster.config.mjs', 'export default { logger: { log() {} } }')
      expect(await refusal({})).to.match(/logger: .* give it to new Cluster\(\{ logger \}\) .*config\.mjs/)
    })

    it('lists all that is wrong, wherever it stands', async () => {
      await write('qcluster.config.mjs', 'export default { poll: 0 }')
      const message = await refusal({ workers: 0, logFormat: 'xml' }, { env: { QCLUSTER_GRACE: 'soon' } })
      expect(message.split('\n')).to.deep.equal([
        'The configuration is wrong in 4 places.',
        '- workers: expected a whole number of at least 1, got 0. Correct it in the given options.',
        '- logFormat: expected one of text, json, got "xml". Correct it in the given options.',
        '- grace: expected a number of seconds, 0 or more, got "soon". Correct it in the environment variable QCLUSTER_GRACE.',
        `- poll: expected a number of seconds above 0, got 0. Correct it in ${join(folder, 'qcluster.config.mjs')}.`,
      ])
    })

    it('refuses what no child process can have', async () => {
      const words = 'What a child process needs is JSON or a module path: '
      expect(await refusal({ tasks: ['a.ts', () => {}] })).to.contain(`${words}tasks[1] is a function.`)
      expect(await refusal({ dataDir: new Date() })).to.contain(`${words}dataDir is an instance of Date.`)
      expect(await refusal({ name: { first: Symbol('x') } })).to.contain(`${words}name.first is a symbol.`)
      expect(await refusal({ tasks: [new URL('file:///a.ts')] })).to.contain('Give its href')
    })

    for (const [name, values] of Object.entries({
      name: ['', 'a\nb', 'x'.repeat(101), 1],
      workers: [0, 1.5, -1, '4', Number.NaN],
      timeout: [0, -1, Infinity],
      guardCycle: [0, 60],
      grace: [-1, 3_000_000],
      maxAttempts: [-1, 0.5],
      ackFailures: [1, 'no'],
      cached: [-1, true],
      durability: ['none'],
      handleSignals: ['yes'],
      secretKey: ['', [], ['']],
      broker: ['localhost', 'http://localhost', [], ['amqp://a', 'b']],
      enqueueTimeout: [0, '1'],
      logLevel: ['chatty'],
    }))
      it(`refuses ${name}: ${values.map((value) => inspect(value).slice(0, 20)).join(', ')}`, async () => {
        for (const value of values) expect(await refusal({ [name]: value })).to.contain(`${name}: expected`)
      })

    it('never shows a secret', async () => {
      expect(await refusal({ secretKey: ['hush', ''] })).not.to.contain('hush')
      expect(await refusal({ broker: 'amqp:/u:hush@host' })).not.to.contain('hush')
    })
  })
})
