// Every error that leaves the server, in one shape: {"error":{"code":404,"message":"…","details":{…}}}, `code` being the
// HTTP status. This file has the only table from the domain's codes to statuses, and the treatment of hapi's own errors.
// Promises that no answer contains a token, a body, a path of this machine or a stack trace.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Boom } from '@hapi/boom'
import type { Plugin, Request, ResponseObject, ResponseToolkit } from '@hapi/hapi'
import { DomainError, type DomainErrorCode } from '../domain/errors.ts'
import { errorText } from './answers.ts'
import type { Cors, FlatHeaders } from './cors.ts'

export type ErrorDetails = Readonly<Record<string, unknown>>
type HeaderRecord = Readonly<Record<string, string>>

/** A failure for the operator: an answer of 500 or more. Contains no URL, query, token or body. */
export interface FailedRequest {
  readonly method: string
  /** The route's pattern, such as /api/v1/pubsubs/{id}/events, never the requested URL. */
  readonly route: string
  readonly status: number
  readonly error: unknown
}

export interface HttpObserver {
  /** `route` is the route's pattern; `method` is in lower case. A stream is reported when it begins. */
  answered(method: string, route: string, status: number): void
  /** A client was refused, or told to come back later, because of a limit, named by its setting. */
  limitReached(limit: string): void
  /** An address has to wait, for the first time or again after a while: this many wrong tokens came from there. */
  throttled(client: string, wrongTokens: number): void
  /** A trusted proxy was cut off because it did not announce the client of its connection, as it must. */
  proxyRefused(proxy: string, reason: string): void
  requestFailed(report: FailedRequest): void
}

export const silentHttpObserver: HttpObserver = {
  answered() {},
  limitReached() {},
  throttled() {},
  proxyRefused() {},
  requestFailed() {},
}

const statusOfCode: Readonly<Record<DomainErrorCode, number>> = {
  INVALID: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  TOPIC_UNKNOWN: 404,
  CONFLICT: 409,
  KEY_REUSED: 422,
  STATIC_TOPIC: 400,
  STORE_OFF: 400,
  TOO_LARGE: 413,
  LIMIT: 503,
  BUSY: 503,
  CLOSED: 503,
  STORE_FAILED: 503,
  STORE_FULL: 507,
}

const retryableCodes: ReadonlySet<DomainErrorCode> = new Set(['LIMIT', 'BUSY', 'CLOSED', 'STORE_FAILED'])
const retryAfterOneSecond: HeaderRecord = { 'retry-after': '1' }

/** An error to throw from a handler: the status, a sentence for the client, and further headers. */
export function httpError(status: number, message: string, details?: ErrorDetails, headers?: HeaderRecord): Boom {
  const error = new Boom<ErrorDetails | undefined>(message, { statusCode: status, data: details })
  if (headers !== undefined) Object.assign(error.output.headers, headers)
  return error
}

/** What a client learns about an error. Anything not meant for clients becomes a 500 without details. */
export interface ErrorAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | number | undefined>>
  readonly body: string
}

export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof DomainError) {
    const headers = retryableCodes.has(error.code) ? retryAfterOneSecond : {}
    const isPlain = error.path === undefined && error.details === undefined
    const details = isPlain ? undefined : { path: error.path, ...error.details }
    return {
      status: statusOfCode[error.code],
      headers,
      body: errorBody(statusOfCode[error.code], error.message, details),
    }
  }
  if (error instanceof Boom) {
    const { statusCode, headers } = error.output
    if (statusCode === 500) return { status: 500, headers, body: errorBody(500, internalErrorMessage) }
    return { status: statusCode, headers, body: errorBody(statusCode, sentenceOf(error), detailsOf(error)) }
  }
  return { status: 500, headers: {}, body: errorBody(500, internalErrorMessage) }
}

const malformedPathMessage =
  'The path is malformed: each percent sign must be followed by two hex digits, which together must be UTF-8.'
