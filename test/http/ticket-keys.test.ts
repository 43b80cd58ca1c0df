/** The keys of session tickets: a session is resumed until the key changes, and begun anew from then on. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { connect, type SecureVersion } from 'node:tls'
import { makeSecureListener } from '../../src/http/secure-listener.ts'
import { SwappedCertificates, testCertificate } from '../support/certificates.ts'

const certificate = await testCertificate()
const windowMs = 12 * 3_600_000

interface Handshake {
  readonly isResumed: boolean
  /** The ticket that the server has given. */
  readonly session: Buffer
}

/** `protocol`: what is spoken inside. */
async function handshake(port: number, protocol: string, version: SecureVersion, session?: Buffer): Promise<Handshake> {
  const socket = connect({
    ...{ host: '127.0.0.1', port, servername: 'localhost', ca: certificate.certificate },
    ...{ ALPNProtocols: [protocol], minVersion: version, maxVersion: version },
    ...(session && { session }),
  })
  try {
    const given: Buffer[] = []
    socket.on('session', (each: Buffer) => given.push(each))
    await once(socket, 'secureConnect')
    assert.equal(socket.alpnProtocol, protocol)
    // With TLS 1.3 a ticket comes behind the handshake; a session that was resumed goes on with the one that it has.
    while (given.length === 0 && !socket.isSessionReused()) await once(socket, 'session')
    return { isResumed: socket.isSessionReused(), session: given.at(-1) ?? session! }
  } finally {
    socket.destroy()
  }
}

test('tickets resume sessions until their key is changed, twice a day, and no longer; over both protocols', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const certificates = new SwappedCertificates(certificate)
  const { http1, destroySessions } = makeSecureListener(
    {
      ...{ host: '127.0.0.1', port: 0, certificates, handshakeTimeoutMs: 30_000 },
      ...{ streamsPerConnectionMax: 100, streamResetsMax: 500 },
    },
    { readTimeoutMs: 30_000, idleTimeoutMs: 30_000, writeTimeoutMs: 30_000 },
    {},
  )
  http1.listen(0, '127.0.0.1')
  await once(http1, 'listening')
  t.after(() => {
    http1.close()
    destroySessions()
    http1.closeAllConnections()
  })
  const { port } = http1.address() as AddressInfo
  const kinds = ['h2', 'http/1.1'].flatMap((protocol) =>
    (['TLSv1.2', 'TLSv1.3'] as const).map((version) => ({ protocol, version })),
  )
  for (const { protocol, version } of kinds) {
    const name = `${protocol} over ${version}`
    const shake = (session?: Buffer) => handshake(port, protocol, version, session)
    const first = await shake()
    assert.equal(first.isResumed, false, name)
    t.mock.timers.tick(windowMs / 2 - 1)
    const inTime = await shake(first.session)
    assert.equal(inTime.isResumed, true, `${name}: within the window`)
    t.mock.timers.tick(windowMs / 2 + 1)
    assert.equal((await shake(inTime.session)).isResumed, false, `${name}: after the window`)
    assert.equal((await shake((await shake()).session)).isResumed, true, `${name}: with the new key`)
  }
})
