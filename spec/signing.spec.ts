import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect, promisify } from 'node:util'
import { expect } from 'chai'
import { ConfigError } from '../lib/errors.ts'
import { loadOrCreateSecret, SIGNATURE_LENGTH, Signer } from '../lib/signing.ts'
import { rejection } from './contracts/material.ts'

describe('a signer', () => {
  const signer = new Signer(['new', 'old'])

  it('signs with a key that is derived from its first secret, the purpose and the salt', () => {
    const key = createHmac('sha256', 'new').update('purpose\0salt').digest()
    const expected = createHmac('sha256', key).update('text ä').digest('base64url')
    expect(signer.sign('purpose', 'salt', 'text ä'))
      .to.equal(expected)
      .and.to.have.length(SIGNATURE_LENGTH)
  })

  it('accepts what any of its secrets signed', () => {
    for (const secret of ['new', 'old'])
      expect(signer.verify('p', 's', 'text', new Signer([secret]).sign('p', 's', 'text')), secret).to.equal(
        true,
      )
    expect(signer.verify('p', 's', 'text', new Signer(['other']).sign('p', 's', 'text'))).to.equal(false)
  })

  it('keeps purposes, salts and texts apart', () => {
    const signature = signer.sign('p', 's', 'text')
    expect(signer.verify('q', 's', 'text', signature)).to.equal(false)
    expect(signer.verify('p', 't', 'text', signature)).to.equal(false)
    expect(signer.verify('p', 's', 'text ', signature)).to.equal(false)
  })

  it('accepts one spelling of a signature only', () => {
    const signature = signer.sign('p', 's', 'text')
    const wider = String.fromCharCode(signature.charCodeAt(0) + 256) + signature.slice(1)
    for (const other of ['', `${signature}=`, signature.slice(1), wider, otherPadding(signature)])
      expect(signer.verify('p', 's', 'text', other), other).to.equal(false)
  })

  it('still knows its own signatures after meeting more salts than it keeps keys for', () => {
    const signature = signer.sign('p', 's', 'text')
    for (let i = 0; i < 1_000; i += 1) signer.sign('p', `salt ${i}`, 'text')
    expect(signer.verify('p', 's', 'text', signature)).to.equal(true)
  })

  it('shows no secret', () => {
    const shy = new Signer(['hush-hush'])
    shy.sign('p', 's', 't')
    expect(inspect(shy, { depth: 9, showHidden: true }) + JSON.stringify(shy)).to.not.include('hush')
  })

  it('refuses to be made without a secret', () => {
    expect(() => new Signer([])).to.throw(ConfigError, 'secretKey')
    expect(() => new Signer(['good', ''])).to.throw(ConfigError, 'secretKey')
  })
})

describe('the key file', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-spec-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('is made once, for its owner only, however many ask', async () => {
    const data = join(folder, 'data')
    const secrets = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateSecret(data)))
    expect(new Set(secrets)).to.have.property('size', 1)
    expect((await stat(join(data, 'secret.key'))).mode & 0o777).to.equal(0o600)
    expect((await stat(data)).mode & 0o777).to.equal(0o700)
    expect(await readdir(data)).to.deep.equal(['secret.key'])
  })

  it('is made once by several processes that start together', async () => {
    const secrets = await Promise.all(
      Array.from({ length: 4 }, () => secretOfAnotherProcess(join(folder, 'data'))),
    )
    expect(new Set(secrets)).to.deep.equal(new Set([await loadOrCreateSecret(join(folder, 'data'))]))
  })

  it('is read as it is when there is one', async () => {
    await writeFile(join(folder, 'secret.key'), 'of my own\n', { mode: 0o600 })
    expect(await loadOrCreateSecret(folder)).to.equal('of my own')
    expect(await readFile(join(folder, 'secret.key'), 'utf8')).to.equal('of my own\n')
  })

  it('is refused when others can read it, with the command that helps', async () => {
    const path = join(folder, 'secret.key')
    await writeFile(path, 'x', { mode: 0o600 })
    await chmod(path, 0o640)
    const error = await rejection(loadOrCreateSecret(folder))
    expect(error).to.be.instanceOf(ConfigError)
    expect(String(error)).to.include(`(mode 640, expected 600); run: chmod 600 '${path}'`)
  })

  it('is refused when it is empty', async () => {
    await writeFile(join(folder, 'secret.key'), '\n', { mode: 0o600 })
    const error = await rejection(loadOrCreateSecret(folder))
    expect(error).to.be.instanceOf(ConfigError).with.property('message').that.includes('is empty')
  })

  it('is a clear error where it cannot be made or read', async () => {
    await writeFile(join(folder, 'file'), '')
    expect(await rejection(loadOrCreateSecret(join(folder, 'file', 'data')))).to.be.instanceOf(ConfigError)
    await mkdir(join(folder, 'secret.key'), { mode: 0o700 })
    expect(await rejection(loadOrCreateSecret(folder))).to.be.instanceOf(ConfigError)
  })
})

/** The last character of 43 carries two bits that nobody reads: the same bytes, spelled otherwise. */
function otherPadding(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url')
  const spellings = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].map(
    (character) => signature.slice(0, -1) + character,
  )
  const found = spellings.find(
    (other) => other !== signature && Buffer.from(other, 'base64url').equals(bytes),
  )
  return found as string
}

async function secretOfAnotherProcess(data: string): Promise<string> {
  const script = `
    import { loadOrCreateSecret } from ${JSON.stringify(new URL('../lib/signing.ts', import.meta.url).href)}
    process.stdout.write(await loadOrCreateSecret(${JSON.stringify(data)}))
  `
  return (await run(process.execPath, ['--input-type=module', '-e', script])).stdout
}

const run = promisify(execFile)
