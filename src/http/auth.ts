// Authentication as hapi sees it: a scheme and a strategy for each right, and where a request carries its token. What a token
// opens is decided by the gate. No token appears in an answer.
import type { Plugin, Request, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { parseTopicId } from '../domain/event-id.ts'
import type { Topic } from '../domain/hub.ts'
import type { ClientAddresses } from './client-address.ts'
import { type HttpObserver, httpError, tellLimit } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { anybody, type Credentials, challenge, type Gate, type Refusal, tooManyWrongTokens } from './gate.ts'
import { answerWithRetry } from './retry-answer.ts'
import type { Service } from './service.ts'

export interface AuthOptions {
  readonly service: Service
  readonly gate: Gate
  readonly clients: ClientAddresses
  readonly observer: HttpObserver
  /** Whether clients on this machine may scrape without a token. */
  readonly opensMetricsLocally: boolean
  /** The minimum wait for a stream that is refused for a while. */
  readonly retryMs: number
}

/** The strategies' names, for the routes. */
export const topicsAuth = 'topics'
export const publishAuth = 'publish'
export const subscribeAuth = 'subscribe'
export const subscribeAllAuth = 'subscribe-all'
export const metricsAuth = 'metrics'
export const scrapeAuth = 'scrape'

/** In a URL, whose length clients and proxies limit. */
const TOKENS_MAX = 20

export const authPlugin: Plugin<AuthOptions> = {
  name: 'sser-auth',
  register(server, { service, gate, clients, observer, opensMetricsLocally, retryMs }) {
    const checks: Readonly<Record<string, (request: Request) => Credentials | Refusal>> = {
      [topicsAuth]: (request) => gate.api(request, bearerOf(request), 'topics'),
      [metricsAuth]: (request) => gate.api(request, bearerOf(request), 'metrics'),
      [scrapeAuth](request) {
        const { req } = request.raw
        const isOpen = opensMetricsLocally && req.headers.authorization === undefined && clients.isLocal(req)
        return isOpen ? anybody : gate.api(request, bearerOf(request), 'metrics')
      },
      [subscribeAuth](request) {
        const topic = () => topicOf(service, request)
        if (!wantsStream(request)) return gate.topic(request, bearerOf(request), 'subscribe', topic)
        const isInQuery = request.headers['authorization'] === undefined
        return gate.stream(request, isInQuery ? queryToken(request) : bearerOf(request), topic)
      },
      [subscribeAllAuth](request) {
        const topics = topicsOf(service, request)
        const isInQuery = request.headers['authorization'] === undefined
        return gate.streams(request, isInQuery ? queryTokens(request, topics.length) : [bearerOf(request)], topics)
      },
      // Only those who may publish to all topics learn that a topic does not exist.
      [publishAuth]: (request) => {
        return gate.topic(request, bearerOf(request), 'publish', () => service.hub.topic(topicIdOf(request)))
      },
    }

    for (const [name, check] of Object.entries(checks)) {
      server.auth.scheme(name, () => ({
        authenticate(request: Request, h: ResponseToolkit) {
          const outcome = check(request)
          if (!('waitMs' in outcome)) return h.authenticated({ credentials: outcome as object })
          const refusal = tooManyWrongTokens(outcome)
          // A browser's EventSource never reconnects after a 429.
          if (name === subscribeAllAuth || (name === subscribeAuth && wantsStream(request))) {
            tellLimit(observer, refusal)
            return answerWithRetry(h, Math.max(outcome.waitMs, retryMs)).takeover()
          }
          throw refusal
        },
      }))
      server.auth.strategy(name, name)
    }
  },
}

/** For a request that a strategy in this file accepted. */
export function credentialsOf(request: Request): Credentials {
  return request.auth.credentials as unknown as Credentials
}

/** The same, where several topics may each have been opened by a different token. */
export function allCredentialsOf(request: Request): readonly Credentials[] {
  const credentials = credentialsOf(request)
  return credentials.each ?? [credentials]
}

/** The topic named in the path. Malformed: a 400 with the reason; unknown: a 404. */
export function topicOf(service: Service, request: Request): Topic {
  return topicNamed(service, String(request.params['id']), 'id')
}

/** The topics named in the query, at least one. Malformed: a 400 with the reason; unknown: a 404. */
export function topicsOf(service: Service, request: Request): readonly Topic[] {
  const names = valuesOf(request, 'topic')
  if (names.length > 0) return names.map((name, i) => topicNamed(service, name, `topic.${i}`))
  throw new DomainError('INVALID', 'Name each topic by its id, as in ?topic=ID&topic=ID.', { path: 'topic' })
}

export function topicIdOf(request: Request): string {
  return topicIdIn(String(request.params['id']), 'id')
}

/** As `topicOf`, for an id found at `path`. */
export function topicNamed(service: Service, text: string, path: string): Topic {
  const topic = service.hub.topic(topicIdIn(text, path))
  if (topic !== undefined) return topic
  const place = path === 'id' ? {} : { path }
  throw new DomainError('TOPIC_UNKNOWN', 'There is no topic with this id.', place)
}

function topicIdIn(text: string, path: string): string {
  const id = parseTopicId(text)
  if (id !== undefined) return id
  throw new DomainError('INVALID', "A topic's id is 1 to 11 characters of 0-9, A-Z, a-z, and below 2^63.", { path })
}

export function bearerOf(request: Request): string {
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

/** A single one, or as many as there are topics. */
function queryTokens(request: Request, topics: number): readonly string[] {
  const tokens = valuesOf(request, 'access_token')
  if (!tokens.includes('') && (tokens.length === 1 || (tokens.length === topics && topics <= TOKENS_MAX))) return tokens
  const how = `A token is missing: Authorization: Bearer TOKEN, or in the query one access_token for all topics, or one for each of up to ${TOKENS_MAX}, in their order.`
  throw httpError(401, how, undefined, challenge)
}

/** All values of a parameter that may be repeated in the query. */
function valuesOf(request: Request, name: string): readonly string[] {
  const value: unknown = request.query[name]
  return value === undefined ? [] : Array.isArray(value) ? value.map(String) : [String(value)]
}

function wantsStream({ raw }: Request): boolean {
  return eventFormOf(raw.req.headers.accept) === 'stream'
}
