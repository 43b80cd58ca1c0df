// GET /api/v1/pubsubs/{id}/events: the stream of one topic, unless another form of its events is requested.
import type { Plugin } from '@hapi/hapi'
import { credentialsOf, subscribeAuth, topicOf } from './auth.ts'
import { eventFormOf } from './event-forms.ts'
import { answerLines, answerPage, type HistoryLimits } from './history.ts'
import { allowOnly } from './methods.ts'
import { historyPageQuerySchema, historyQuerySchema, subscribeQuerySchema, validate } from './schemas.ts'
import { answerStream, type StreamContext, type StreamLimits } from './stream-answer.ts'

export interface SubscribeOptions extends StreamContext {
  readonly limits: StreamLimits & HistoryLimits
}

export const subscribePath = '/api/v1/pubsubs/{id}/events'

export const subscribePlugin: Plugin<SubscribeOptions> = {
  name: 'sser-subscribe',
  register(server, context) {
    const { service, cors, limits } = context
    const pageQuery = historyPageQuerySchema(limits.historyEventsMax)
    server.route({
      method: 'GET',
      path: subscribePath,
      options: { auth: subscribeAuth },
      async handler(request, h) {
        // The same hub throughout: if a stop begins meanwhile, the stream ends as in any stop, and not with an error.
        const { hub } = service
        const topic = topicOf(service, request)
        const form = eventFormOf(request.raw.req.headers.accept)
        if (form === 'page') return answerPage(hub, topic, request, h, validate(pageQuery, request.query))
        if (form === 'lines') {
          return answerLines(hub, topic, request, h, validate(historyQuerySchema, request.query), limits)
        }
        const query = validate(subscribeQuerySchema, request.query)
        const resolve = hub.resolveOne.bind(hub, topic)
        const wanted = { path: subscribePath, topics: [topic], credentials: [credentialsOf(request)], query, resolve }
        return answerStream(context, hub, wanted, request, h)
      },
    })
    allowOnly(server, cors, subscribePath, ['GET', 'POST', 'DELETE'])
  },
}
