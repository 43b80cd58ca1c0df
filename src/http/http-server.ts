// The HTTP server: node's listeners, with hapi behind them. Promises that a stop leaves no connection behind. Knows the
// plugins and their order, and nothing of what they do.
import {
  createServer,
  type IncomingMessage,
  type Server as PlainServer,
  type RequestListener,
  type ServerOptions,
} from 'node:http'
import type { Server as SecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import Hapi from '@hapi/hapi'
import type { PublishLimits } from '../domain/publish-input.ts'
import { authPlugin } from './auth.ts'
import { type AddressRange, ClientAddresses } from './client-address.ts'
import { type ConnectionLimitOptions, ConnectionLimits } from './connection-limits.ts'
import { type Cors, makeCors } from './cors.ts'
import { dashboardPlugin } from './dashboard.ts'
import { dashboardFeedPlugin } from './dashboard-feed.ts'
import type { FeedSources } from './dashboard-sampler.ts'
import { errorsPlugin, type HttpObserver } from './errors.ts'
import { FrontDoor, headerBytesMax, refuseMalformed, refuseTunnel } from './front-door.ts'
import { type ApiToken, Gate } from './gate.ts'
import { closeGently } from './gentle-close.ts'
import type { HistoryLimits } from './history.ts'
import { refuseTheRest } from './methods.ts'
import { metricsPlugin } from './metrics.ts'
import { openapiPlugin } from './openapi.ts'
import { operationsPlugin } from './operations.ts'
import { type PrometheusOptions, prometheusPlugin } from './prometheus.ts'
import { ProxyProtocol } from './proxy-protocol.ts'
import { publishPlugin } from './publish.ts'
import type { BodyLimits } from './read-body.ts'
import { makeRedirector } from './redirect.ts'
import { makeSecureListener, type SecureListener, type SecureOptions } from './secure-listener.ts'
import type { Service } from './service.ts'
import type { StreamLimits } from './stream-answer.ts'
import { subscribePlugin } from './subscribe.ts'
import { subscribeAllPlugin, type TopicLimits } from './subscribe-all.ts'
import { ticketsPlugin } from './tickets.ts'
import { type TokenLimitOptions, TokenLimits } from './token-limits.ts'
import { type ThrottleOptions, TokenThrottle } from './token-throttle.ts'
import { topicTokensPlugin } from './topic-tokens.ts'
import { topicsPlugin } from './topics.ts'

interface Listening {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  /** 0: one that is free. */
  readonly port: number
}

export interface HttpOptions
  extends Listening,
    BodyLimits,
    PublishLimits,
    StreamLimits,
    HistoryLimits,
    TopicLimits,
    FeedSources,
    ConnectionLimitOptions,
    TokenLimitOptions,
    ThrottleOptions {
  /** Given: the service is at that port, over TLS, and the one of `port` only sends there. */
  readonly secure: SecureOptions | undefined
  /** How long browsers are told to use HTTPS only; 0: they are told nothing. */
  readonly strictTransportSeconds: number
  readonly apiTokens: readonly ApiToken[]
  /** From these it is believed for whom they ask, and how their clients speak to them. */
  readonly trustedProxies: readonly AddressRange[]
  /** In this time their connections have to say whose they are (the PROXY protocol); undefined: they say nothing in front. */
  readonly proxyHeaderTimeoutMs: number | undefined
  readonly opensMetricsLocally: boolean
  readonly scrape: PrometheusOptions['scrape']
  /** A connection that was kept alive and brings no further request is closed after this. */
  readonly idleTimeoutMs: number
  /** Origins whose pages may send credentials. */
  readonly credentialOrigins: readonly string[]
  /** The program's, for the description of its API. */
  readonly version: string
}

export interface HttpServer {
  /** Where it listens without TLS. */
  readonly address: AddressInfo
  /** Where it listens with TLS, if it does. */
  readonly secureAddress: AddressInfo | undefined
  /** hapi's server, for tests that need no socket. */
  readonly hapi: Hapi.Server
  /** No more connections; those that are idle end at once, the others when answered, or after the grace. Idempotent. */
  close(graceMs: number): Promise<void>
}

/** A whole request, however large and slow, takes no longer. Silence in a body ends much earlier, see readTimeoutMs. */
const requestMsMax = 300_000
const timeoutCheckMs = 1000
const closeCheckMs = 20
const backlogMax = 4096

/** Listens at once; what is not ready yet is answered so by the front door. */
export async function startHttpServer(
  service: Service,
  observer: HttpObserver,
  options: HttpOptions,
): Promise<HttpServer> {
  const { secure: secureOptions } = options
  const cors = makeCors(options.credentialOrigins)
  const settings: ServerOptions = {
    keepAliveTimeout: options.idleTimeoutMs,
    headersTimeout: Math.min(options.readTimeoutMs, requestMsMax),
    requestTimeout: requestMsMax,
    connectionsCheckingInterval: timeoutCheckMs,
    maxHeaderSize: headerBytesMax,
    noDelay: true,
    // Answered at the front door, in the one shape of errors.
    requireHostHeader: false,
  }
  const secure = secureOptions && makeSecureListener(secureOptions, options, settings)
  const main = secure?.http1 ?? createServer(settings)
  const { trustedProxies, proxyHeaderTimeoutMs } = options
  const clients = new ClientAddresses(trustedProxies, proxyHeaderTimeoutMs !== undefined)
  const proxyProtocol =
    proxyHeaderTimeoutMs === undefined ? undefined : new ProxyProtocol(clients, observer, proxyHeaderTimeoutMs)
  const connectionLimits = new ConnectionLimits(clients, observer, options)
  const hapi = await makeHapi(main, service, observer, cors, clients, options)
  const door = new FrontDoor(
    main.listeners('request')[0] as RequestListener,
    service,
    observer,
    cors,
    connectionLimits,
    {
      ...options,
      strictTransport: strictTransportOf(options),
      isSecure: (request) => isEncrypted(request) || clients.saysHttps(request),
    },
  )
  door.guard(main)
  if (secure) door.guardHttp2(secure.http2)
  await hapi.start()

  const plain = secureOptions
    ? makeRedirector(
        settings,
        () => (main.address() as AddressInfo).port,
        (token) => secureOptions.certificates.proofFor(token),
        // A proxy that speaks HTTPS to its clients would be sent there for ever.
        (request, response) => clients.saysHttps(request) && main.emit('request', request, response),
      )
    : main
  if (secure) plain.on('clientError', refuseMalformed).on('connect', refuseTunnel)
  const listeners = secureOptions ? [main, plain] : [main]
  const connections = new Set<Socket>()
  for (const listener of listeners) {
    connectionLimits.watch(listener, listener === plain && !secure)
    proxyProtocol?.guard(listener)
    keepBooks(listener, connections)
  }
  if (secureOptions) await listen(main, secureOptions)
  try {
    await listen(plain, options)
  } catch (error) {
    main.close()
    throw error
  }

  const hasSpoken = (socket: Socket) => proxyProtocol?.hasSpoken(socket) ?? socket.bytesRead > 0
  let closing: Promise<void> | undefined
  return {
    address: plain.address() as AddressInfo,
    secureAddress: secure && (main.address() as AddressInfo),
    hapi,
    close(graceMs) {
      closing ??= stop(hapi, listeners, secure, connections, hasSpoken, graceMs)
      return closing
    },
  }
}

/** What is open, to be ended at a stop; and how a connection ends whose client may still be sending. */
function keepBooks(listener: PlainServer | SecureServer, connections: Set<Socket>): void {
  function keep(socket: Socket): void {
    socket.destroySoon = closeGently
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  }
  listener.on('connection', keep)
  // Over TLS node writes to a socket of its own, which wraps the one that was accepted.
  listener.prependListener('secureConnection', (socket: Socket) => {
    socket.destroySoon = closeGently
  })
}

/** RFC 6797. */
function strictTransportOf({ strictTransportSeconds }: HttpOptions): string | undefined {
  return strictTransportSeconds === 0 ? undefined : `max-age=${strictTransportSeconds}`
}

function isEncrypted({ socket }: IncomingMessage): boolean {
  return 'encrypted' in socket && socket.encrypted === true
}

async function makeHapi(
  listener: PlainServer | SecureServer,
  service: Service,
  observer: HttpObserver,
  cors: Cors,
  clients: ClientAddresses,
  options: HttpOptions,
): Promise<Hapi.Server> {
  const hapi = Hapi.server({
    // Of the two kinds of servers hapi's types know one.
    listener: listener as PlainServer,
    tls: options.secure !== undefined,
    autoListen: false,
    compression: false,
    debug: false,
    // hapi's clean stop would keep every request of a connection alive as long as the connection; ours is below.
    operations: { cleanStop: false },
    routes: { state: { parse: false, failAction: 'ignore' }, response: { ranges: false } },
  })
  const monotonicMs = () => performance.now()
  const throttle = new TokenThrottle(monotonicMs, options, (client, wrong) => observer.throttled(client, wrong))
  const tokenLimits = new TokenLimits(monotonicMs, options)
  const gate = new Gate(service, options.apiTokens, clients, throttle)
  await hapi.register([
    { plugin: errorsPlugin, options: { cors, observer } },
    {
      plugin: authPlugin,
      options: {
        ...{ service, gate, clients, observer },
        opensMetricsLocally: options.opensMetricsLocally,
        retryMs: options.retryMs,
      },
    },
    { plugin: publishPlugin, options: { service, cors, limits: options, tokenLimits, observer } },
    { plugin: subscribePlugin, options: { service, cors, limits: options, tokenLimits, observer } },
    { plugin: subscribeAllPlugin, options: { service, cors, limits: options, tokenLimits, observer } },
    { plugin: topicsPlugin, options: { service, cors, limits: options } },
    { plugin: topicTokensPlugin, options: { service, cors, limits: options } },
    { plugin: ticketsPlugin, options: { service, cors, gate, limits: options } },
    { plugin: metricsPlugin, options: { service, cors } },
    { plugin: prometheusPlugin, options: { cors, scrape: options.scrape } },
    { plugin: operationsPlugin, options: { service, cors, certificates: options.secure?.certificates } },
    { plugin: openapiPlugin, options: { cors, limits: options } },
    {
      plugin: dashboardFeedPlugin,
      options: { service, cors, gate, limits: options, tokenLimits, observer, sources: options },
    },
    { plugin: dashboardPlugin, options: { cors } },
  ])
  refuseTheRest(hapi, cors)
  return hapi
}

function listen(listener: PlainServer | SecureServer, { host, port }: Listening): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject)
    listener.listen({ host, port, backlog: backlogMax }, () => {
      listener.off('error', reject)
      resolve()
    })
  })
}

async function stop(
  hapi: Hapi.Server,
  listeners: readonly (PlainServer | SecureServer)[],
  secure: SecureListener | undefined,
  connections: ReadonlySet<Socket>,
  hasSpoken: (socket: Socket) => boolean,
  graceMs: number,
): Promise<void> {
  const ended = listeners.slice(1).map((listener) => new Promise((resolve) => listener.close(resolve)))
  secure?.closeSessions()
  const sweep = setInterval(() => {
    for (const listener of listeners) listener.closeIdleConnections()
    // To node, a connection that was opened in advance and has said nothing yet is one with a request in progress.
    for (const socket of connections) if (!hasSpoken(socket)) socket.destroy()
  }, closeCheckMs)
  const end = setTimeout(() => {
    secure?.destroySessions()
    for (const socket of connections) socket.destroy()
  }, graceMs)
  try {
    await hapi.stop()
    await Promise.all(ended)
  } finally {
    clearInterval(sweep)
    clearTimeout(end)
  }
}
