// Further tokens of a topic: /api/v1/pubsubs/{id}/tokens. A secret appears in a single answer, the one that creates it.
import type { Plugin } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { formatEventId, parseEventId } from '../domain/event-id.ts'
import type { TokenRequest, TopicToken } from '../domain/hub.ts'
import { issuedTokenText, type TokenJson, tokensText } from './answers.ts'
import { topicOf, topicsAuth } from './auth.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { jsonBodyOf } from './json-body.ts'
import { allowOnly, rawPayload } from './methods.ts'
import type { BodyLimits } from './read-body.ts'
import { parseTime } from './resume-request.ts'
import { type IssueTokenBody, issueTokenSchema, validate } from './schemas.ts'
import type { Service } from './service.ts'

export interface TopicTokensOptions {
  readonly service: Service
  readonly cors: Cors
  readonly limits: BodyLimits
}

const path = '/api/v1/pubsubs/{id}/tokens'

export const topicTokensPlugin: Plugin<TopicTokensOptions> = {
  name: 'sser-topic-tokens',
  register(server, { service, cors, limits }) {
    server.route({
      method: 'POST',
      path,
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        const topic = topicOf(service, request)
        const body = validate(issueTokenSchema, await jsonBodyOf(request.raw.req, limits))
        const { token, secret } = await service.changing(() => service.hub.issueToken(topic, requestOf(body)))
        return jsonAnswer(h, issuedTokenText({ token: { ...tokenJson(token), token: secret } })).code(201)
      },
    })

    server.route({
      method: 'GET',
      path,
      options: { auth: topicsAuth },
      handler(request, h) {
        const tokens = service.hub.tokensOf(topicOf(service, request))
        return jsonAnswer(h, tokensText({ tokens: tokens.map(tokenJson) }))
      },
    })
    allowOnly(server, cors, path, ['GET', 'POST'])

    server.route({
      method: 'DELETE',
      path: `${path}/{tokenId}`,
      options: { auth: topicsAuth, payload: rawPayload },
      async handler(request, h) {
        const topic = topicOf(service, request)
        const number = parseEventId(String(request.params['tokenId']))
        if (number === undefined) {
          throw new DomainError('INVALID', "A token's id is 1 to 11 characters of 0-9, A-Z, a-z.", { path: 'token_id' })
        }
        await service.changing(() => service.hub.revokeToken(topic, number))
        return h.response().code(204)
      },
    })
    allowOnly(server, cors, `${path}/{tokenId}`, ['DELETE'])
  },
}

function requestOf({ token: { rights, label, expires_at } }: IssueTokenBody): TokenRequest {
  const expiresAtMs = expires_at === undefined || expires_at === null ? undefined : parseTime(expires_at)
  if (expires_at !== undefined && expires_at !== null && expiresAtMs === undefined) {
    throw new DomainError('INVALID', 'Expires_at is a time such as 2026-01-31T12:00:00Z.', { path: 'token.expires_at' })
  }
  return { rights, label: label ?? undefined, expiresAtMs }
}

function tokenJson({ number, label, rights, createdAtMs, expiresAtMs }: TopicToken): TokenJson {
  return {
    id: formatEventId(number),
    label: label ?? null,
    rights,
    created_at: new Date(createdAtMs).toISOString(),
    expires_at: expiresAtMs === undefined ? null : new Date(expiresAtMs).toISOString(),
  }
}
