// Topics from creation to deletion: /api/v1/pubsubs and /api/v1/pubsubs/{id}, and emptying one. Knows the calls' shapes on the
// wire, where a topic is a "pubsub", and leaves the work to the hub.
import type { Plugin, Request } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { parseEventId } from '../domain/event-id.ts'
import type { TopicPlace, TopicSort } from '../domain/hub.ts'
import { createdTopicText, topicsText, topicText } from './answers.ts'
import { topicIdOf, topicOf, topicsAuth } from './auth.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { jsonBodyOf } from './json-body.ts'
import { allowOnly, rawPayload } from './methods.ts'
import type { BodyLimits } from './read-body.ts'
import {
  changeTopicSchema,
  createTopicSchema,
  listTopicsQuerySchema,
  type PurgeQuery,
  purgeQuerySchema,
  validate,
} from './schemas.ts'
import type { Service } from './service.ts'
import { placeOf, placeText, retentionOf, topicJson } from './topic-wire.ts'

export interface TopicsOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: BodyLimits
}

export const topicsPlugin: Plugin<TopicsOptions> = {
  name: 'sser-topics',
  register(server, { service, cors, limits }) {
    const body = (request: Request) => jsonBodyOf(request.raw.req, limits)

    server.route({
      method: 'POST',
      path: '/api/v1/pubsubs',
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        const { persist, name, retention = {} } = validate(createTopicSchema, await body(request)).pubsub
        const wanted = { persist, name: name ?? undefined, retention: retentionOf(retention) }
        const { topic, token } = await service.changing(() => service.hub.createTopic(wanted))
        return jsonAnswer(h, createdTopicText({ pubsub: { id: topic.id, token } })).code(201)
      },
    })

    server.route({
      method: 'GET',
      path: '/api/v1/pubsubs',
      options: { auth: topicsAuth },
      async handler(request, h) {
        const { after, limit, search = '', sort, order } = validate(listTopicsQuerySchema, request.query)
        const choice = { sort, isDescending: order === 'desc', search: search === '' ? undefined : search }
        const page = await service.hub.listTopics(afterOf(after, sort), limit, choice)
        const next = page.next === undefined ? null : placeText(page.next, sort)
        return jsonAnswer(h, topicsText({ pubsubs: page.topics.map(topicJson), next }))
      },
    })
    allowOnly(server, cors, '/api/v1/pubsubs', ['GET', 'POST'])

    server.route({
      method: 'GET',
      path: '/api/v1/pubsubs/{id}',
      options: { auth: topicsAuth },
      async handler(request, h) {
        const details = await service.hub.topicDetails(topicOf(service, request))
        return jsonAnswer(h, topicText({ pubsub: topicJson(details) }))
      },
    })

    server.route({
      method: 'PATCH',
      path: '/api/v1/pubsubs/{id}',
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        const topic = topicOf(service, request)
        const { name, retention = {} } = validate(changeTopicSchema, await body(request)).pubsub
        await service.changing(() => service.hub.changeTopic(topic, { name, retention: retentionOf(retention) }))
        const details = await service.hub.topicDetails(topic)
        return jsonAnswer(h, topicText({ pubsub: topicJson(details) }))
      },
    })

    server.route({
      method: 'DELETE',
      path: '/api/v1/pubsubs/{id}',
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        await service.changing(() => service.hub.deleteTopic(topicIdOf(request)))
        return h.response().code(204)
      },
    })
    allowOnly(server, cors, '/api/v1/pubsubs/{id}', ['GET', 'PATCH', 'DELETE'])

    server.route({
      method: 'DELETE',
      path: '/api/v1/pubsubs/{id}/events',
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        const topic = topicOf(service, request)
        const through = throughOf(validate(purgeQuerySchema, request.query))
        await service.changing(() => service.hub.purge(topic, through))
        return h.response().code(204)
      },
    })
  },
}

function throughOf({ through }: PurgeQuery): number | undefined {
  if (through === undefined) return undefined
  const number = parseEventId(through)
  if (number !== undefined) return number
  throw new DomainError('INVALID', "Through is the server's id of an event: up to 11 characters of 0-9, A-Z, a-z.", {
    path: 'through',
  })
}

function afterOf(text: string | undefined, sort: TopicSort): TopicPlace | undefined {
  if (text === undefined) return undefined
  const place = placeOf(text, sort)
  if (place !== undefined) return place
  const words =
    sort === 'id'
      ? 'After is the `next` of the page before, or the id of a topic.'
      : 'After is the `next` of the page before, in the same order.'
  throw new DomainError('INVALID', words, { path: 'after' })
}
