// Who may do what: one hapi scheme, and a strategy for each kind of call. Tokens are compared by their SHA-256, in the same
// time whatever was presented, and stand in no answer. The API token has all rights. Knows the hub only to look up a
// topic; it never sees a topic's token, only its hash.
import type { Plugin, Request, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { parseTopicId } from '../domain/event-id.ts'
import type { Topic } from '../domain/hub.ts'
import { hashToken, tokenMatches } from '../domain/token.ts'
import { httpError } from './errors.ts'
import type { Service } from './service.ts'

export interface AuthOptions {
  readonly service: Service
  readonly apiToken: string
  readonly metricsToken: string
}

/** The strategies' names, for the routes. */
export const apiAuth = 'api'
export const metricsAuth = 'metrics'
export const subscribeAuth = 'subscribe'

const challenge = { 'www-authenticate': 'Bearer' }
/** hapi wants credentials; ours say nothing that a handler would need. */
const known = Object.freeze({ credentials: Object.freeze({}) })

type Check = (request: Request) => void

export const authPlugin: Plugin<AuthOptions> = {
  name: 'sser-auth',
  register(server, { service, apiToken, metricsToken }) {
    const apiSha256 = hashToken(apiToken)
    const metricsSha256 = hashToken(metricsToken)

    const checks: Readonly<Record<string, Check>> = {
      [apiAuth](request) {
        if (!tokenMatches(bearerOf(request), apiSha256)) throw wrongToken()
      },
      [metricsAuth](request) {
        const presented = bearerOf(request)
        // Both are compared, whatever the first comparison says.
        const isMetrics = tokenMatches(presented, metricsSha256)
        const isApi = tokenMatches(presented, apiSha256)
        if (!isMetrics && !isApi) throw wrongToken()
      },
      [subscribeAuth](request) {
        const presented = request.headers['authorization'] === undefined ? queryToken(request) : bearerOf(request)
        const topic = topicOf(service, request)
        const isTopic = tokenMatches(presented, topic.tokenSha256)
        const isApi = tokenMatches(presented, apiSha256)
        if (!isTopic && !isApi) throw wrongToken()
      },
    }

    for (const [name, check] of Object.entries(checks)) {
      server.auth.scheme(name, () => ({
        authenticate(request: Request, h: ResponseToolkit) {
          check(request)
          return h.authenticated(known)
        },
      }))
      server.auth.strategy(name, name)
    }
  },
}

/** The topic that the address names. Malformed: a 400 with the reason; unknown: a 404. */
export function topicOf(service: Service, request: Request): Topic {
  const id = topicIdOf(request)
  const topic = service.hub.topic(id)
  if (topic === undefined) throw new DomainError('TOPIC_UNKNOWN', 'There is no topic with this id.')
  return topic
}

export function topicIdOf(request: Request): string {
  const id = parseTopicId(String(request.params['id']))
  if (id !== undefined) return id
  throw new DomainError('INVALID', "A topic's id is 1 to 11 characters of 0-9, A-Z, a-z, and below 2^63.", {
    path: 'id',
  })
}

function bearerOf(request: Request): string {
  const header = request.raw.req.headers.authorization
  if (header === undefined)
    throw httpError(401, 'A token is missing: Authorization: Bearer TOKEN.', undefined, challenge)
  const bearer = /^bearer +(\S+) *$/i.exec(header)
  if (bearer === null) {
    throw httpError(401, 'The Authorization header is not of the form: Bearer TOKEN.', undefined, challenge)
  }
  return bearer[1]!
}

function queryToken(request: Request): string {
  const token: unknown = request.query['access_token']
  if (typeof token === 'string' && token !== '') return token
  const how = 'A token is missing: Authorization: Bearer TOKEN, or one access_token in the query.'
  throw httpError(401, how, undefined, challenge)
}

function wrongToken(): Error {
  return httpError(401, 'The token does not open this.', undefined, challenge)
}
