/** The server of the other fixture with HTTPS, on one more port, with a certificate of the tests. */
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import type { Hub } from '../../src/domain/hub.ts'
import type { SecureOptions } from '../../src/http/secure-listener.ts'
import { SwappedCertificates, testCertificate } from '../support/certificates.ts'
import { type Fixture, type FixtureOptions, startFixture } from './fixture.ts'

/** One for each file that asks: making it takes its time, and no test needs one of its own. */
export const certificate = await testCertificate()

export interface SecureFixture extends Fixture {
  readonly certificates: SwappedCertificates
  readonly securePort: number
  /** Connections of TLS whose handshake was done, and that have not ended. */
  readonly secureConnections: ReadonlySet<TLSSocket>
}

export async function startSecureFixture(
  t: TestContext,
  secure: Partial<SecureOptions> = {},
  { http, ...rest }: FixtureOptions = {},
): Promise<SecureFixture> {
  const certificates = new SwappedCertificates(certificate)
  const fixture = await startFixture(t, {
    ...rest,
    http: {
      ...http,
      secure: {
        host: '127.0.0.1',
        port: 0,
        certificates,
        handshakeTimeoutMs: 30_000,
        streamsPerConnectionMax: 100,
        streamResetsMax: 500,
        ...secure,
      },
    },
  })
  const secureConnections = new Set<TLSSocket>()
  const listener = fixture.http.hapi.listener as unknown as Server
  listener.on('secureConnection', (socket) => {
    secureConnections.add(socket)
    socket.once('close', () => secureConnections.delete(socket))
  })
  const { port: securePort } = fixture.http.secureAddress as AddressInfo
  return { ...fixture, certificates, securePort, secureConnections }
}

function textEvent(message: string) {
  const none = new Uint8Array(0)
  return { key: none, type: none, isString: true, message: Buffer.from(message) }
}

export async function publishText(hub: Hub, topicId: string, message: string): Promise<void> {
  await hub.publish(hub.topic(topicId)!, textEvent(message))
}
