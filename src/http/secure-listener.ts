// The HTTPS listener: one port on which the handshake (ALPN) decides between HTTP/2 and HTTP/1.1. HTTP/1.1 is served as without
// TLS, under the same limits. Promises that a new certificate applies from the next handshake on and affects nothing that is
// open, and that clients too slow in the handshake or with a request are cut off. Does not know where certificates come from.
import { randomBytes } from 'node:crypto'
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2'
import { createServer as createHttpsServer, type Server, type ServerOptions } from 'node:https'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { headerBytesMax } from './front-door.ts'
import { Http2Answer, Http2Request } from './http2-messages.ts'
import { limitSession, type SessionLimits } from './session-limits.ts'

export interface ShownCertificate {
  /** PEM text, like the key; the authorities' certificates may follow. */
  readonly certificate: string
  readonly key: string
  readonly names: readonly string[]
  readonly notAfterMs: number
}

/** An OCSP response, sent along in the handshake (RFC 6066, section 8). */
export interface Staple {
  /** Both in DER. Undefined: there is none, or the certificate is another one. */
  responseFor(leaf: Buffer): Buffer | undefined
}

export interface Certificates {
  /** The source's name, in one word. */
  readonly source: string
  /** Another certificate is being ordered, and this one is used until then. */
  readonly isInterim: boolean
  readonly current: ShownCertificate
  /** What must be shown with `current`, if the certificate requires it. */
  readonly staple: Staple | undefined
  onChange(listener: () => void): void
  /** The answer for an authority that looks for the proof of this token on the port without TLS. */
  proofFor(token: string): Promise<string | undefined>
}

export interface SecureOptions extends Pick<SessionLimits, 'streamResetsMax'> {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  /** 0: any free one. */
  readonly port: number
  /** The source of what new connections are shown. */
  readonly certificates: Certificates
  readonly handshakeTimeoutMs: number
  /** Concurrent requests and streams on one HTTP/2 connection. */
  readonly streamsPerConnectionMax: number
}

export interface SecureListener {
  /** Speaks HTTP/1.1 over TLS, and accepts all connections. */
  readonly http1: Server
  /** Does not listen by itself: it is handed the connections that chose HTTP/2. */
  readonly http2: Http2Server
  /** HTTP/2 connections accept no more requests, and end once their open ones have ended. */
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
/** Whoever extracts a key from memory can read only what was sent in this time, or on sessions resumed from it. */
const ticketKeyLifeMs = 12 * 3_600_000
const protocols = ['h2', 'http/1.1']

type OcspListener = (leaf: Buffer, issuer: Buffer, answer: (error: null, response: Buffer | null) => void) => void

/** `http1Settings`: those of the listener without TLS. */
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
  /** Listening for this makes every handshake wait for the answer: done only if something is stapled. */
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
  // Scanners, and clients that do not trust the certificate: without a handshake there is no way to answer them.
  http1.removeAllListeners('tlsClientError')
  http1.on('tlsClientError', (_error, socket) => socket.destroy())

  const sessions = new Set<ServerHttp2Session>()
  http2.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    limitSession(session, { ...limits, streamResetsMax: options.streamResetsMax })
  })
  // Affects one client that broke the protocol or its connection; Node has already ended the session.
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
