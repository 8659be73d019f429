import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { type Broker, createBroker, type Delivery } from '../../lib/brokers/index.ts'
import { RabbitmqServer } from '../../tools/services/rabbitmq.ts'
import { freePorts } from '../../tools/services/server.ts'
import { Inbox, packageOf } from '../contracts/material.ts'
import { needRabbitmq } from './server.ts'

/** A certificate authority in a folder, with a certificate for the server, one for a client, and one of a stranger. */
function makeCertificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const name of ['ca', 'stranger'])
    openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`)
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  for (const name of ['server', 'client']) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names']
    openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.pem`)
  }
}

describe('RabbitMQ over TLS', function () {
  this.timeout(60_000)
  let folder: string
  let server: RabbitmqServer
  let port: number
  let broker: Broker | undefined

  before(async function () {
    await needRabbitmq(this)
    folder = mkdtempSync(join(tmpdir(), 'qcluster-tls-'))
    makeCertificates(folder)
    ;[port] = (await freePorts(1)) as [number]
    server = await RabbitmqServer.make(
      [
        `listeners.ssl.1 = 127.0.0.1:${port}`,
        `ssl_options.cacertfile = ${join(folder, 'ca.pem')}`,
        `ssl_options.certfile = ${join(folder, 'server.pem')}`,
        `ssl_options.keyfile = ${join(folder, 'server.key')}`,
        'ssl_options.verify = verify_peer',
        'ssl_options.fail_if_no_peer_cert = true',
        'auth_mechanisms.1 = PLAIN',
        'auth_mechanisms.2 = EXTERNAL',
        'ssl_cert_login_from = common_name',
      ],
      ['rabbitmq_auth_mechanism_ssl'],
    )
    await server.start()
  })
  after(async () => {
    await server?.remove()
    rmSync(folder, { recursive: true, force: true })
  })
  afterEach(() => broker?.close())

  async function connected(files: Record<string, string>, host = '127.0.0.1'): Promise<Broker> {
    const paths = Object.entries(files).map(([name, file]) => [name, join(folder, file)] as const)
    broker = await createBroker({
      broker: `amqps://${host}:${port}?${new URLSearchParams(Object.fromEntries(paths))}`,
    })
    await broker.connect()
    return broker
  }

  const refusal = (files: Record<string, string>, host?: string): Promise<string> =>
    connected(files, host).then(
      () => 'it was let in',
      ({ message }: Error) => message,
    )

  const OURS = { cacertfile: 'ca.pem', certfile: 'client.pem', keyfile: 'client.key' }

  it('carries packages to whoever has a certificate, by name and by address', async () => {
    const queue = `tls-${randomUUID()}`
    for (const host of ['127.0.0.1', 'localhost']) {
      const secure = await connected(OURS, host)
      const inbox = new Inbox<Delivery>()
      await secure.enqueue([{ queue, package: packageOf(host) }])
      const consumer = await secure.consume({
        queue,
        prefetch: 1,
        onDeliveries: inbox.put,
        onLost: () => {},
      })
      const [delivery] = (await inbox.atLeast(1)) as [Delivery]
      expect(delivery.taskId).to.equal(host)
      await consumer.settle([{ type: 'ack', receipt: delivery.receipt }])
      expect(await secure.info()).to.include(`amqps://${host}:${port}`)
      await secure.close()
    }
  })

  it('takes a certificate for a login, if there is such a user', async () => {
    const external = `amqps://127.0.0.1:${port}?${new URLSearchParams({
      ...Object.fromEntries(Object.entries(OURS).map(([name, file]) => [name, join(folder, file)])),
      auth_mechanism: 'external',
    })}`
    const attempt = async () => {
      broker = await createBroker({ broker: external })
      await broker.connect()
      await broker.enqueue([{ queue: 'external', package: packageOf('a') }])
      return broker.queueSize('external')
    }
    const refused = await attempt().catch((error: Error) => error)
    expect(refused)
      .to.have.property('message')
      .that.matches(/refuses the login by this certificate: it has no user/)
    await server.control('add_user', 'client', 'unused')
    await server.control('set_permissions', 'client', '.*', '.*', '.*')
    expect(await attempt()).to.equal(1)
  })

  it('says that the server is not trusted', async () => {
    const { cacertfile: _, ...client } = OURS
    const message = /certificate that is not trusted .*\?cacertfile=/
    expect(await refusal(client)).to.match(message)
    expect(await refusal({ ...OURS, cacertfile: 'stranger.pem' })).to.match(message)
  })

  it("says that the server wants a client's certificate, or another one", async () => {
    const message = /ended the TLS handshake \(.* alert [a-z ]+\)\. It may want a client's certificate/
    expect(await refusal({ cacertfile: 'ca.pem' })).to.match(message)
    const foreign = { certfile: 'stranger.pem', keyfile: 'stranger.key' }
    expect(await refusal({ ...OURS, ...foreign })).to.match(message)
  })

  it('says that a file cannot be read', async () => {
    expect(await refusal({ ...OURS, keyfile: 'nowhere.key' })).to.match(/keyfile .* cannot be read: ENOENT/)
  })
})
