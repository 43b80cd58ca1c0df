// GET /api/v1/pubsubs/{id}/events: from a request to a subscription, unless another form is asked for. Reads where the client wants to resume, asks the hub
// where that is, and hands it a sink over the raw response. Promises that the head and the first block leave in one write,
// and that nothing of the request is kept alive by the stream. Knows nothing of what goes over it.
import type { Plugin } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { formatEventId } from '../domain/event-id.ts'
import type { ResumePoint } from '../domain/hub.ts'
import { subscribeAuth, tokenOf, topicOf } from './auth.ts'
import type { Cors } from './cors.ts'
import { type HttpObserver, httpError } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { answerLines, answerPage, type HistoryLimits } from './history.ts'
import { allowOnly } from './methods.ts'
import { resumeRequestOf } from './resume-request.ts'
import { endWithRetry } from './retry-answer.ts'
import { subscribeQuerySchema, validate } from './schemas.ts'
import type { Service } from './service.ts'
import { SseStream, streamHeaders } from './sse-stream.ts'

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
  readonly observer: HttpObserver
}

export const subscribePath = '/api/v1/pubsubs/{id}/events'

export const subscribePlugin: Plugin<SubscribeOptions> = {
  name: 'sser-subscribe',
  register(server, { service, cors, limits, observer }) {
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
        if (form === 'page') return answerPage(hub, topic, request, h, limits)
        if (form === 'lines') return answerLines(hub, topic, request, h, limits)
        const begun = () => observer.answered(request.method, subscribePath, 200)
        const query = validate(subscribeQuerySchema, request.query)
        const from = resumeRequestOf(req, query)
        const heartbeat = query.heartbeat ?? 'comment'
        const signals = query.signals === '1'
        let point: ResumePoint
        try {
          point = await hub.resolve(topic, from)
        } catch (error) {
          if (!isPassing(error)) throw error
          begun()
          endWithRetry(res, cors.headers(req.headers.origin), retryMsOf(service, limits))
          return h.abandon
        }
        if (res.destroyed) return h.abandon
        // A client that sends its next request before the answer to the last one has no socket for a stream yet.
        if (res.socket === null)
          throw httpError(400, 'A stream cannot be asked for behind another request in a pipeline.')

        const headers = [
          ...cors.headers(req.headers.origin),
          'sser-resumed-from',
          formatEventId(hub.startOf(topic, point)),
        ]
        if (request.method === 'head') {
          begun()
          res.writeHead(200, [...headers, ...streamHeaders])
          res.end()
          return h.abandon
        }
        begun()
        const stream = new SseStream(res, headers, limits.sendBufferBytes)
        try {
          hub.subscribe(topic, stream, { from: point, heartbeat, signals, token: tokenOf(request) })
          stream.begin()
        } catch (error) {
          if (!isPassing(error)) throw error
          endWithRetry(res, headers, retryMsOf(service, limits))
        }
        return h.abandon
      },
    })
    allowOnly(server, cors, subscribePath, ['GET', 'POST', 'DELETE'])
  },
}

/** The base of the `retry:` of a stream that cannot begin now. */
export function retryMsOf(service: Service, limits: StreamLimits): number {
  return service.health.status === 'stopping' ? limits.stoppingRetryMs : limits.retryMs
}

/** What a client should come back after; a browser does so only after a stream that ended. */
function isPassing(error: unknown): boolean {
  return error instanceof DomainError && ['LIMIT', 'CLOSED', 'BUSY', 'STORE_FAILED'].includes(error.code)
}
