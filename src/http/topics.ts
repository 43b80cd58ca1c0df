// Topics are made and deleted here: POST /api/v1/pubsubs and DELETE /api/v1/pubsubs/{id}. Knows the calls' shapes on the
// wire, where a topic is a "pubsub", and leaves what they do to the hub.
import type { Plugin } from '@hapi/hapi'
import { apiAuth, topicIdOf } from './auth.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { parseJson, requireJson } from './json-body.ts'
import { allowOnly, rawPayload } from './methods.ts'
import { type BodyLimits, readBody } from './read-body.ts'
import { createTopicSchema, validate } from './schemas.ts'
import type { Service } from './service.ts'

export interface TopicsOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: BodyLimits
}

export const topicsPlugin: Plugin<TopicsOptions> = {
  name: 'sser-topics',
  register(server, { service, cors, limits }) {
    server.route({
      method: 'POST',
      path: '/api/v1/pubsubs',
      options: { auth: apiAuth, payload: rawPayload },
      async handler(request, h) {
        requireJson(request.raw.req)
        const body = await readBody(request.raw.req, limits)
        // The original takes a missing body for {}.
        const { pubsub } = validate(createTopicSchema, body.length === 0 ? {} : parseJson(body))
        service.enter()
        try {
          const { topic, token } = await service.hub.createTopic({ persist: pubsub.persist })
          return jsonAnswer(h, JSON.stringify({ pubsub: { id: topic.id, token } })).code(201)
        } finally {
          service.leave()
        }
      },
    })
    allowOnly(server, cors, '/api/v1/pubsubs', ['POST'])

    server.route({
      method: 'DELETE',
      path: '/api/v1/pubsubs/{id}',
      options: { auth: apiAuth, payload: rawPayload },
      async handler(request, h) {
        service.enter()
        try {
          await service.hub.deleteTopic(topicIdOf(request))
          return h.response().code(204)
        } finally {
          service.leave()
        }
      },
    })
    allowOnly(server, cors, '/api/v1/pubsubs/{id}', ['DELETE'])
  },
}
