// What happens before routing, the same for every listener: malformed HTTP, bodies declared too large, and all calls while
// the service is starting or stopping. Promises that errors are answered in their one shape, and that no answer is written
// into the middle of another. Knows nothing of ports or TLS.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Http2Server } from 'node:http2'
import type { Server, Socket } from 'node:net'
import type { ConnectionLimits } from './connection-limits.ts'
import type { Cors } from './cors.ts'
import { answerOf, errorBody, type HttpObserver, httpError, isApiPath, sendError } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { closeGently } from './gentle-close.ts'
import { sendsLines } from './json-body.ts'
import { mayTakeLong } from './publish-lines.ts'
import { bodyTooLarge, declaredLength } from './read-body.ts'
import { endWithRetry } from './retry-answer.ts'
import { type Service, unavailable } from './service.ts'
import { retryMsOf, type StreamLimits } from './stream-answer.ts'

export interface DoorOptions extends StreamLimits {
  readonly requestBodyBytesMax: number
  /** Sent on every answer to a client that speaks HTTPS, if set. */
  readonly strictTransport: string | undefined
  /** Whether the client speaks HTTPS, to this server or to a proxy in front of it. */
  readonly isSecure: (request: IncomingMessage) => boolean
}

export const headerBytesMax = 16 * 1024
const eventsPath = /^\/api\/v1\/pubsubs\/[^/?]+\/events(?:\?|$)/
/** For streams of several topics, and for nothing else. */
const severalPath = /^\/api\/v1\/events(?:\?|$)/
const tunnelWords = 'This server is not a proxy: it does not support CONNECT.'

/** Wraps listeners, and passes on to the router what may enter. */
export class FrontDoor {
  readonly #route: RequestListener
  readonly #service: Service
  readonly #observer: HttpObserver
  readonly #cors: Cors
  readonly #connectionLimits: ConnectionLimits
  readonly #options: DoorOptions

  constructor(
    route: RequestListener,
    service: Service,
    observer: HttpObserver,
    cors: Cors,
    connectionLimits: ConnectionLimits,
    options: DoorOptions,
  ) {
    this.#route = route
    this.#service = service
    this.#observer = observer
    this.#cors = cors
    this.#connectionLimits = connectionLimits
    this.#options = options
  }

  /** For HTTP/1, with or without TLS. Earlier listeners are removed. */
  guard(listener: Server): void {
    for (const event of ['request', 'checkContinue', 'checkExpectation', 'clientError'])
      listener.removeAllListeners(event)
    this.#listen(listener)
    listener.on('connect', refuseTunnel)
    listener.on('clientError', refuseMalformed)
  }

  guardHttp2(listener: Http2Server): void {
    this.#listen(listener)
    listener.on('connect', (request: IncomingMessage, response: ServerResponse) => {
      this.#refuse(request, response, httpError(405, tunnelWords))
    })
  }

  #listen(listener: Server): void {
    listener.on('request', (request: IncomingMessage, response: ServerResponse) => this.#enter(request, response))
    listener.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      // A client that asks first is told to continue only where its body would be read.
      if (!this.#isTooLarge(request) && this.#service.isOpen) response.writeContinue()
      this.#enter(request, response)
    })
    listener.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      this.#refuse(request, response, httpError(417, 'The only expectation that is supported is 100-continue.'))
    })
  }

  #enter(request: IncomingMessage, response: ServerResponse): void {
    // Requests pipelined behind the last answer of a connection that is being closed are ignored.
    // For HTTP/2, `writable` does not serve: a stream that answers HEAD is never writable.
    if (request.httpVersionMajor === 1 ? !request.socket.writable : response.destroyed) return
    const { strictTransport, isSecure, requestBodyBytesMax } = this.#options
    if (strictTransport !== undefined && isSecure(request))
      response.setHeader('strict-transport-security', strictTransport)
    const overLimit = this.#connectionLimits.refusalOf(request.socket)
    const mistake = hostMistakeOf(request)
    if (overLimit !== undefined) {
      this.#refuseForNow(request, response, overLimit)
    } else if (mistake !== undefined) {
      this.#refuse(request, response, httpError(400, mistake, undefined, { connection: 'close' }))
    } else if (this.#isTooLarge(request)) {
      this.#refuse(request, response, bodyTooLarge(requestBodyBytesMax))
    } else if (!this.#service.isOpen && isApiPath(request.url ?? '') && request.method !== 'OPTIONS') {
      this.#refuseForNow(request, response, unavailable(this.#service.health))
    } else {
      this.#route(request, response)
    }
  }

  /** In a body of lines, each line is bounded instead of the whole. */
  #isTooLarge(request: IncomingMessage): boolean {
    if (declaredLength(request) <= this.#options.requestBodyBytesMax) return false
    return !(request.method === 'POST' && eventsPath.test(request.url ?? '') && sendsLines(request))
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: Error): void {
    this.#counted(request, answerOf(error).status)
    sendError(request, response, error, this.#cors.headers(request.headers.origin))
  }

  #counted(request: IncomingMessage, status: number): void {
    this.#observer.answered((request.method ?? '').toLowerCase(), 'none', status)
  }

  /** Answers a stream with its end and a time to reconnect, everything else with this error. */
  #refuseForNow(request: IncomingMessage, response: ServerResponse, error: Error): void {
    const headers = [...this.#cors.headers(request.headers.origin)]
    const endsStream = isForStream(request)
    const answer = answerOf(error)
    this.#counted(request, endsStream ? 200 : answer.status)
    if (!endsStream) {
      sendError(request, response, error, headers)
      return
    }
    if (answer.headers['connection'] === 'close') headers.push('connection', 'close')
    endWithRetry(response, headers, retryMsOf(this.#service, this.#options))
  }
}

function isForStream({ method, url = '', headers }: IncomingMessage): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return severalPath.test(url) || (eventsPath.test(url) && eventFormOf(headers.accept) === 'stream')
}