const internalErrorMessage = 'Something went wrong inside the server. Its log says more.'

export function errorBody(status: number, message: string, details?: ErrorDetails): string {
  return errorText({ error: { code: status, message, details } })
}

/** Sends an error outside of hapi: what the front door refuses before routing. */
export function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  extra: FlatHeaders,
): void {
  const { status, headers, body } = answerOf(error)
  const flat = [...extra, 'content-type', 'application/json', 'content-length', String(Buffer.byteLength(body))]
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) flat.push(name, String(value))
  response.writeHead(status, flat)
  response.end(request.method === 'HEAD' ? undefined : body)
}

export interface ErrorsOptions {
  readonly cors: Cors
  readonly observer: HttpObserver
}

/** Gives every answer under /api/v1 its CORS headers, and every error its shape, including hapi's own. */
export const errorsPlugin: Plugin<ErrorsOptions> = {
  name: 'sser-errors',
  register(server, { cors, observer }) {
    server.ext('onPreResponse', async (request: Request, h: ResponseToolkit) => {
      const { response } = request
      // A body sent along with its head is complete a moment later; hapi would close the connection of an incomplete one.
      if (!request.raw.req.complete) await new Promise((resolve) => setImmediate(resolve))
      if (!('isBoom' in response && response.isBoom)) {
        if (isApiPath(request.path) && 'header' in response) {
          eachHeader(cors.headers(request.raw.req.headers.origin), (name, value) => response.header(name, value))
        }
        if ('statusCode' in response) observer.answered(request.method, request.route.path, response.statusCode)
        return h.continue
      }
      const { status, headers, body } = answerOf(response)
      if (status >= 500) {
        observer.requestFailed({ method: request.method, route: request.route.path, status, error: response })
      }
      observer.answered(request.method, request.route.path, status)
      tellLimit(observer, response)
      const answer = jsonAnswer(h, body).code(status)
      for (const [name, value] of Object.entries(headers)) if (value !== undefined) answer.header(name, String(value))
      if (isApiPath(request.path)) {
        eachHeader(cors.headers(request.raw.req.headers.origin), (name, value) => answer.header(name, value))
      }
      return answer
    })
  },
}

/** Reports the limit that the error names, if it names one. */
export function tellLimit(observer: HttpObserver, error: unknown): void {
  const limit = limitOf(error)
  if (limit !== undefined) observer.limitReached(limit)
}

/** The setting behind an error that goes away by itself, or when another client leaves. */
export function limitOf(error: unknown): string | undefined {
  const details = error instanceof DomainError ? error.details : error instanceof Boom ? detailsOf(error) : undefined
  const limit = details?.['limit']
  return typeof limit === 'string' ? limit : undefined
}

/** A plain `application/json` answer, without a charset, which JSON does not define. */
export function jsonAnswer(h: ResponseToolkit, text: string | Buffer): ResponseObject {
  const answer = h.response(text).type('application/json')
  answer.charset('')
  return answer
}

export function isApiPath(path: string): boolean {
  return path.startsWith('/api/v1/') || path === '/api/v1'
}

function eachHeader(flat: FlatHeaders, take: (name: string, value: string) => void): void {
  for (let index = 0; index + 1 < flat.length; index += 2) take(flat[index]!, flat[index + 1]!)
}

/** Boom's default words where there are no others ("Not Found"), made a sentence. */
function sentenceOf(error: Boom): string {
  // The only error without words of its own is hapi's, for a path segment that it cannot decode.
  if (error.message === 'Bad Request') return malformedPathMessage
  const words = error.message || error.output.payload.error
  return /[.…!?]$/.test(words) ? words : `${words}.`
}

/** Only details set by our own `httpError`: hapi uses the field for things of its own. */
function detailsOf(error: Boom<unknown>): ErrorDetails | undefined {
  const { data } = error
  if (typeof data !== 'object' || data === null || Object.getPrototypeOf(data) !== Object.prototype) return undefined
  return data as ErrorDetails
}
