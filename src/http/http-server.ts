// The HTTP server: node's, with hapi behind it. What comes before a route is sought is decided at the front door here: what
// is no HTTP, bodies that say that they are too large, and every call while the service is starting or stopping. Promises
// that a stop leaves no connection behind. Knows the plugins and their order, and nothing of what they do.
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import Hapi from '@hapi/hapi'
import type { PublishLimits } from '../domain/publish-input.ts'
import { authPlugin } from './auth.ts'
import { type AddressRange, ClientAddresses } from './client-address.ts'
import { type Cors, makeCors } from './cors.ts'
import { dashboardPlugin } from './dashboard.ts'
import { dashboardFeedPlugin, type FeedSources } from './dashboard-feed.ts'
import { answerOf, errorBody, errorsPlugin, type HttpObserver, httpError, isApiPath, sendError } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { type ApiToken, Gate } from './gate.ts'
import { closeGently } from './gentle-close.ts'
import type { HistoryLimits } from './history.ts'
import { sendsLines } from './json-body.ts'
import { refuseTheRest } from './methods.ts'
import { metricsPlugin } from './metrics.ts'
import { operationsPlugin } from './operations.ts'
import { type PrometheusOptions, prometheusPlugin } from './prometheus.ts'
import { publishPlugin } from './publish.ts'
import { mayTakeLong } from './publish-lines.ts'
import { type BodyLimits, bodyTooLarge, declaredLength } from './read-body.ts'
import { endWithRetry } from './retry-answer.ts'
import { type Service, unavailable } from './service.ts'
import { retryMsOf, type StreamLimits, subscribePlugin } from './subscribe.ts'
import { ticketsPlugin } from './tickets.ts'
import { type ThrottleOptions, TokenThrottle } from './token-throttle.ts'
import { topicTokensPlugin } from './topic-tokens.ts'
import { topicsPlugin } from './topics.ts'

export interface HttpOptions
  extends BodyLimits,
    PublishLimits,
    StreamLimits,
    HistoryLimits,
    FeedSources,
    ThrottleOptions {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined
  /** 0: one that is free. */
  readonly port: number
  readonly apiTokens: readonly ApiToken[]
  /** From these it is believed for whom they ask. */
  readonly trustedProxies: readonly AddressRange[]
  readonly opensMetricsLocally: boolean
  readonly scrape: PrometheusOptions['scrape']
  /** A connection that was kept alive and brings no further request is closed after this. */
  readonly idleTimeoutMs: number
  readonly connectionsMax: number
  /** Origins whose pages may send credentials. */
  readonly credentialOrigins: readonly string[]
}

export interface HttpServer {
  /** Where it listens. */
  readonly address: AddressInfo
  /** hapi's server, for tests that need no socket. */
  readonly hapi: Hapi.Server
  /** No more connections; those that are idle end at once, the others when answered, or after the grace. Idempotent. */
  close(graceMs: number): Promise<void>
}

