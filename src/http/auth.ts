// Who may do what: one hapi scheme, and a strategy for each right. The API tokens of the configuration have the rights that
// they are given there; a topic's own tokens open that topic. Tokens are compared by their SHA-256, in the same time
// whatever was presented, and stand in no answer. Whoever presents wrong ones again and again has to wait.
import type { Plugin, Request, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { parseTopicId } from '../domain/event-id.ts'
import type { Topic, TopicRight, TopicToken } from '../domain/hub.ts'
import { hashMatches, hashToken } from '../domain/token.ts'
import type { ClientAddresses } from './client-address.ts'
import { httpError } from './errors.ts'
import { eventFormOf } from './event-forms.ts'
import { isLocal } from './is-local.ts'
import { answerWithRetry } from './retry-answer.ts'
import type { Service } from './service.ts'
import type { TokenThrottle } from './token-throttle.ts'

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
  readonly clients: ClientAddresses
  readonly throttle: TokenThrottle
  /** The least that a stream is told to wait which is refused for a while. */
  readonly retryMs: number
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

/** The token was not looked at: there were too many wrong ones. */
interface Refusal {
  readonly waitMs: number
}

export const authPlugin: Plugin<AuthOptions> = {
  name: 'sser-auth',
  register(server, { service, apiTokens, opensMetricsLocally, clients, throttle, retryMs }) {
    /** All are compared, whatever the first comparison says. */
    function isAllowed(presentedSha256: Uint8Array, right: ApiRight): boolean {
      return (
        apiTokens.filter(({ sha256, rights }) => hashMatches(presentedSha256, sha256) && rights.includes(right))
          .length > 0
      )
    }

    /** What `check` says of the token; where it says nothing the token is wrong. What it throws says nothing of the token. */
    function examined(
      request: Request,
      sha256: Uint8Array,
      check: () => Credentials | undefined,
    ): Credentials | Refusal {
      const client = clients.limitedAs(request.raw.req)
      const waitMs = client === undefined ? 0 : throttle.waitMs(client, sha256)
      if (waitMs > 0) return { waitMs }
      const credentials = check()
      if (client !== undefined && credentials !== undefined) throttle.right(client, sha256)
      if (credentials !== undefined) return credentials
      if (client !== undefined) throttle.wrong(client, sha256)
      throw httpError(401, 'The token does not open this.', undefined, challenge)
    }

    function byApiToken(request: Request, right: ApiRight): Credentials | Refusal {
      const sha256 = hashToken(bearerOf(request))
      return examined(request, sha256, () => (isAllowed(sha256, right) ? known : undefined))
    }

    /** `topicOf` is asked only where the presented token is none that opens all topics. */
    function byAnyToken(
      request: Request,
      presented: string,
      right: TopicRight,
      topicOf: () => Topic | undefined,
    ): Credentials | Refusal {
      const sha256 = hashToken(presented)
      return examined(request, sha256, () => {
        if (isAllowed(sha256, right)) return known
        const topic = topicOf()
        const access = topic === undefined ? undefined : service.hub.accessTo(topic, presented, right)
        return access?.token === undefined ? access && known : { token: access.token }
      })
    }

    const checks: Readonly<Record<string, (request: Request) => Credentials | Refusal>> = {
      [topicsAuth]: (request) => byApiToken(request, 'topics'),
      [metricsAuth]: (request) => byApiToken(request, 'metrics'),
      [scrapeAuth](request) {
        const { req } = request.raw
        const isOpen = opensMetricsLocally && req.headers.authorization === undefined && isLocal(req)
        return isOpen ? known : byApiToken(request, 'metrics')
      },
      [subscribeAuth](request) {
        const presented =
          request.headers['authorization'] === undefined && wantsStream(request)
            ? queryToken(request)
            : bearerOf(request)
        return byAnyToken(request, presented, 'subscribe', () => topicOf(service, request))
      },
      // That there is no such topic is told to those only who may publish to all.
      [publishAuth]: (request) => {
        return byAnyToken(request, bearerOf(request), 'publish', () => service.hub.topic(topicIdOf(request)))
      },
    }

    for (const [name, check] of Object.entries(checks)) {
      server.auth.scheme(name, () => ({
        authenticate(request: Request, h: ResponseToolkit) {
          const outcome = check(request)
          if (!('waitMs' in outcome)) return h.authenticated({ credentials: outcome as object })
          // A browser's EventSource never comes back from a 429.
          if (name === subscribeAuth && wantsStream(request)) {
            return answerWithRetry(h, Math.max(outcome.waitMs, retryMs)).takeover()
          }
          throw tooManyWrongTokens(outcome.waitMs)
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

function wantsStream({ raw }: Request): boolean {
  return eventFormOf(raw.req.headers.accept) === 'stream'
}

function tooManyWrongTokens(waitMs: number): Error {
  const seconds = Math.ceil(waitMs / 1000)
  const words = `Too many wrong tokens have come from this address. Wait ${seconds} s before you try another one.`
  return httpError(429, words, undefined, { 'retry-after': String(seconds) })
}
