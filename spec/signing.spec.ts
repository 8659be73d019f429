import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { expect } from 'chai'
import { ConfigError, SignatureError } from '../lib/errors.ts'
import { openPackage, sealPackage, type TaskHeader } from '../lib/package.ts'
import { loadOrCreateSecret, Signer } from '../lib/signing.ts'

const header: TaskHeader = {
  id: '0'.repeat(32),
  run: 1,
  attempt: 1,
  name: 'a-b-c-d',
  func: 'math.add',
  enqueuedAt: 1,
}

describe('a signed package', () => {
  const signer = new Signer(['new', 'old'])

  it('opens with any of our keys and is signed with the first', () => {
    for (const secret of ['new', 'old'])
      expect(openPackage(sealPackage(header, '[1,2]', 'q', new Signer([secret])), 'q', signer)).to.deep.equal(
        { header, args: '[1,2]' },
      )
    expect(() => openPackage(sealPackage(header, '[]', 'q', signer), 'q', new Signer(['old']))).to.throw(
      SignatureError,
    )
  })

  it('is refused on another queue, and wherever one character of it differs', () => {
    const sealed = sealPackage(header, '[1,2]', 'q', signer)
    expect(() => openPackage(sealed, 'other', signer)).to.throw(SignatureError)
    for (let at = 0; at < sealed.body.length; at += 1) {
      // The last character of a base64url digest has bits that nobody reads.
      if (at === 42) continue
      const body = `${sealed.body.slice(0, at)}~${sealed.body.slice(at + 1)}`
      expect(() => openPackage({ ...sealed, body }, 'q', signer), `changed at ${at}`).to.throw(SignatureError)
    }
  })

  it('is refused when it is cut off, empty, or not ours at all', () => {
    const { body, ...numbers } = sealPackage(header, '[1,2]', 'q', signer)
    for (const text of ['', 'garbage', '\n\n', body.slice(0, 60), body.slice(0, -1)])
      expect(() => openPackage({ ...numbers, body: text }, 'q', signer), text).to.throw(SignatureError)
  })

  it('is refused under other numbers than it was signed with', () => {
    const sealed = sealPackage(header, '[]', 'q', signer)
    for (const change of [{ taskId: '1'.repeat(32) }, { run: 2 }, { attempt: 2 }])
      expect(() => openPackage({ ...sealed, ...change }, 'q', signer)).to.throw(SignatureError)
  })

  it('shows no secret', () => {
    const shy = new Signer(['hush-hush'])
    shy.sign('p', 's', 't')
    expect(inspect(shy, { depth: 9, showHidden: true }) + JSON.stringify(shy)).to.not.include('hush')
  })
})

describe('the key file', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qcluster-spec-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('is made once, for its owner only, however many ask', async () => {
    const secrets = await Promise.all(
      Array.from({ length: 20 }, () => loadOrCreateSecret(join(folder, 'data'))),
    )
    expect(new Set(secrets)).to.have.property('size', 1)
    expect((await stat(join(folder, 'data', 'secret.key'))).mode & 0o777).to.equal(0o600)
    expect((await stat(join(folder, 'data'))).mode & 0o777).to.equal(0o700)
  })

  it('is refused when others can read it', async () => {
    await writeFile(join(folder, 'secret.key'), 'x', { mode: 0o644 })
    const error = await loadOrCreateSecret(folder).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).to.be.instanceOf(ConfigError)
    expect(String(error)).to.include('chmod 600')
  })
})