/** What is wrong with the requested host, in words. */
function hostMistakeOf({
  headers,
  rawHeaders,
  httpVersionMajor,
  httpVersionMinor,
}: IncomingMessage): string | undefined {
  const { host } = headers
  if (httpVersionMajor === 1) {
    if (host === undefined && httpVersionMinor > 0) return 'A Host header is missing (RFC 9112, section 3.2).'
    // Of several, node reports only the first; a proxy in front may have used another.
    return isRepeated('host', rawHeaders) ? 'There are several Host headers (RFC 9112, section 3.2).' : undefined
  }
  const authority = headers[':authority']
  if (host === undefined) return 'An :authority is missing (RFC 9113, section 8.3.1).'
  return authority === undefined || authority === host
    ? undefined
    : 'The :authority and the Host header differ (RFC 9113, section 8.3.1).'
}

/** `rawHeaders` alternates names and values. */
function isRepeated(name: string, rawHeaders: readonly string[]): boolean {
  let times = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const each = rawHeaders[index]!
    if (each.length === name.length && each.toLowerCase() === name) times += 1
  }
  return times > 1
}

interface ParserError extends Error {
  readonly code?: string
}

/** Node's field for the response that a connection is waiting for or receiving. */
interface AnsweringSocket extends Socket {
  readonly _httpMessage?: ServerResponse<IncomingMessage> | null
}

/** Answers malformed or slow requests with an error of the usual shape, but never in the middle of another answer. */
export function refuseMalformed(error: ParserError, socket: AnsweringSocket): void {
  const answering = socket._httpMessage
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && answering && mayTakeLong(answering.req)) return
  if (!socket.writable || socket.destroyed || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  if (answering !== null && answering !== undefined) {
    // Garbage after a complete request: its answer or stream runs to its end, and the connection ends with it.
    if (answering.req.complete) answering.shouldKeepAlive = false
    else if (answering.headersSent) socket.destroy()
    if (answering.req.complete || answering.headersSent) return
  }
  refuseRaw(socket, malformedAnswers[error.code ?? ''] ?? malformed)
}

/** CONNECT: node detaches the connection, and closes it without an answer where nobody listens for it. */
export function refuseTunnel(_request: IncomingMessage, socket: AnsweringSocket): void {
  socket.on('error', () => socket.destroy())
  if (socket._httpMessage) socket.destroy()
  else refuseRaw(socket, tunnel)
}

interface RawAnswer {
  readonly status: number
  readonly reason: string
  readonly message: string
}

/** For connections on which node has no response to write to. */
function refuseRaw(socket: Socket, { status, reason, message }: RawAnswer): void {
  const body = errorBody(status, message)
  const head = `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`
  socket.write(`${head}\r\nconnection: close\r\n\r\n${body}`)
  closeGently.call(socket)
}

const tunnel: RawAnswer = {
  status: 405,
  reason: 'Method Not Allowed',
  message: tunnelWords,
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
