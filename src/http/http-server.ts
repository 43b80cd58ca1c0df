// The HTTP server: node's listeners, with hapi behind them. Promises that stopping leaves no connection behind. Knows the
// plugins and their order, but not what they do.
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
  /** Undefined: all addresses of the machine. */
  readonly host: string | undefined
  /** 0: any free port. */
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
  /** If set, the service is on its port, over TLS, and that of `port` only redirects there. */
  readonly secure: SecureOptions | undefined
  /** How long browsers should insist on HTTPS; 0: they are not told to. */
  readonly strictTransportSeconds: number
  readonly apiTokens: readonly ApiToken[]
  /** Proxies whose word on their clients' addresses and protocol is believed. */
  readonly trustedProxies: readonly AddressRange[]
  /** How long their connections may take to announce the client (the PROXY protocol); undefined: they do not use it. */
  readonly proxyHeaderTimeoutMs: number | undefined
  readonly opensMetricsLocally: boolean
  readonly scrape: PrometheusOptions['scrape']
  /** A kept-alive connection without a further request is closed after this. */
  readonly idleTimeoutMs: number
  /** Origins whose pages may send credentials. */
  readonly credentialOrigins: readonly string[]
  /** The program's version, for the API's description. */
  readonly version: string
}

export interface HttpServer {
  /** Where it listens without TLS. */
  readonly address: AddressInfo
  /** Where it listens with TLS, if it does. */
  readonly secureAddress: AddressInfo | undefined
  /** hapi's server, for tests that need no socket. */
  readonly hapi: Hapi.Server
  /** Accepts no more connections; idle ones end at once, the others once answered, or after the grace period. Idempotent. */
  close(graceMs: number): Promise<void>
}

/** Upper bound for a whole request, however large and slow. Silence in a body ends it much earlier, see readTimeoutMs. */
const requestMsMax = 300_000
const timeoutCheckMs = 1000
const closeCheckMs = 20
const backlogMax = 4096

/** Listens at once; until the service is ready, the front door answers accordingly. */
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
    // Answered by the front door, in the usual shape of errors.
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
        // Behind a proxy that speaks HTTPS to its clients, a redirect would loop forever.
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

/** Tracks open connections, which a stop has to end, and sets how one ends whose client may still be sending. */
function keepBooks(listener: PlainServer | SecureServer, connections: Set<Socket>): void {
  function keep(socket: Socket): void {
    socket.destroySoon = closeGently
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  }
  listener.on('connection', keep)
  // Over TLS, node writes to a socket of its own that wraps the accepted one.
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
    // hapi's types know only one of the two kinds of servers.
    listener: listener as PlainServer,
    tls: options.secure !== undefined,
    autoListen: false,
    compression: false,
    debug: false,
    // hapi's clean stop would keep every request of a connection in memory until the connection ends; ours is below.
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
    // Node considers a connection that was opened in advance, and has sent nothing yet, to have a request in progress.
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