const headerBytesMax = 16 * 1024
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
  const cors = makeCors(options.credentialOrigins)
  const listener = createServer({
    keepAliveTimeout: options.idleTimeoutMs,
    headersTimeout: Math.min(options.readTimeoutMs, requestMsMax),
    requestTimeout: requestMsMax,
    connectionsCheckingInterval: timeoutCheckMs,
    maxHeaderSize: headerBytesMax,
    noDelay: true,
    // Answered below, in the one shape of errors.
    requireHostHeader: false,
  })
  listener.maxConnections = options.connectionsMax

  const connections = new Set<Socket>()
  listener.on('connection', (socket: Socket) => {
    socket.destroySoon = closeGently
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  const hapi = await makeHapi(listener, service, observer, cors, options)
  standAtTheDoor(listener, service, observer, cors, options)
  await hapi.start()
  await listen(listener, options)

  let closing: Promise<void> | undefined
  return {
    address: listener.address() as AddressInfo,
    hapi,
    close(graceMs) {
      closing ??= stop(hapi, listener, connections, graceMs)
      return closing
    },
  }
}

async function makeHapi(
  listener: Server,
  service: Service,
  observer: HttpObserver,
  cors: Cors,
  options: HttpOptions,
): Promise<Hapi.Server> {
  const hapi = Hapi.server({
    listener,
    autoListen: false,
    compression: false,
    debug: false,
    // hapi's clean stop would keep every request of a connection alive as long as the connection; ours is below.
    operations: { cleanStop: false },
    routes: { state: { parse: false, failAction: 'ignore' }, response: { ranges: false } },
  })
  const clients = new ClientAddresses(options.trustedProxies)
  const throttle = new TokenThrottle(() => performance.now(), options)
  const gate = new Gate(service, options.apiTokens, clients, throttle)
  await hapi.register([
    { plugin: errorsPlugin, options: { cors, observer } },
    {
      plugin: authPlugin,
      options: { service, gate, opensMetricsLocally: options.opensMetricsLocally, retryMs: options.retryMs },
    },
    { plugin: publishPlugin, options: { service, cors, limits: options, observer } },
    { plugin: subscribePlugin, options: { service, cors, limits: options, observer } },
    { plugin: topicsPlugin, options: { service, cors, limits: options } },
    { plugin: topicTokensPlugin, options: { service, cors, limits: options } },
    { plugin: ticketsPlugin, options: { service, cors, gate, limits: options } },
    { plugin: metricsPlugin, options: { service, cors } },
    { plugin: prometheusPlugin, options: { cors, scrape: options.scrape } },
    { plugin: operationsPlugin, options: { service, cors } },
    { plugin: dashboardFeedPlugin, options: { service, cors, sources: options } },
    { plugin: dashboardPlugin, options: { cors } },
  ])
  refuseTheRest(hapi, cors)
  return hapi
}

const eventsPath = /^\/api\/v1\/pubsubs\/[^/?]+\/events(?:\?|$)/

/** Takes the place of hapi's own listeners, and hands on to hapi what may pass. */
function standAtTheDoor(
  listener: Server,
  service: Service,
  observer: HttpObserver,
  cors: Cors,
  options: HttpOptions,
): void {
  const route = listener.listeners('request')[0] as RequestListener
  for (const event of ['request', 'checkContinue', 'checkExpectation', 'clientError'])
    listener.removeAllListeners(event)

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    // What was sent behind the last answer of a connection that is being closed is not heard.
    if (!request.socket.writable) return
    if (request.headers.host === undefined && request.httpVersionMinor > 0) {
      refuse(
        request,
        response,
        httpError(400, 'A Host header is missing (RFC 9112, section 3.2).', undefined, { connection: 'close' }),
      )
    } else if (isTooLarge(request)) {
      refuse(request, response, bodyTooLarge(options.requestBodyBytesMax))
    } else if (!service.isOpen && isApiPath(request.url ?? '') && request.method !== 'OPTIONS') {
      refuseForNow(request, response)
    } else {
      route(request, response)
    }
  }

  /** Of a body of lines each is bounded, and not the whole. */
  function isTooLarge(request: IncomingMessage): boolean {
    if (declaredLength(request) <= options.requestBodyBytesMax) return false
    return !(request.method === 'POST' && eventsPath.test(request.url ?? '') && sendsLines(request))
  }

  function refuse(request: IncomingMessage, response: ServerResponse, error: Error): void {
    counted(request, answerOf(error).status)
    sendError(request, response, error, cors.headers(request.headers.origin))
  }

  function counted(request: IncomingMessage, status: number): void {
    observer.answered((request.method ?? '').toLowerCase(), 'none', status)
  }

  function refuseForNow(request: IncomingMessage, response: ServerResponse): void {
    const headers = [...cors.headers(request.headers.origin)]
    const isStopping = service.health.status === 'stopping'
    if (isStopping) headers.push('connection', 'close')
    const isStream = (request.method === 'GET' || request.method === 'HEAD') && eventsPath.test(request.url ?? '')
    const endsStream = isStream && eventFormOf(request.headers.accept) === 'stream'
    counted(request, endsStream ? 200 : 503)
    if (endsStream) endWithRetry(response, headers, retryMsOf(service, options))
    else sendError(request, response, unavailable(service.health), headers)
  }

  listener.on('request', onRequest)
  listener.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // A client that asks first is told to go on only where its body would be read.
    if (!isTooLarge(request) && service.isOpen) response.writeContinue()
    onRequest(request, response)
  })
  listener.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    refuse(request, response, httpError(417, 'Of expectations, only 100-continue can be met.'))
  })
  listener.on('connect', refuseTunnel)
  listener.on('clientError', refuseMalformed)
}

interface ParserError extends Error {
  readonly code?: string
}

/** What node knows of the answer that a connection is waiting for or getting. */
interface AnsweringSocket extends Socket {
  readonly _httpMessage?: ServerResponse<IncomingMessage> | null
}

/** Answers what is no HTTP, or came too slowly, in the error shape; never in the middle of another answer. */
function refuseMalformed(error: ParserError, socket: AnsweringSocket): void {
  const answering = socket._httpMessage
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && answering && mayTakeLong(answering.req)) return
  if (!socket.writable || socket.destroyed || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  if (answering !== null && answering !== undefined) {
    // Garbage behind a request that was whole: its answer, or its stream, goes on to its end, and with it the connection.
    if (answering.req.complete) answering.shouldKeepAlive = false
    else if (answering.headersSent) socket.destroy()
    if (answering.req.complete || answering.headersSent) return
  }
  refuseRaw(socket, malformedAnswers[error.code ?? ''] ?? malformed)
}

/** CONNECT: node takes its hands off the connection and closes it without a word where nobody listens for it. */
function refuseTunnel(_request: IncomingMessage, socket: AnsweringSocket): void {
  socket.on('error', () => socket.destroy())
  if (socket._httpMessage) socket.destroy()
  else refuseRaw(socket, tunnel)
}

interface RawAnswer {
  readonly status: number
  readonly reason: string
  readonly message: string
}

/** Where there is no response of node's to write on. */
function refuseRaw(socket: Socket, { status, reason, message }: RawAnswer): void {
  const body = errorBody(status, message)
  const head = `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`
  socket.write(`${head}\r\nconnection: close\r\n\r\n${body}`)
  closeGently.call(socket)
}

const tunnel: RawAnswer = {
  status: 405,
  reason: 'Method Not Allowed',
  message: 'This server is no proxy: it has no CONNECT.',
}
const malformed: RawAnswer = { status: 400, reason: 'Bad Request', message: 'This is not a valid HTTP request.' }
const malformedAnswers: Readonly<Record<string, RawAnswer>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    reason: 'Request Header Fields Too Large',
    message: `The request line and headers are larger than ${headerBytesMax} bytes.`,
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    reason: 'Request Timeout',
    message: 'The request did not arrive in time.',
  },
}

function listen(listener: Server, { host, port }: HttpOptions): Promise<void> {
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
  listener: Server,
  connections: ReadonlySet<Socket>,
  graceMs: number,
): Promise<void> {
  const sweep = setInterval(() => {
    listener.closeIdleConnections()
    // To node, a connection that was opened in advance and has said nothing yet is one with a request in progress.
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
  }, closeCheckMs)
  const end = setTimeout(() => listener.closeAllConnections(), graceMs)
  try {
    await hapi.stop()
  } finally {
    clearInterval(sweep)
    clearTimeout(end)
  }
}
