// GET /api/v1/pubsubs/{id}/events: from a request to a subscription, unless another form is asked for. Reads where the client wants to resume, asks the hub
// where that is, and hands it a sink over the raw response. Promises that the head and the first block leave in one write,
// and that nothing of the request is kept alive by the stream. Knows nothing of what goes over it.
import type { Plugin, Request } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { formatEventId } from '../domain/event-id.ts'
import type { Hub, ResumePoint, SubscribeRequest, Topic, TopicToken } from '../domain/hub.ts'
import { credentialsOf, subscribeAuth, topicOf } from './auth.ts'
import type { Cors } from './cors.ts'
import { type HttpObserver, httpError, limitOf, tellLimit } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { answerLines, answerPage, type HistoryLimits } from './history.ts'
import { openStream } from './http2-sse-stream.ts'
import { allowOnly } from './methods.ts'
import { resumeRequestOf } from './resume-request.ts'
import { endWithRetry } from './retry-answer.ts'
import { historyPageQuerySchema, historyQuerySchema, subscribeQuerySchema, validate } from './schemas.ts'
import type { Service } from './service.ts'
import { streamHeaders } from './sse-stream.ts'
import type { TokenLimits } from './token-limits.ts'

export interface StreamLimits {
  /** When more bytes wait in a subscriber's connection, it stops getting live frames and catches up from the log. */
  readonly sendBufferBytes: number
  /** The base of the `retry:` that a stream gets which cannot begin; each gets 100 to 200 % of it. */
  readonly retryMs: number
  /** The same during a stop, when all clients are told to come back at once. */
  readonly stoppingRetryMs: number
}

export interface SubscribeOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: StreamLimits & HistoryLimits
  readonly tokenLimits: TokenLimits
  readonly observer: HttpObserver
}

export const subscribePath = '/api/v1/pubsubs/{id}/events'

export const subscribePlugin: Plugin<SubscribeOptions> = {
  name: 'sser-subscribe',
  register(server, { service, cors, limits, tokenLimits, observer }) {
    const pageQuery = historyPageQuerySchema(limits.historyEventsMax)
    /** Writes the head in this very turn, and hands the response over to the hub, or ends it. */
    function begin(hub: Hub, request: Request, topic: Topic, wanted: SubscribeRequest, leave?: () => void): void {
      const { req, res } = request.raw
      const start = formatEventId(hub.startOf(topic, wanted.from))
      const headers = [...cors.headers(req.headers.origin), 'sser-resumed-from', start]
      observer.answered(request.method, subscribePath, 200)
      if (request.method === 'head') {
        res.writeHead(200, [...headers, ...streamHeaders])
        res.end()
        return
      }
      const stream = openStream(res, headers, limits.sendBufferBytes)
      // Behind the stream, which takes away the listeners that were there before it.
      if (leave !== undefined) res.once('close', leave)
      const { countedAs } = credentialsOf(request)
      try {
        res.once('close', tokenLimits.enterStream([countedAs]))
        hub.subscribe(topic, stream, { ...wanted, tokens: tokensOf(request) })
        stream.begin()
      } catch (error) {
        if (!isPassing(error)) throw error
        tellLimit(observer, error)
        endWithRetry(res, headers, retryMsOf(service, limits))
      }
    }

    server.route({
      method: 'GET',
      path: subscribePath,
      options: { auth: subscribeAuth },
      async handler(request, h) {
        const { req, res } = request.raw
        // The same one throughout: a stop that begins meanwhile ends the stream as a stop does, and not with an error.
        const { hub } = service
        const topic = topicOf(service, request)
        const form = eventFormOf(req.headers.accept)
        if (form === 'page') return answerPage(hub, topic, request, h, validate(pageQuery, request.query))
        if (form === 'lines') {
          return answerLines(hub, topic, request, h, validate(historyQuerySchema, request.query), limits)
        }
        const query = validate(subscribeQuerySchema, request.query)
        const from = resumeRequestOf(req, query)
        const heartbeat = query.heartbeat ?? 'comment'
        const signals = query.signals === '1'
        let point: ResumePoint
        try {
          point = await hub.resolve(topic, from)
        } catch (error) {
          if (!isPassing(error)) throw error
          observer.answered(request.method, subscribePath, 200)
          endWithRetry(res, cors.headers(req.headers.origin), retryMsOf(service, limits))
          return h.abandon
        }
        if (res.destroyed) return h.abandon
        // A client that sends its next request before the answer to the last one has no socket for a stream yet.
        if (res.socket === null)
          throw httpError(400, 'A stream cannot be asked for behind another request in a pipeline.')

        const leave = await entered(hub, request)
        try {
          if (!res.destroyed) begin(hub, request, topic, { from: point, heartbeat, signals }, leave)
          else leave?.()
        } catch (error) {
          leave?.()
          throw error
        }
        return h.abandon
      },
    })
    allowOnly(server, cors, subscribePath, ['GET', 'POST', 'DELETE'])
  },
}

/** The stream ends with them. */
function tokensOf(request: Request): readonly TopicToken[] {
  const { token } = credentialsOf(request)
  return token === undefined ? [] : [token]
}

/** A ticket that opens a stream is in use until that ends: what this resolves with is to be called then. */
async function entered(hub: Hub, request: Request): Promise<(() => void) | undefined> {
  const { ticket } = credentialsOf(request)
  return ticket === undefined || request.method === 'head' ? undefined : await hub.tickets.enter(ticket)
}

/** The base of the `retry:` of a stream that cannot begin now. */
export function retryMsOf(service: Service, limits: StreamLimits): number {
  return service.health.status === 'stopping' ? limits.stoppingRetryMs : limits.retryMs
}

/** What a client should come back after; a browser does so only after a stream that ended. */
function isPassing(error: unknown): boolean {
  if (limitOf(error) !== undefined) return true
  return error instanceof DomainError && ['CLOSED', 'BUSY', 'STORE_FAILED'].includes(error.code)
}
