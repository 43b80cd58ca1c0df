// The listener for HTTPS: one port on which the handshake (ALPN) decides between HTTP/2 and HTTP/1.1. HTTP/1.1 is served as
// without TLS, by the same limits. Promises that a new certificate holds from the next handshake on and touches nothing
// that is open, and that whoever is slow to say what it wants is cut off. Knows nothing of where certificates come from.
import { randomBytes } from 'node:crypto'
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2'
import { createServer as createHttpsServer, type Server, type ServerOptions } from 'node:https'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { headerBytesMax } from './front-door.ts'
import { Http2Answer, Http2Request } from './http2-messages.ts'
import { limitSession, type SessionLimits } from './session-limits.ts'

export interface ShownCertificate {
  /** Text in PEM, as is the key; it may go on with those of the authorities. */
  readonly certificate: string
  readonly key: string
  readonly names: readonly string[]
  readonly notAfterMs: number
}

/** An OCSP response, sent along in the handshake (RFC 6066, section 8). */
export interface Staple {
  /** Both in DER. Undefined: none is to be had, or it is another certificate. */
  responseFor(leaf: Buffer): Buffer | undefined
}

export interface Certificates {
  /** Where they come from, in a word. */
  readonly source: string
  /** Another one is being ordered, and this one is shown until then. */
  readonly isInterim: boolean
  readonly current: ShownCertificate
  /** What `current` has to be shown with, if it asks for that. */
  readonly staple: Staple | undefined
  onChange(listener: () => void): void
  /** What an authority is to be answered on the port without TLS that looks for a proof of this token. */
  proofFor(token: string): Promise<string | undefined>
}

export interface SecureOptions extends Pick<SessionLimits, 'streamResetsMax'> {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  /** 0: one that is free. */
  readonly port: number
  /** What new connections are shown. */
  readonly certificates: Certificates
  readonly handshakeTimeoutMs: number
  /** Requests and streams at once on one connection of HTTP/2. */
  readonly streamsPerConnectionMax: number
}

export interface SecureListener {
  /** Speaks HTTP/1.1 over TLS, and accepts all connections. */
  readonly http1: Server
  /** Listens nowhere by itself: it is handed the connections that chose HTTP/2. */
  readonly http2: Http2Server
  /** Connections of HTTP/2 take no more requests, and end when what is open on them has. */
  closeSessions(): void
  destroySessions(): void
}

/** Forward-secret suites with authenticated encryption. Those of TLS 1.3 are all of that kind; OpenSSL adds them. */
const suites = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

const ticketKeyBytes = 48
/** Who takes a key out of the memory reads no more than what was said in this time, or resumed from it. */
const ticketKeyLifeMs = 12 * 3_600_000
const protocols = ['h2', 'http/1.1']

type OcspListener = (leaf: Buffer, issuer: Buffer, answer: (error: null, response: Buffer | null) => void) => void

/** `http1`: the settings of the listener without TLS. */
export function makeSecureListener(
  options: SecureOptions,
  limits: Omit<SessionLimits, 'streamResetsMax'>,
  http1Settings: ServerOptions,
): SecureListener {
  const { certificates, handshakeTimeoutMs, streamsPerConnectionMax } = options
  const http1 = createHttpsServer({
    ...http1Settings,
    ...contextOf(certificates.current),
    ALPNProtocols: protocols,
    handshakeTimeout: handshakeTimeoutMs,
  })
  const http2 = createHttp2Server({
    Http2ServerRequest: Http2Request,
    Http2ServerResponse: Http2Answer,
    settings: { maxConcurrentStreams: streamsPerConnectionMax, maxHeaderListSize: headerBytesMax },
  })

  const staple: OcspListener = (leaf, _issuer, answer) => answer(null, certificates.staple?.responseFor(leaf) ?? null)
  /** Who listens for that makes each handshake stop for it: only where something is stapled. */
  function listenForOcsp(): void {
    http1.off('OCSPRequest', staple)
    if (certificates.staple !== undefined) http1.on('OCSPRequest', staple)
  }
  listenForOcsp()
  certificates.onChange(() => {
    http1.setSecureContext(contextOf(certificates.current))
    listenForOcsp()
  })
  const rotation = setInterval(() => http1.setTicketKeys(randomBytes(ticketKeyBytes)), ticketKeyLifeMs).unref()
  http1.once('close', () => clearInterval(rotation))

  const [serveHttp1] = http1.listeners('secureConnection')
  http1.removeAllListeners('secureConnection')
  http1.on('secureConnection', (socket: TLSSocket) => {
    socket.disableRenegotiation()
    if (socket.alpnProtocol === 'h2') http2.emit('connection', socket)
    else serveHttp1?.call(http1, socket)
  })
  // Scanners, and clients that do not trust the certificate: nobody can be answered where no handshake has come about.
  http1.removeAllListeners('tlsClientError')
  http1.on('tlsClientError', (_error, socket) => socket.destroy())

  const sessions = new Set<ServerHttp2Session>()
  http2.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    limitSession(session, { ...limits, streamResetsMax: options.streamResetsMax })
  })
  // Of one client, which has broken the protocol or its connection; node has ended the session.
  http2.on('sessionError', () => undefined)

  return {
    http1,
    http2,
    closeSessions() {
      for (const session of sessions) session.close()
    },
    destroySessions() {
      for (const session of sessions) session.destroy()
    },
  }
}

function contextOf({ key, certificate }: ShownCertificate): SecureContextOptions {
  return { key, cert: certificate, minVersion: 'TLSv1.2', ciphers: suites, honorCipherOrder: true }
}
