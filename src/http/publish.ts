// POST /api/v1/pubsubs/{id}/events, the busiest call: hapi routes and authenticates it, and from there on it takes the
// short way: the body from the raw request, a hand-written check, the answer on the raw response. Promises that the answer
// goes out only when the event is as durable as its topic promises. Knows nothing of frames and subscribers.
import type { ServerResponse } from 'node:http'
import type { Plugin } from '@hapi/hapi'
import { formatEventId } from '../domain/event-id.ts'
import { METRICS_TOPIC_ID } from '../domain/hub.ts'
import { type PublishLimits, parsePublish } from '../domain/publish-input.ts'
import { apiAuth, topicOf } from './auth.ts'
import type { Cors } from './cors.ts'
import { httpError } from './errors.ts'
import { parseJson, requireJson } from './json-body.ts'
import { rawPayload } from './methods.ts'
import { type BodyLimits, readBody } from './read-body.ts'
import type { Service } from './service.ts'

export interface PublishOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: BodyLimits & PublishLimits
}

const jsonHeaders = ['content-type', 'application/json', 'content-length', String(answerOf(0).length)]

export const publishPlugin: Plugin<PublishOptions> = {
  name: 'sser-publish',
  register(server, { service, cors, limits }) {
    const headersWithoutOrigin = [...cors.headers(undefined), ...jsonHeaders]

    function answer(response: ServerResponse, origin: string | undefined, number: number): void {
      // The publisher may have gone; its event is in the log all the same.
      if (response.destroyed) return
      response.writeHead(201, origin === undefined ? headersWithoutOrigin : [...cors.headers(origin), ...jsonHeaders])
      response.end(answerOf(number), 'latin1')
    }

    server.route({
      method: 'POST',
      path: '/api/v1/pubsubs/{id}/events',
      options: { auth: apiAuth, payload: rawPayload },
      async handler(request, h) {
        const { req, res } = request.raw
        const topic = topicOf(service, request)
        if (topic.id === METRICS_TOPIC_ID) throw httpError(403, "Topic 0 is the server's own; publish to another one.")
        requireJson(req)
        const read = readBody(req, limits)
        const body = Buffer.isBuffer(read) ? read : await read
        const input = parsePublish(parseJson(body), body, limits)
        service.enter()
        try {
          answer(res, req.headers.origin, await service.hub.publish(topic, input))
        } finally {
          service.leave()
        }
        return h.abandon
      },
    })
  },
}

function answerOf(number: number): string {
  return `{"event":{"id":"${formatEventId(number)}"}}`
}
