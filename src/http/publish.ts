// POST /api/v1/pubsubs/{id}/events, the busiest call: hapi routes and authenticates it, and from there it takes a short cut:
// the body from the raw request, hand-written validation, the answer on the raw response. Promises that the answer is sent
// only when all events are as durable as their topic promises. Knows nothing of frames and subscribers.
import type { ServerResponse } from 'node:http'
import type { Plugin } from '@hapi/hapi'
import { formatEventId } from '../domain/event-id.ts'
import { METRICS_TOPIC_ID } from '../domain/hub.ts'
import { type PublishInput, parseExpectedLast, parsePublish } from '../domain/publish-input.ts'
import { publishedAllText, publishedText } from './answers.ts'
import { credentialsOf, publishAuth, topicOf } from './auth.ts'
import type { Cors } from './cors.ts'
import { type HttpObserver, httpError } from './errors.ts'
import { refuseRequestKey, requestKeyOf } from './idempotency-key.ts'
import { parseJson, requireJson, requireLines, sendsLines } from './json-body.ts'
import { rawPayload } from './methods.ts'
import { type LinesLimits, publishLines } from './publish-lines.ts'
import { readBody } from './read-body.ts'
import type { Service } from './service.ts'
import type { TokenLimits } from './token-limits.ts'

export interface PublishOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: LinesLimits
  readonly tokenLimits: TokenLimits
  readonly observer: HttpObserver
}

const publishPath = '/api/v1/pubsubs/{id}/events'
const linesHeaders = ['content-type', 'application/x-ndjson', 'cache-control', 'no-store', 'x-accel-buffering', 'no']
const headersOfOne = jsonHeaders(answerOf(0))

export const publishPlugin: Plugin<PublishOptions> = {
  name: 'sser-publish',
  register(server, { service, cors, limits, tokenLimits, observer }) {
    const headersWithoutOrigin = [...cors.headers(undefined), ...headersOfOne]

    function answer(response: ServerResponse, origin: string | undefined, number: number): void {
      // The publisher may have gone; its event is in the log all the same.
      if (response.destroyed) return
      response.writeHead(201, origin === undefined ? headersWithoutOrigin : [...cors.headers(origin), ...headersOfOne])
      endAtOnce(response, answerOf(number))
    }

    function answerAll(response: ServerResponse, origin: string | undefined, numbers: readonly number[]): void {
      if (response.destroyed) return
      const body = answerOfAll(numbers)
      response.writeHead(201, [...cors.headers(origin), ...jsonHeaders(body)])
      endAtOnce(response, body)
    }

    server.route({
      method: 'POST',
      path: publishPath,
      options: { auth: publishAuth, payload: rawPayload },
      async handler(request, h) {
        const { req, res } = request.raw
        const topic = topicOf(service, request)
        if (topic.id === METRICS_TOPIC_ID) throw httpError(403, "Topic 0 is the server's own; publish to another one.")
        const { token, countedAs } = credentialsOf(request)
        const rate = tokenLimits.rateOf(countedAs)
        if (sendsLines(req)) {
          requireLines(req)
          refuseRequestKey(req)
          await service.changing(() =>
            publishLines(service.hub, topic, token, req, res, {
              service,
              limits,
              rate,
              begin() {
                res.writeHead(200, [...cors.headers(req.headers.origin), ...linesHeaders])
                observer.answered('post', publishPath, 200)
              },
              failed(status, error) {
                if (status >= 500) observer.requestFailed({ method: 'post', route: publishPath, status, error })
              },
            }),
          )
          return h.abandon
        }
        rate.assertMayPublish()
        requireJson(req)
        const read = readBody(req, limits)
        const body = Buffer.isBuffer(read) ? read : await read
        const parsed = parseJson(body)
        const input = parsePublish(parsed, body, limits)
        const conditions = { expectedLast: parseExpectedLast(parsed), request: requestKeyOf(req, body) }
        rate.publishing(isList(input) ? input.length : 1)
        await service.changing(async () => {
          const { origin } = req.headers
          if (isList(input)) answerAll(res, origin, await service.hub.publishAll(topic, input, conditions))
          else answer(res, origin, await service.hub.publish(topic, input, conditions))
        })
        observer.answered('post', publishPath, 201)
        return h.abandon
      },
    })
  },
}

/**
 * Ends an ASCII answer in one write. `end` alone gives the socket the text followed by an empty chunk, which causes a gathering
 * write and costs each publish another two microseconds.
 */
function endAtOnce(response: ServerResponse, body: string): void {
  // An HTTP/2 stream has no socket of its own; a pipelined answer has none until the earlier ones are done.
  const socket = response.req.httpVersionMajor === 1 ? response.socket : null
  if (socket === null) {
    response.end(body, 'latin1')
    return
  }
  response.write(body, 'latin1')
  socket.uncork()
  response.end()
}

/** Array.isArray does not narrow a readonly array. */
function isList(input: PublishInput | readonly PublishInput[]): input is readonly PublishInput[] {
  return Array.isArray(input)
}

function jsonHeaders(body: string): string[] {
  return ['content-type', 'application/json', 'content-length', String(body.length)]
}

function answerOf(number: number): string {
  return publishedText({ event: { id: formatEventId(number) } })
}

function answerOfAll(numbers: readonly number[]): string {
  return publishedAllText({ events: numbers.map((number) => ({ id: formatEventId(number) })) })
}
