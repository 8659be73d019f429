import { createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto'
import { type FileHandle, link, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from './errors.ts'

/** Characters of a signature: 32 bytes as base64url. */
export const SIGNATURE_LENGTH = 43

/** More (purpose, salt) pairs than an honest process meets; a stranger's endless queue names must not fill memory. */
const MOST_CACHED_KEYS = 256

/**
 * Signs with the first of its secrets and accepts what any of them signed, so that a secret can be replaced while
 * packages of the old one are still on their way. The secrets are never shown: not in a log, not by `JSON.stringify`.
 */
export class Signer {
  readonly #secrets: readonly string[]
  /** KeyObjects, because handing raw bytes to `createHmac` costs six times the rest of a signature. */
  readonly #keys = new Map<string, readonly KeyObject[]>()

  /** @throws {ConfigError} when there is no secret, or an empty one. */
  constructor(secrets: readonly string[]) {
    if (secrets.length === 0 || secrets.includes(''))
      throw new ConfigError(
        'secretKey must be a text or a list of texts, none of them empty; set one, or leave it out.',
      )
    this.#secrets = [...secrets]
  }

  /** The signature of `text`: HMAC-SHA-256 as base64url. A `salt` (the queue's name) keeps purposes and queues apart. */
  sign(purpose: string, salt: string, text: string): string {
    return digest(this.#keysFor(purpose, salt)[0] as KeyObject, text)
  }

  /** Whether one of our secrets made this signature, compared in constant time. */
  verify(purpose: string, salt: string, text: string, signature: string): boolean {
    const given = Buffer.from(signature)
    if (given.length !== SIGNATURE_LENGTH) return false
    return this.#keysFor(purpose, salt).some((key) => timingSafeEqual(given, Buffer.from(digest(key, text))))
  }

  #keysFor(purpose: string, salt: string): readonly KeyObject[] {
    const context = `${purpose}\0${salt}`
    return this.#keys.get(context) ?? this.#deriveKeys(context)
  }

  #deriveKeys(context: string): readonly KeyObject[] {
    const keys = this.#secrets.map((secret) =>
      createSecretKey(createHmac('sha256', secret).update(context).digest()),
    )
    if (this.#keys.size >= MOST_CACHED_KEYS) this.#keys.clear()
    this.#keys.set(context, keys)
    return keys
  }
}

/**
 * The secret of a data folder, in its file `secret.key`: made once, readable by its owner only. Several processes may
 * ask at the same time. The folder is made too, with mode 0700, where it is missing.
 *
 * @throws {ConfigError} when others may use the file, when it is empty, or when it cannot be read or made.
 */
export async function loadOrCreateSecret(dataDir: string): Promise<string> {
  const secret = await loadSecret(dataDir)
  if (secret !== undefined) return secret

  await createSecret(dataDir, keyFile(dataDir))
  // Several processes may have found none at once; all of them take what the fastest one wrote.
  return loadOrCreateSecret(dataDir)
}

/** The secret of a data folder, or undefined when it has none yet; else as {@link loadOrCreateSecret}. */
export function loadSecret(dataDir: string): Promise<string | undefined> {
  return readSecret(keyFile(dataDir))
}

/**
 * Puts the secret of a data folder back where somebody has removed it, unless there is another one by now: else the next
 * producer makes a new one, and nobody accepts what it signs.
 *
 * @throws {ConfigError} when it cannot be written.
 */
export async function restoreSecret(dataDir: string, secret: string): Promise<void> {
  if ((await loadSecret(dataDir)) === undefined) await createSecret(dataDir, keyFile(dataDir), secret)
}

function keyFile(dataDir: string): string {
  return join(dataDir, 'secret.key')
}

async function readSecret(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, 'r')
    await refuseReadableByOthers(file, path)
    return refuseEmpty((await file.readFile('utf8')).trim(), path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error instanceof ConfigError ? error : keyFileError(`Cannot read the key file ${path}`, error)
  }
}

async function refuseReadableByOthers(file: FileHandle, path: string): Promise<void> {
  if (process.platform === 'win32') return
  const mode = (await file.stat()).mode & 0o777
  if ((mode & 0o077) === 0) return
  throw new ConfigError(
    `The key file ${path} is open to others (mode ${mode.toString(8)}, expected 600); run: chmod 600 '${path}'`,
  )
}

function refuseEmpty(secret: string, path: string): string {
  if (secret !== '') return secret
  throw new ConfigError(
    `The key file ${path} is empty; delete it and a new secret is made, or write one into it.`,
  )
}

async function createSecret(
  dataDir: string,
  path: string,
  secret = randomBytes(32).toString('base64url'),
): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    await publishSecret(path, secret)
  } catch (error) {
    throw keyFileError(`Cannot make the key file ${path}`, error)
  }
}

/** Written aside and linked into place: a link fails where the file exists, and what it shows is complete. */
async function publishSecret(path: string, secret: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await writeSynced(draft, secret)
    await link(draft, path)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  } finally {
    await rm(draft, { force: true })
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx', 0o600)
  await file.writeFile(text)
  await file.sync()
}

function keyFileError(problem: string, cause: unknown): ConfigError {
  return new ConfigError(
    `${problem}: ${(cause as Error).message}; give the folder to this user, or set secretKey.`,
    {
      cause,
    },
  )
}

function digest(key: KeyObject, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url')
}

const hasCode = (error: unknown, code: string): boolean => (error as NodeJS.ErrnoException).code === code
