// GET /api/v1/events?topic=A&topic=B: the stream of several topics, in a single order, resumed by a single id.
import type { Plugin } from '@hapi/hapi'
import { allCredentialsOf, subscribeAllAuth, topicsOf } from './auth.ts'
import { allowOnly } from './methods.ts'
import { subscribeAllQuerySchema, validate } from './schemas.ts'
import { answerStream, type StreamContext, type StreamLimits } from './stream-answer.ts'

export interface TopicLimits {
  readonly topicsPerStreamMax: number
}

export interface SubscribeAllOptions extends StreamContext {
  readonly limits: StreamLimits & TopicLimits
}

const path = '/api/v1/events'

export const subscribeAllPlugin: Plugin<SubscribeAllOptions> = {
  name: 'sser-subscribe-all',
  register(server, context) {
    const { service, cors, limits } = context
    const schema = subscribeAllQuerySchema(limits.topicsPerStreamMax)
    server.route({
      method: 'GET',
      path,
      options: { auth: subscribeAllAuth },
      async handler(request, h) {
        const { hub } = service
        const query = validate(schema, request.query)
        const topics = topicsOf(service, request)
        const { envelope = 'none' } = query
        const resolve = hub.resolveAll.bind(hub, topics)
        const credentials = allCredentialsOf(request)
        return answerStream(context, hub, { path, topics, credentials, query, envelope, resolve }, request, h)
      },
    })
    allowOnly(server, cors, path, ['GET'])
  },
}
