// Who may do what: one hapi scheme, and a strategy for each right. The API tokens of the configuration have the rights that
// they are given there; a topic's own tokens open that topic. Tokens are compared by their SHA-256, in the same time
// whatever was presented, and stand in no answer.
import type { Plugin, Request, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { parseTopicId } from '../domain/event-id.ts'
import type { Topic, TopicRight, TopicToken } from '../domain/hub.ts'
import { hashMatches, hashToken } from '../domain/token.ts'
import { httpError } from './errors.ts'
import { isLocal } from './is-local.ts'
import type { Service } from './service.ts'

/** `topics`: make, see, change, empty and delete them, and issue their tokens. */
export type ApiRight = 'topics' | 'publish' | 'subscribe' | 'metrics'

export interface ApiToken {
  /** SHA-256, 32 bytes. */
  readonly sha256: Uint8Array
  readonly rights: readonly ApiRight[]
}

export interface AuthOptions {
  readonly service: Service
  readonly apiTokens: readonly ApiToken[]
  /** Whether whoever asks on this machine itself may scrape without a token. */
  readonly opensMetricsLocally: boolean
}

/** The strategies' names, for the routes. */
export const topicsAuth = 'topics'
export const publishAuth = 'publish'
export const subscribeAuth = 'subscribe'
export const metricsAuth = 'metrics'
export const scrapeAuth = 'scrape'

const challenge = { 'www-authenticate': 'Bearer' }

/** What a handler may want to know of who asks. */
interface Credentials {
  /** The further token of the topic that opened it; undefined: its own token, or an API token. */
  readonly token: TopicToken | undefined
}

const known: Credentials = Object.freeze({ token: undefined })

export const authPlugin: Plugin<AuthOptions> = {
  name: 'sser-auth',
  register(server, { service, apiTokens, opensMetricsLocally }) {
    /** All are compared, whatever the first comparison says. */
    function isAllowed(presented: string, right: ApiRight): boolean {
      const presentedSha256 = hashToken(presented)
      return (
        apiTokens.filter(({ sha256, rights }) => hashMatches(presentedSha256, sha256) && rights.includes(right))
          .length > 0
      )
    }

    function byApiToken(presented: string, right: ApiRight): Credentials {
      if (isAllowed(presented, right)) return known
      throw wrongToken()
    }

    /** `topicOf` is asked only where the presented token is none that opens all topics. */
    function byAnyToken(presented: string, right: TopicRight, topicOf: () => Topic | undefined): Credentials {
      if (isAllowed(presented, right)) return known
      const topic = topicOf()
      const access = topic === undefined ? undefined : service.hub.accessTo(topic, presented, right)
      if (access === undefined) throw wrongToken()
      return access.token === undefined ? known : { token: access.token }
    }

    const checks: Readonly<Record<string, (request: Request) => Credentials>> = {
      [topicsAuth]: (request) => byApiToken(bearerOf(request), 'topics'),
      [metricsAuth]: (request) => byApiToken(bearerOf(request), 'metrics'),
      [scrapeAuth](request) {
        const { req } = request.raw
        const isOpen = opensMetricsLocally && req.headers.authorization === undefined && isLocal(req)
        return isOpen ? known : byApiToken(bearerOf(request), 'metrics')
      },
      [subscribeAuth](request) {
        const presented = request.headers['authorization'] === undefined ? queryToken(request) : bearerOf(request)
        return byAnyToken(presented, 'subscribe', () => topicOf(service, request))
      },
      // That there is no such topic is told to those only who may publish to all.
      [publishAuth]: (request) => {
        return byAnyToken(bearerOf(request), 'publish', () => service.hub.topic(topicIdOf(request)))
      },
    }

    for (const [name, check] of Object.entries(checks)) {
      server.auth.scheme(name, () => ({
        authenticate(request: Request, h: ResponseToolkit) {
          return h.authenticated({ credentials: check(request) as object })
        },
      }))
      server.auth.strategy(name, name)
    }
  },
}

/** Of a request that a strategy of this file let pass. */
export function tokenOf(request: Request): TopicToken | undefined {
  return (request.auth.credentials as unknown as Credentials).token
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
